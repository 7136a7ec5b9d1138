"""Image files to a model's inputs: what transformers' ViTImageProcessor computes, with Pillow and numpy alone.

Images are turned upright by their EXIF data and made RGB; of an animation the first picture is taken.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

KIND = "image"
PROCESSORS = ("ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor")
"""What preprocessor_config.json may name, by transformers' age; all of them compute the same."""

_DEFAULTS = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def read_settings(path):
    """The settings in a preprocessor_config.json. Raises ValueError if it asks for what isn't done here."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        kind = content.get("image_processor_type", content.get("feature_extractor_type", PROCESSORS[0]))
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError("it can't be read as JSON: %s" % error) from error
    if kind not in PROCESSORS:
        raise ValueError("it names a %s; a ViTImageProcessor is handled" % kind)
    asked = [name for name in ("do_center_crop", "do_pad") if content.get(name)]
    if asked:
        raise ValueError("it asks for %s; images are resized, rescaled and normalized only" % " and ".join(asked))
    found = {name: default if content.get(name) is None else content[name] for name, default in _DEFAULTS.items()}
    size = found["size"]
    found["size"] = {"height": size, "width": size} if isinstance(size, int) else size
    try:
        found["size"] = {name: int(found["size"][name]) for name in ("height", "width")}
        found["image_mean"], found["image_std"] = (
            np.broadcast_to(np.array(found[name], np.float32), 3).tolist() for name in ("image_mean", "image_std")
        )
        found["resample"] = int(Image.Resampling(found["resample"]))
        found["rescale_factor"] = float(found["rescale_factor"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("size needs a height and a width, mean and std a number or three: %r" % error) from error
    if min(found["size"].values()) < 1 or not all(found["image_std"]):
        raise ValueError("height and width should be above 0, image_std should not be 0")
    return found


def decode(data):
    """The image in some bytes, upright and in RGB. Raises ValueError if there is no whole one."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError("it is no image of a known format") from error
    except Exception as error:  # every format's reader has exceptions of its own
        raise ValueError(str(error) or type(error).__name__) from error


def pixel_values(image, settings):
    """Float32 [channels, height, width] of an RGB image. Raises ValueError for a size that isn't resized."""
    size = (settings["size"]["width"], settings["size"]["height"])
    if settings["do_resize"]:
        image = image.resize(size, Image.Resampling(settings["resample"]))
    elif image.size != size:
        raise ValueError("it has %d x %d pixels; the model takes %d x %d, and nothing resizes" % (*image.size, *size))
    values = np.asarray(image)
    if settings["do_rescale"]:
        values = values.astype(np.float64) * settings["rescale_factor"]
    values = values.astype(np.float32)
    if settings["do_normalize"]:
        values = (values - np.float32(settings["image_mean"])) / np.float32(settings["image_std"])
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def shrunk_png(image, settings):
    """An image as PNG bytes, no higher and no wider than the model takes it."""
    image.thumbnail((settings["size"]["width"], settings["size"]["height"]))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class Inputs:
    """What a package's model is given for an image: its path, or the bytes of its file."""

    def __init__(self, folder, config):
        self.settings = read_settings(folder / "preprocessor_config.json")

    def encode(self, image):
        """Pixel values [channels, height, width]. Raises ValueError for what is no image."""
        try:
            data = image if isinstance(image, bytes) else Path(image).read_bytes()
            return pixel_values(decode(data), self.settings)
        except OSError as error:
            raise ValueError("%s can't be read: %s" % (image, error.strerror)) from error
        except ValueError as error:
            raise ValueError("%s can't be used: %s" % (shown(image), error)) from error

    def feed(self, encoding):
        """The session's inputs for one encoded image."""
        return {"pixel_values": encoding[None]}


def contents(given, config):
    """The images of a command line, or of lines; blank ones are left out."""
    return (path for path in given if path.strip())


def to_json(image):
    """An image's bytes, or those of its file, as goldens keep them."""
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    return base64.b64encode(data).decode("ascii")


def from_json(value):
    """What `to_json` made."""
    return base64.b64decode(value)


def shown(image):
    """What a message calls an image."""
    return "an image of %d bytes" % len(image) if isinstance(image, bytes) else str(image)

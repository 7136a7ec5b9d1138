"""Read images as the checkpoint's preprocessor_config.json says: resized, rescaled and normalized.

`ondevice/preprocess_image.py`, which packages carry too, does the computing. No second implementation can drift from
it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import JsonValue
from transformers import PreTrainedConfig

from edgeprune.base.errors import DataError, ModelError
from edgeprune.data.batches import DIFFERENT_IMAGES
from edgeprune.data.images import ImageFile
from edgeprune.models.architectures import image_shape
from edgeprune.models.reader import Array, Inputs, Reader
from edgeprune.ondevice.preprocess_image import pixel_values, read_settings, shrunk_png

__all__ = ["ImageReader", "load_image_reader"]

_FILE = "preprocessor_config.json"
_PATCH = 16 * 16
_PARITY_IMAGES = 8


class ImageReader(Reader):
    """Make batches of pixel values, [batch, channels, height, width]. Images are decoded for each batch anew.

    Args:
        path: The checkpoint's preprocessor_config.json.

    Raises:
        ValueError: The file asks for processing that isn't supported.
    """

    inputs = ("pixel_values",)

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._settings = read_settings(path)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the model is given."""
        return self._settings["size"]["height"], self._settings["size"]["width"]

    def save(self, folder: Path) -> None:
        (folder / _FILE).write_bytes(self._content)

    def fit_to(self, config: PreTrainedConfig, *, tokens: int | None = None) -> None:
        if self.size != image_shape(config.image_size):
            raise ModelError(
                f"{_FILE} makes images of {_shown(self.size)} pixels, but config.json's image_size is "
                f"{_shown(image_shape(config.image_size))}; make them equal"
            )
        if config.num_channels != 3:
            raise ModelError(f"the model takes images of {config.num_channels} channels; edgeprune gives it three, RGB")

    def length(self, row: Inputs) -> int:
        """Count the row's patches of 16 x 16 pixels, the most common patch size."""
        return max(1, self.size[0] * self.size[1] // _PATCH)

    def pixels(self, image: ImageFile) -> Array:
        """Decode one image into float32 [channels, height, width].

        Raises:
            DataError: The image can't be decoded, or has a size that can't be used.
        """
        decoded = image.decode()
        try:
            return cast("Array", pixel_values(decoded, self._settings))
        except ValueError as error:
            raise DataError(f"{image.where}: the image can't be used: {error}") from error

    def collate(self, rows: Sequence[Inputs], *, full: bool = False) -> dict[str, Array]:
        """Make a batch. Every image has the same size, so that a batch is always full."""
        return {"pixel_values": np.stack([self.pixels(row) for row in cast("Sequence[ImageFile]", rows)])}

    def varied(self, rows: Sequence[Inputs], most_tokens: int, longest: int | None) -> Iterator[dict[str, Array]]:
        """Yield batches of one image, of two images, and of several images."""
        some = list(rows[:: max(1, len(rows) // _PARITY_IMAGES)][:_PARITY_IMAGES])
        for alone in some[:3]:
            yield self.collate([alone])
        yield self.collate((some * 2)[:2])
        yield self.collate(some)

    def timed(self, rows: Sequence[Inputs], number: int) -> dict[str, JsonValue]:
        """Describe a batch by its shape and the seed of its values.

        Pixels would make the request a hundred times larger than one with texts. No operator's time depends on the
        values, and every image has the same size.
        """
        return {"pixel_values": {"seed": number % DIFFERENT_IMAGES, "shape": [len(rows), 3, *self.size]}}

    def golden(self, image: ImageFile) -> bytes:
        """Encode the image as a package's goldens keep it: as a PNG, no larger than the model takes it."""
        return cast("bytes", shrunk_png(image.decode(), self._settings))


def load_image_reader(folder: Path) -> ImageReader:
    """Load the image reader of a model's folder.

    Raises:
        ModelError: There is no preprocessor_config.json, or it asks for processing that isn't supported.
    """
    path = folder / _FILE
    if not path.is_file():
        raise ModelError(
            f"{folder} holds no {_FILE}, which says how the model's images are made; save its ViTImageProcessor there"
        )
    try:
        return ImageReader(path)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"

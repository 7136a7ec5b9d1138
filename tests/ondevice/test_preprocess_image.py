"""edgeprune/ondevice/preprocess_image.py, against transformers' own processor and its reading of files."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import ViTImageProcessorPil
from transformers.image_utils import load_image

from edgeprune.ondevice.preprocess_image import Inputs, decode, pixel_values, read_settings, shrunk_png
from tests.conftest import PROCESSOR


def picture(mode: str, size: tuple[int, int] = (23, 11), seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(generator.integers(0, 2**16, size[::-1], dtype=np.uint16))
    noise = Image.fromarray(generator.integers(0, 256, (*size[::-1], 4), dtype=np.uint8), "RGBA")
    return noise.convert("RGB").convert(mode) if mode in ("P", "1", "CMYK") else noise.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def settings_of(folder: Path, **changes: Any) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(PROCESSOR | changes), encoding="utf-8")
    settings: dict[str, Any] = read_settings(path)
    return settings


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
        {"size": {"height": 7, "width": 40}, "resample": 0},
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": 127.5, "image_std": 60},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]},
    ],
)
@pytest.mark.parametrize("size", [(23, 11), (16, 16), (300, 200), (1, 900)])
def test_pixels_are_transformers_own(tmp_path: Path, changes: dict[str, Any], size: tuple[int, int]) -> None:
    image = picture("RGB", size)
    found = pixel_values(image, settings_of(tmp_path, **changes))
    one = {name: [value] * 3 if name.startswith("image_") and not isinstance(value, list) else value
           for name, value in (PROCESSOR | changes).items() if name != "image_processor_type"}  # fmt: skip
    (expected,) = ViTImageProcessorPil(**one)(image, return_tensors="np")["pixel_values"]
    assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_any_size_and_filter_is_resized_alike(seed: int, width: int, height: int, resample: int) -> None:
    image, size = picture("RGB", (width, height), seed), {"height": 12, "width": 18}
    settings = {**PROCESSOR, "size": size, "resample": resample}
    processor = ViTImageProcessorPil(size=size, resample=resample)
    (expected,) = processor(image, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(pixel_values(image, settings), expected)


def test_older_files_leave_out_what_was_a_matter_of_course(tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text('{"feature_extractor_type": "ViTFeatureExtractor", "size": 16, "image_mean": null}')
    image = picture("RGB")
    (expected,) = ViTImageProcessorPil(size={"height": 16, "width": 16})(image, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(pixel_values(image, read_settings(path)), expected)


def transformers_reading(data: bytes) -> np.ndarray:
    return np.asarray(load_image(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_is_read_as_transformers_reads_it(mode: str) -> None:
    data = encoded(picture(mode))
    found = decode(data)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), transformers_reading(data))


MORE = {"save_all": True, "append_images": [picture("RGB", seed=1)]}
"""An animation's second picture."""


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("GIF", {}), ("GIF", MORE), ("PNG", MORE)],
)
def test_every_format_is_read_as_transformers_reads_it(kind: str, options: dict[str, Any]) -> None:
    data = encoded(picture("RGB"), kind, **options)
    np.testing.assert_array_equal(np.asarray(decode(data)), transformers_reading(data))


def test_a_photograph_is_turned_as_the_camera_was_held() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture("RGB"), "JPEG", exif=exif)
    found = decode(data)
    assert found.size == (11, 23)
    np.testing.assert_array_equal(np.asarray(found), transformers_reading(data))


@pytest.mark.parametrize(
    "data", [b"", b"no image", encoded(picture("RGB"))[:-40], encoded(picture("RGB"), "JPEG")[:300]]
)
def test_what_is_no_whole_image_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"(?i)no image of a known format|truncated"):
        decode(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "names a CLIPImageProcessor; a ViTImageProcessor is handled"),
        ({"do_center_crop": True}, "asks for do_center_crop; images are resized, rescaled and normalized only"),
        ({"do_pad": True, "do_center_crop": True}, "asks for do_center_crop and do_pad"),
        ({"size": {"shortest_edge": 16}}, "size needs a height and a width"),
        ({"size": {"height": 0, "width": 4}}, "height and width should be above 0"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std should not be 0"),
        ({"image_mean": [0.5, 0.5]}, "mean and std a number or three"),
        ({"resample": 9}, "9 is not a valid Resampling"),
        ({"rescale_factor": "much"}, "could not convert"),
    ],
)
def test_settings_that_are_not_handled_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of(tmp_path, **changes)


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_file_of_settings_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="it can't be read as JSON"):
        read_settings(path)


def test_without_resizing_the_size_must_fit(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, do_resize=False)
    assert pixel_values(picture("RGB", (16, 16)), settings).shape == (3, 16, 16)
    with pytest.raises(ValueError, match="it has 23 x 11 pixels; the model takes 16 x 16, and nothing resizes"):
        pixel_values(picture("RGB"), settings)


def test_a_golden_is_no_larger_than_the_model_takes_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for size, expected in (((64, 32), (16, 8)), ((3, 5), (3, 5))):
        data = shrunk_png(picture("RGB", size), settings)
        assert decode(data).size == expected
        assert Inputs(tmp_path, {}).encode(data).shape == (3, 16, 16)

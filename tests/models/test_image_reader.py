import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import ViTConfig

from edgeprune.base.errors import DataError, ModelError
from edgeprune.data.images import ImageFile
from edgeprune.models.image_reader import ImageReader, load_image_reader
from edgeprune.ondevice.preprocess_image import decode, pixel_values
from tests.conftest import PROCESSOR
from tests.support.e2e import image_rows


@pytest.fixture
def reader(tmp_path: Path) -> ImageReader:
    return reader_of(tmp_path)


def reader_of(folder: Path, **changes: Any) -> ImageReader:
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | changes), encoding="utf-8")
    return load_image_reader(folder)


@pytest.fixture
def images(tmp_path: Path) -> list[ImageFile]:
    return [ImageFile(tmp_path / row["image"], f"data row {n}") for n, row in enumerate(image_rows(tmp_path, 20), 1)]


def test_a_batch_is_decoded_when_it_is_made(reader: ImageReader, images: list[ImageFile]) -> None:
    (found,) = reader.collate(images[:3]).values()
    assert (found.shape, found.dtype) == ((3, 3, 16, 16), np.float32)
    for row, image in zip(found, images, strict=False):
        np.testing.assert_array_equal(row, pixel_values(decode(image.read()), PROCESSOR))
    assert images[0].source.unlink() is None  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"data row 1: .* can't be read"):
        reader.collate(images[:1])


def test_parity_is_checked_on_one_and_on_several_images(reader: ImageReader, images: list[ImageFile]) -> None:
    sizes = [len(batch["pixel_values"]) for batch in reader.varied(images, 2048, None)]
    assert sizes == [1, 1, 1, 2, 8]
    assert [len(batch["pixel_values"]) for batch in reader.varied(images[:1], 2048, None)] == [1, 2, 1]


def test_what_is_timed_is_a_shape_and_a_seed(reader: ImageReader, images: list[ImageFile]) -> None:
    found = [reader.timed(images[:2], number) for number in range(20)]
    assert found[0] == {"pixel_values": {"seed": 0, "shape": [2, 3, 16, 16]}}
    assert len({json.dumps(one) for one in found}) == 8
    assert found[8] == found[0]


def test_its_file_is_saved_as_it_was(reader: ImageReader, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    reader.save(tmp_path / "copy")
    name = "preprocessor_config.json"
    assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [name]


def test_a_length_in_patches_bounds_batches(tmp_path: Path, images: list[ImageFile]) -> None:
    assert reader_of(tmp_path, size={"height": 224, "width": 224}).length(images[0]) == 196
    assert reader_of(tmp_path, size={"height": 8, "width": 8}).length(images[0]) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_size": 32}, r"makes images of 16 x 16 pixels, but config.json's image_size is 32 x 32"),
        ({"image_size": [16, 32]}, r"image_size is 16 x 32; make them equal"),
        ({"image_size": 16, "num_channels": 1}, r"takes images of 1 channels; edgeprune gives it three, RGB"),
    ],
)
def test_a_model_that_takes_other_images_is_refused(reader: ImageReader, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        reader.fit_to(ViTConfig(**config))
    reader.fit_to(ViTConfig(image_size=16))


def test_a_folder_without_settings_or_with_others(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"holds no preprocessor_config\.json, which says how the model's images are made"
    ):
        load_image_reader(tmp_path)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json: it asks for do_pad"):
        reader_of(tmp_path, do_pad=True)


def test_an_image_that_nothing_resizes_is_named(tmp_path: Path, images: list[ImageFile]) -> None:
    reader = reader_of(tmp_path, do_resize=False)
    with pytest.raises(DataError, match=r"data row 2: the image can't be used: it has 20 x 13 pixels"):
        reader.collate(images[1:2])

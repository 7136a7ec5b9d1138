"""edgeprune/data/images.py, and how edgeprune/data/source.py reads images: files, bytes, folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset, Features, Image, Value

from edgeprune.base.errors import DataError
from edgeprune.data.images import ImageFile, read_images
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.tasks.registry import COLUMNS
from tests.support.e2e import image_rows, write_rows

COLUMNS_OF_IMAGES = COLUMNS["image-classification"]


def source(train: Path | str, **spec: Any) -> DataSource:
    return DataSource(DataSpec(train=str(train), **spec), columns=COLUMNS_OF_IMAGES, offline=True)


def as_jsonl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    return write_rows(folder / "data.jsonl", rows)


def as_csv(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pd.DataFrame(rows).to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


def as_bytes(folder: Path, rows: list[dict[str, Any]]) -> Path:
    held = [{**row, "image": (folder / row["image"]).read_bytes()} for row in rows]
    pd.DataFrame(held).to_parquet(folder / "bytes.parquet")
    return folder / "bytes.parquet"


def as_feature(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """As `datasets` publishes images: a struct of bytes and path, and what it means in the file's metadata."""
    held = [{**row, "image": {"bytes": (folder / row["image"]).read_bytes(), "path": row["image"]}} for row in rows]
    features = Features({"image": Image(), "label": Value("string")})
    Dataset.from_list(held, features=features).to_parquet(folder / "feature.parquet")
    return folder / "feature.parquet"


def as_folder(folder: Path, rows: list[dict[str, Any]]) -> Path:
    for row in rows:
        place = folder / "tree/train" / row["label"] / Path(row["image"]).name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((folder / row["image"]).read_bytes())
    return folder / "tree"


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_bytes, as_feature, as_folder])
def test_images_come_in_many_ways(tmp_path: Path, write: Callable[[Path, list[dict[str, Any]]], Path]) -> None:
    rows = image_rows(tmp_path, 6)
    found = source(write(tmp_path, rows)).load()["train"]
    expected = {((tmp_path / row["image"]).read_bytes(), row["label"]) for row in rows}
    assert found.labels is not None
    assert {(image.read(), label) for image, label in zip(found.contents, found.labels, strict=True)} == expected
    assert {image.decode().size for image in found.contents} == {(20, 12 + row) for row in range(6)}


def test_what_is_kept_of_a_file_is_where_it_is(tmp_path: Path) -> None:
    rows = image_rows(tmp_path, 3)
    found = source(as_jsonl(tmp_path, rows)).load()["train"].contents
    assert [image.source for image in found] == [tmp_path / row["image"] for row in rows]


def test_the_bytes_of_the_images_are_in_the_digest(tmp_path: Path) -> None:
    rows = image_rows(tmp_path, 3)
    data = as_jsonl(tmp_path, rows)
    first = source(data).digest
    assert source(data).digest == first
    (tmp_path / rows[1]["image"]).write_bytes((tmp_path / rows[0]["image"]).read_bytes())
    assert source(data).digest != first


def test_images_with_the_same_bytes_are_equal(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"content")
    one, two, other = ImageFile(tmp_path / "a.png", "here"), ImageFile(b"content", "there"), ImageFile(b"else", "here")
    assert one == two != other
    assert len({one, two, other}) == 2
    assert one != "content"


@pytest.mark.parametrize("value", [None, 3, "", " ", ["a.png"], {"bytes": None, "path": None}, {"other": "a.png"}])
def test_a_row_without_an_image_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"image": value, "label": "a"}) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        source(path).load()
    assert str(caught.value).startswith(
        f"{path} row 1: the column 'image' should hold an image's path or its bytes, got "
    )


def test_the_column_may_be_named(tmp_path: Path) -> None:
    rows = [{"photo": row["image"], "image": "nothing.png", "label": row["label"]} for row in image_rows(tmp_path, 3)]
    path = as_jsonl(tmp_path, rows)
    assert source(path, text_column="photo").load()["train"].contents[0].decode().size == (20, 12)
    with pytest.raises(DataError, match="--pair-column names a second text, but this task's rows have one image"):
        source(path, pair_column="photo").load()
    with pytest.raises(DataError, match=r"none called 'image' or the like; name it with --image-column"):
        source(as_jsonl(tmp_path, [{"photo": "a.png", "label": "a"}])).load()
    with pytest.raises(DataError, match=r"has no column 'other' \(--image-column\)"):
        source(path, text_column="other").load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"the image .*a\.png can't be read: No such file or directory"),
        (b"", r"the image .*a\.png can't be used: it is no image of a known format"),
        (b"text", r"the image .*a\.png can't be used: it is no image of a known format"),
    ],
)
def test_a_bad_file_is_named_with_its_row(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = as_jsonl(tmp_path, [{"image": "a.png", "label": "a"}])
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    (image,) = source(path).load()["train"].contents
    with pytest.raises(DataError, match=rf"data\.jsonl row 1: {message}"):
        image.decode()


def test_cut_bytes_are_named_by_their_row_alone(tmp_path: Path) -> None:
    rows = image_rows(tmp_path, 1)
    image = ImageFile((tmp_path / rows[0]["image"]).read_bytes()[:-50], "data.parquet row 7")
    with pytest.raises(DataError, match=r"^data\.parquet row 7: the image can't be used: .*[tT]runcated"):
        image.decode()


def test_the_bytes_of_a_row_go_before_its_path(tmp_path: Path) -> None:
    (one,) = read_images([{"bytes": b"these", "path": "gone.png"}], "image", "data", tmp_path)
    assert one.read() == b"these"

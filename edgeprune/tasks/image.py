"""Encode and describe images, for every task on images. An image processor reads them; a batch decodes its images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import JsonValue

from edgeprune.data.table import Content
from edgeprune.models.image_reader import ImageReader
from edgeprune.models.reader import Reader
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import Packaging, RowEncoding
from edgeprune.tasks.source import Source

if TYPE_CHECKING:
    from edgeprune.data.images import ImageFile

__all__ = ["Images", "require_images"]


class Images(RowEncoding, Packaging):
    """Encode and describe rows that are images."""

    def encode(
        self, reader: Reader, contents: Sequence[Content], references: Sequence[Any] | None = None
    ) -> list[Example]:
        images = cast("Sequence[ImageFile]", contents)
        if references is None:
            return [Example(image) for image in images]
        return [
            Example(image, None if reference is None else np.asarray(reference))
            for image, reference in zip(images, references, strict=True)
        ]

    def golden(self, content: Content, reader: Reader) -> bytes:
        return _image_reader(reader).golden(cast("ImageFile", content))

    def example_inputs(self, reader: Reader) -> tuple[str, ...]:
        return ("image.jpg",)

    def reading(self, reader: Reader) -> dict[str, JsonValue]:
        """Give nothing: preprocessor_config.json says how images are read."""
        return {}

    def reading_notes(self, reader: Reader) -> str:
        height, width = _image_reader(reader).size
        return f"Images of any size become {height} x {width} pixels (preprocessor_config.json), in RGB."


def require_images(source: Source) -> None:
    """Decode every image once, so that a broken one ends a build before anything was trained.

    Raises:
        DataError: An image can't be read, or isn't whole.
    """
    for table in source.splits.values():
        for image in cast("Sequence[ImageFile]", table.contents):
            image.decode()


def _image_reader(reader: Reader) -> ImageReader:
    assert isinstance(reader, ImageReader)  # noqa: S101 (`load_reader` makes no other for these tasks)
    return reader

"""Read the images of a data set: files or encoded bytes, which are decoded when a batch needs them.

Ten thousand photographs fit in memory as files or as JPEG bytes, not as arrays of floats.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.base.errors import DataError
from edgeprune.base.wording import quoted

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageFile", "read_images"]


@dataclass(frozen=True, eq=False)
class ImageFile:
    """Hold one image. Two images with the same bytes are equal."""

    source: Path | bytes
    """The image's file, or its encoded bytes."""
    where: str
    """What messages call the image: the data's name and the row's number."""

    def read(self) -> bytes:
        """Read the encoded bytes.

        Raises:
            DataError: The file can't be read.
        """
        if isinstance(self.source, bytes):
            return self.source
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise DataError(f"{self.where}: the image {self.source} can't be read: {error.strerror}") from error

    def decode(self) -> "Image":
        """Decode the image, upright and in RGB.

        Raises:
            DataError: The image can't be read, or is not whole.
        """
        from edgeprune.ondevice.preprocess_image import decode

        try:
            return decode(self.read())  # type: ignore[no-any-return] # assets are untyped
        except ValueError as error:
            name = "" if isinstance(self.source, bytes) else f" {self.source}"
            raise DataError(f"{self.where}: the image{name} can't be used: {error}") from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the encoded bytes."""
        return hashlib.sha256(self.read()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageFile) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def read_images(values: Sequence[Any], column: str, name: str, folder: Path) -> list[ImageFile]:
    """Read a column of images: paths (relative to `folder`), encoded bytes, or both as `datasets` keeps them.

    Raises:
        DataError: A row holds none of these.
    """
    found = []
    for row, value in enumerate(values, start=1):
        where = f"{name} row {row}"
        source = _source(value, folder)
        if source is None:
            raise DataError(
                f"{where}: the column {column!r} should hold an image's path or its bytes, got {quoted(value)}"
            )
        found.append(ImageFile(source, where))
    return found


def _source(value: Any, folder: Path) -> Path | bytes | None:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and value.strip():
        return folder / os.path.expanduser(value)  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    return value if isinstance(value, bytes) and value else None

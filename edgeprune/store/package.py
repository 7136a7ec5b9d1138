"""Open a package, check its digests, and read what it says of itself."""

import contextlib
import gzip
import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeprune.base.errors import IntegrityError, SchemaVersionError, UsageError
from edgeprune.store.files import file_digest

__all__ = ["archive", "check_digests", "description", "opened", "package_digest", "read"]


_SCHEMA_VERSION = 3


_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """A package's folder, of a .tar.gz one that is there for so long.

    Raises:
        UsageError: There is no package at `path`.
        IntegrityError: The archive is not whole.
    """
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            yield _unpack(path, Path(folder))
    elif (path / "SHA256SUMS").is_file():
        yield path
    else:
        raise UsageError(
            f"{path} is not a package: it has no SHA256SUMS; give a folder or .tar.gz that edgeprune build wrote"
        )


def package_digest(path: Path) -> str:
    """Give the SHA-256 that tells a package from any other: of its archive, or of its folder's SHA256SUMS.

    Raises:
        UsageError: There is no package at `path`.
    """
    if path.is_file():
        return file_digest(path)
    with opened(path) as folder:
        return file_digest(folder / "SHA256SUMS")


def description(folder: Path) -> dict[str, Any]:
    """What a package's `edgeprune.json` says.

    Raises:
        IntegrityError: It can't be read, or is another edgeprune's.
    """
    return read(folder / "edgeprune.json")


def _unpack(path: Path, folder: Path) -> Path:
    try:
        with gzip.open(path) as whole:  # tarfile stops at a header it can't read, before the checksum at the end
            while whole.read(1 << 20):
                pass
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise IntegrityError(f"{path} is not a whole .tar.gz archive: {error}") from error
    found = list(folder.glob("*/SHA256SUMS"))
    if len(found) != 1:
        raise UsageError(f"{path} holds no package; give a folder or .tar.gz that edgeprune build wrote")
    return found[0].parent


def check_digests(folder: Path, shown: str) -> int:
    """How many files a package has, all as they were made.

    Raises:
        IntegrityError: A file is missing, added or changed.
    """
    expected = {}
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8", errors="replace").splitlines():
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise IntegrityError(f"{shown}: SHA256SUMS has the line {line[:80]!r}, which is no digest and file name")
        expected[match.group(2)] = match.group(1)
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()} - {"SHA256SUMS"}
    # Python writes these when run.py is used from inside the package.
    found = {name for name in found if not name.startswith("__pycache__/")}
    for name in sorted(set(expected) | found):
        if name not in found:
            raise IntegrityError(f"{shown}: {name} is missing; unpack the archive again")
        if name not in expected:
            raise IntegrityError(f"{shown}: {name} doesn't belong to the package; remove it")
        if file_digest(folder / name) != expected[name]:
            raise IntegrityError(
                f"{shown}: {name} was changed: its SHA-256 is not the one in SHA256SUMS; unpack the archive again"
            )
    return len(expected)


def read(path: Path) -> dict[str, Any]:
    """Read one of a package's JSON files.

    Raises:
        IntegrityError: It can't be read, or is another edgeprune's.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path.name} can't be read: {error}") from error
    if content.get("schema_version") != _SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path.name} has schema_version {content.get('schema_version')}, this edgeprune reads {_SCHEMA_VERSION}; use the "
            f"edgeprune that wrote it"
        )
    return content


def archive(folder: Path, path: Path) -> None:
    """A .tar.gz of `folder` whose bytes are a function of its content alone."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(folder.rglob("*")):
            info = tarfile.TarInfo(file.relative_to(folder.parent).as_posix())
            info.size, info.mode, info.mtime = file.stat().st_size, 0o644, 0
            with file.open("rb") as content:
                archive.addfile(info, content)

"""Archive packages, and unpack an archive that anybody may have made: plain files of a folder and folders in it, within limits."""

import contextlib
import gzip
import re
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from edgeprune.base.errors import EdgepruneError, IntegrityError, UsageError, storage_errors
from edgeprune.base.wording import first_line

__all__ = ["archive", "unpack"]

_MOST_TIMES = 100
"""How many times as large as the archive its content may be: weights that are mostly zeros come to a few dozen times."""

_ALWAYS_BYTES = 64 << 20
"""What any archive may hold."""

_MOST_MEMBERS = 1000

_PIECE_BYTES = 1 << 20

_PART = r"(?!\.\.?(?:/|$))[^/\\\x00-\x1f]+"
_NAME = re.compile(rf"(?:\./)?({_PART})/((?:{_PART}/)?{_PART})")
"""The package's folder, and a file in it or in a folder of it."""


def archive(folder: Path, path: Path) -> None:
    """Write `folder` as a .tar.gz whose bytes depend on the folder's name and content alone."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = tarfile.TarInfo(file.relative_to(folder.parent).as_posix())
            info.size, info.mode, info.mtime = file.stat().st_size, 0o644, 0
            with file.open("rb") as content:
                archive.addfile(info, content)


@contextlib.contextmanager
def unpack(path: Path, *, inside: Collection[str] = ()) -> Iterator[Path]:
    """Unpack the package in an archive into a temporary folder, deleted on exit.

    Args:
        path: The archive.
        inside: The folders that a package's folder may have in it.

    Raises:
        UsageError: It holds no package.
        IntegrityError: It is not whole, or holds anything but the files of one folder and of those in it.
        StorageError: There is no room to unpack it.
    """
    if not path.name.endswith(".tar.gz") and not _is_gzip(path):
        raise UsageError(f"{path} is not a package; give a folder or .tar.gz that edgeprune build wrote")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / (path.name.removesuffix(".tar.gz") or "package")
        folder.mkdir()
        most = _ALWAYS_BYTES + _MOST_TIMES * path.stat().st_size
        try:
            _check_size(path, most)
            with tarfile.open(path, "r:gz") as packed:
                _write(packed, folder, path, most, inside)
        except (EdgepruneError, KeyboardInterrupt):
            raise
        except Exception as error:  # tarfile has no closed list of what damaged headers raise
            raise IntegrityError(f"{path} is not a whole .tar.gz archive: {first_line(error)}") from error
        yield folder


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_size(path: Path, most: int) -> None:
    """Read it all: tarfile stops at a header it can't read, before the checksum at the end."""
    with gzip.open(path) as whole:
        size = 0
        while piece := whole.read(_PIECE_BYTES):
            size += len(piece)
            if size > most:
                raise IntegrityError(
                    f"{path} unpacks to more than {_MOST_TIMES} times its size, as no package does; it is not unpacked"
                )


def _write(packed: tarfile.TarFile, folder: Path, path: Path, most: int, inside: Collection[str]) -> None:
    """Write its files, and nothing else of it: no links, times, owners or modes."""
    members = []
    for member in packed:
        members.append(member)
        if len(members) > _MOST_MEMBERS or sum(one.size for one in members) > most:
            raise IntegrityError(f"{path} holds more than any package; it is not unpacked")
    tops = {
        match.group(1) for one in members if (match := _NAME.fullmatch(one.name)) and match.group(2) == "SHA256SUMS"
    }
    if len(tops) != 1:
        raise UsageError(f"{path} holds no package; give a folder or .tar.gz that edgeprune build wrote")
    (top,) = tops
    for member in members:
        match = _NAME.fullmatch(member.name)
        if member.isdir() and member.name.removeprefix("./") in ("", ".", top, *(f"{top}/{name}" for name in inside)):
            continue  # some programs list folders too
        if (
            match is None
            or match.group(1) != top
            or not {"/".join(match.group(2).split("/")[:-1])} <= {"", *inside}
            or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE)
        ):
            raise IntegrityError(
                f"{path} holds {member.name[:80]!r}, which is no file of the package's folder; it is not unpacked"
            )
        file = folder / match.group(2)
        if file.parent.is_file():
            raise IntegrityError(f"{path} holds {member.name[:80]!r} below a file; it is not unpacked")
        if file.exists():
            raise IntegrityError(f"{path} holds {member.name[:80]!r} twice; it is not unpacked")
        content = packed.extractfile(member)
        assert content is not None  # noqa: S101 (it is a file)
        with content, storage_errors(folder):
            file.parent.mkdir(exist_ok=True)
            _copy(content, file, member.size)


def _copy(content: IO[bytes], file: Path, size: int) -> None:
    with file.open("wb") as copy:
        while piece := content.read(_PIECE_BYTES):
            copy.write(piece)
            size -= len(piece)
    if size:
        raise IntegrityError(f"{file.name} is cut short in the archive; copy the archive again")

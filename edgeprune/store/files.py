"""Write files whole or not at all, digest them, and turn what determines an artifact into its key."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

from edgeprune.base.strict_yaml import Frozen

__all__ = [
    "FileRecord",
    "artifact_key",
    "canonical_json",
    "file_digest",
    "file_records",
    "graph_files",
    "is_writable",
    "share",
    "sync",
    "sync_tree",
    "total_bytes",
    "write_text",
]


class FileRecord(Frozen):
    """Record one file of an artifact."""

    path: str
    sha256: str
    size_bytes: int


def canonical_json(value: JsonValue) -> str:
    """Write a value as JSON with sorted keys and no spaces, so that one value has one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def artifact_key(material: JsonValue) -> str:
    """Compute an artifact's key: the SHA-256 over the canonical JSON of everything that determines the artifact."""
    return hashlib.sha256(canonical_json(material).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_records(folder: Path) -> tuple[FileRecord, ...]:
    """Record every file below `folder`, sorted by path, with its digest and its size in bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        FileRecord(path=path.relative_to(folder).as_posix(), sha256=file_digest(path), size_bytes=path.stat().st_size)
        for path in paths
    )


def graph_files(graph: Path) -> list[Path]:
    """List an ONNX file, and behind it the files of weights that lie beside it: their names begin with its name."""
    return sorted(path for path in graph.parent.iterdir() if path.name.startswith(graph.name))


def sync_tree(folder: Path) -> None:
    """Flush `folder`, and every file and folder below it, to disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Flush one file, or one folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: a temporary name that nobody can guess, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as file:  # never through a link that stands there
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def share(folder: Path, *, like: Path) -> None:
    """Give every file below `folder` the permissions of `like`, and every folder those of `folder`.

    Some libraries make files that only their owner may read; a store may have several users, and their umask says so.
    """
    of_files, of_folders = (stat.S_IMODE(path.stat().st_mode) for path in (like, folder))
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(of_folders if path.is_dir() else of_files)


def total_bytes(paths: Iterable[Path]) -> int:
    """Sum the sizes of all files at or below `paths`, in bytes. A file that is deleted meanwhile isn't counted."""
    total = 0
    for path in paths:
        inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        for file in [path] if path.is_file() else inside:
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size
    return total


def is_writable(folder: Path) -> bool:
    """Try whether files can be made in a folder, or, while it isn't there, in the nearest one above it.

    What may be written isn't told by permissions alone, so a file is made, which goes at once.
    """
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            return True
    except OSError:
        return False

"""Open packages, check that they hold what they must and nothing else, and read what a package says about itself."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeprune.base.errors import EdgepruneError, IntegrityError, SchemaVersionError, UsageError
from edgeprune.base.wording import first_line
from edgeprune.ondevice import package_files
from edgeprune.store.archive import unpack
from edgeprune.store.files import file_digest, file_records

__all__ = [
    "DIGESTS",
    "LIBRARIES",
    "MANIFEST",
    "SIGNATURE",
    "check_digests",
    "description",
    "goldens",
    "is_licence",
    "listed_files",
    "opened",
    "package_digest",
    "require_package",
    "usable",
    "write_digests",
]

DIGESTS = "SHA256SUMS"
"""The file that has the digest of every other one."""

SIGNATURE = "model.sig"
"""The signature of a signed package, which is none of the files that it signs."""

LIBRARIES = {"text": ("onnxruntime", "tokenizers", "numpy"), "image": ("onnxruntime", "pillow", "numpy")}
"""By what a package reads, the libraries that answering with it needs."""

MANIFEST = "manifest.json"
"""What a model package has, which is made of several packages (`model_packages.py`), and a package hasn't."""

_ALWAYS = frozenset(
    {
        "README.md",
        "edgeprune.json",
        "goldens.json",
        "lineage.json",
        "package_files.py",
        "postprocess.py",
        "preprocess.py",
        "run.py",
    }
)
_READERS = frozenset({"tokenizer.json", "preprocessor_config.json"})
"""One of them is there."""
_LOADERS = frozenset(
    {
        "1_Pooling/config.json",
        "config.json",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
    }
)
"""For loaders of ONNX models; a package that is made for `run.py` alone has none of them."""
_GRAPHS = frozenset(package_files.GRAPHS)
"""One of them is there."""
_LICENCE = re.compile(r"LICENSE[^\x00-\x1f\x7f-\x9f\u2028\u2029/\\:*?\"<>|]*")
"""What every system takes as a file's name."""
_WEIGHTS = frozenset(f"{graph}_data" for graph in _GRAPHS)
"""Above 2 GB, beside the graph."""
_FOLDERS = frozenset(name.partition("/")[0] for name in _GRAPHS | _LOADERS if "/" in name)
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_MOST_DIGESTS_BYTES = 1 << 20


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield the package's folder. An archive is unpacked into a temporary folder, deleted on exit.

    Raises:
        UsageError: There is no package at `path`.
        IntegrityError: The archive is not whole, or holds what is no part of a package.
        StorageError: There is no room to unpack it.
    """
    require_package(path)
    if path.is_file():
        with unpack(path, inside=_FOLDERS) as folder:
            yield folder
    else:
        yield path


def require_package(path: Path) -> None:
    """Refuse a path where there is no package. An archive isn't opened for that.

    Raises:
        UsageError: There is no package at `path`.
    """
    if path.is_file():
        return
    if not path.is_dir():
        raise UsageError(f"there is no folder or file {path}; give a folder or .tar.gz that edgeprune build wrote")
    if (path / MANIFEST).is_file():
        raise UsageError(
            f"{path} is a model package for ONNX Runtime; give one of the packages that it was merged from"
        )
    if not (path / DIGESTS).is_file():
        raise UsageError(
            f"{path} is not a package: it has no {DIGESTS}; give a folder or .tar.gz that edgeprune build wrote"
        )


def package_digest(path: Path) -> str:
    """Compute the SHA-256 that identifies a package: that of its archive, or that of the SHA256SUMS in its folder.

    Raises:
        UsageError: There is no package at `path`.
    """
    if path.is_file():
        return file_digest(path)
    with opened(path) as folder:
        return file_digest(folder / DIGESTS)


def description(folder: Path) -> dict[str, Any]:
    """Read a package's `edgeprune.json`.

    Raises:
        IntegrityError: The file can't be used.
        SchemaVersionError: The file has a schema_version that this edgeprune doesn't read.
    """
    return _read(package_files.description, folder)


def goldens(folder: Path) -> dict[str, Any]:
    """Read a package's `goldens.json`.

    Raises:
        IntegrityError: The file can't be used.
        SchemaVersionError: The file has a schema_version that this edgeprune doesn't read.
    """
    return _read(package_files.goldens, folder)


def is_licence(name: str) -> bool:
    """Tell whether a package may hold a file of this name as its model's licence."""
    return _LICENCE.fullmatch(name) is not None and not name.endswith((".", " "))


@contextlib.contextmanager
def usable(what: str, *passing: type[Exception]) -> Iterator[None]:
    """Turn what libraries raise into an IntegrityError, while they are given a package's files.

    Args:
        what: What the message begins with.
        passing: Exceptions that are raised as they are.
    """
    try:
        yield
    except (EdgepruneError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic in tokenizers is no Exception
        if isinstance(error, passing):
            raise
        raise IntegrityError(f"{what}: {first_line(error)}") from error


def check_digests(folder: Path, shown: str) -> int:
    """Check that a package holds what it must, all as it was made, and count its files.

    Args:
        folder: The package's folder.
        shown: What messages call the package.

    Returns:
        The number of files that SHA256SUMS lists.

    Raises:
        IntegrityError: A file is missing, added or changed, or packages have no such file.
    """
    expected = _expected(folder, shown)
    found = set(_names(folder)) - {DIGESTS}
    if (folder / SIGNATURE).is_file() and not (folder / SIGNATURE).is_symlink():
        found.discard(SIGNATURE)
    for name in sorted(set(expected) | found):
        if name not in found:
            raise IntegrityError(f"{shown}: {_quoted(name)} is missing; unpack the archive again")
        if name not in expected or not _belongs(name):
            raise IntegrityError(f"{shown}: {_quoted(name)} doesn't belong to the package; {_remedy(name)}")
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise IntegrityError(f"{shown}: {name} is not a file of its own; unpack the archive again")
        if file_digest(path) != expected[name]:
            raise IntegrityError(
                f"{shown}: {name} was changed: its SHA-256 is not the one in {DIGESTS}; unpack the archive again"
            )
    either = [" or ".join(sorted(names)) for names in (_READERS, _GRAPHS) if not found & names]
    lacking = sorted(_ALWAYS - found) + either
    if lacking:
        raise IntegrityError(
            f"{shown}: it has no {lacking[0]}, which every package has; use the edgeprune that made it"
        )
    return len(expected)


def listed_files(folder: Path, shown: str) -> frozenset[str]:
    """Name the files that a package's SHA256SUMS lists.

    Args:
        folder: A folder with that file.
        shown: What messages call the package.

    Raises:
        IntegrityError: It is no list of a package's files.
    """
    return frozenset(_expected(folder, shown))


def write_digests(folder: Path) -> None:
    """Write the digest of every file below `folder` into a file there, as `sha256sum` does."""
    lines = "".join(f"{record.sha256}  {record.path}\n" for record in file_records(folder))
    (folder / DIGESTS).write_text(lines, encoding="utf-8")


def _expected(folder: Path, shown: str) -> dict[str, str]:
    """Name to digest, as SHA256SUMS has them."""
    path = folder / DIGESTS
    if path.is_symlink() or path.stat().st_size > _MOST_DIGESTS_BYTES:
        raise IntegrityError(f"{shown}: {DIGESTS} is no list of a package's files; unpack the archive again")
    expected: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n"):
        match = _SUM_LINE.fullmatch(line)
        if match is None or match.group(2) in expected:
            raise IntegrityError(
                f"{shown}: {DIGESTS} has the line {line[:80]!r}, which is not a digest and the name of one more file"
            )
        expected[match.group(2)] = match.group(1)
    return expected


def _names(folder: Path) -> Iterator[str]:
    """Name everything in a package's folder, and what is in the folders that packages have."""
    for path in folder.iterdir():
        if path.name in _FOLDERS and path.is_dir() and not path.is_symlink():
            yield from (f"{path.name}/{inside.name}" for inside in path.iterdir())
        else:
            yield path.name


def _belongs(name: str) -> bool:
    return name in _ALWAYS | _READERS | _GRAPHS | _LOADERS | _WEIGHTS or is_licence(name)


def _quoted(name: str) -> str:
    return name if name.isprintable() and len(name) <= 80 else package_files.short(name)


def _remedy(name: str) -> str:
    if name == "__pycache__":
        return "Python writes it where run.py is imported, and runs what is in it: remove it, and import with python -B"
    return "remove it"


def _read(read: Callable[[Path], dict[str, Any]], folder: Path) -> dict[str, Any]:
    try:
        return read(folder)
    except package_files.OtherSchemaError as error:
        raise SchemaVersionError(str(error)) from error
    except package_files.PackageError as error:
        raise IntegrityError(str(error)) from error

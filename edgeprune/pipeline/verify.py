"""Is a package what it was when it was made, and does it compute the same here? Digests first, then the goldens.

On the instruction set and runtime that made them, goldens must match to the last bit; elsewhere within the tolerance of
the package's precision, with the same answers.
"""

import contextlib
import gzip
import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeprune.base.errors import IntegrityError, ParityError, SchemaVersionError, UsageError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.ondevice.agent import device_info
from edgeprune.store.store import file_digest
from edgeprune.tasks import POSTPROCESS, PREPROCESS

__all__ = ["Verification", "check_digests", "description", "opened", "verify"]

_SCHEMA_VERSION = 3
_SUM_LINE = re.compile(r"^([0-9a-f]{64})  (\S.*)$")


class Verification(Frozen):
    """What was checked."""

    package: str
    files: int
    goldens: int
    exact: bool
    """Whether the goldens were compared bit by bit."""
    max_error: float
    """Largest difference to a golden, relative to max(1, its largest output)."""


def verify(path: Path) -> Verification:
    """Check a package's folder, or its .tar.gz.

    Raises:
        UsageError: There is no package at `path`.
        IntegrityError: A file is missing, added or changed.
        ParityError: A golden's outputs are not what they were.
    """
    with opened(path) as folder:
        return _verify_folder(folder, str(path))


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


def description(folder: Path) -> dict[str, Any]:
    """What a package's `edgeprune.json` says.

    Raises:
        IntegrityError: It can't be read, or is another edgeprune's.
    """
    return _read(folder / "edgeprune.json")


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


def _verify_folder(folder: Path, shown: str) -> Verification:
    files = check_digests(folder, shown)
    record, config = _read(folder / "goldens.json"), _read(folder / "edgeprune.json")
    from edgeprune.ondevice.run import Model

    try:
        preprocess, postprocess = (
            import_module(f"edgeprune.ondevice.{table[config['task']]}") for table in (PREPROCESS, POSTPROCESS)
        )
        model = Model(
            folder, threads=1, provider="CPUExecutionProvider", preprocess=preprocess, postprocess=postprocess
        )
    except Exception as error:
        raise IntegrityError(f"{shown}: the model can't be loaded here: {str(error).splitlines()[0]}") from error
    exact = _same_place(record)
    worst = max((_error(model, golden, record, exact=exact, shown=shown) for golden in record["goldens"]), default=0.0)
    return Verification(package=shown, files=files, goldens=len(record["goldens"]), exact=exact, max_error=worst)


def check_digests(folder: Path, shown: str) -> int:
    """How many files a package has, all as they were made.

    Raises:
        IntegrityError: A file is missing, added or changed.
    """
    expected = {}
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8", errors="replace").splitlines():
        match = _SUM_LINE.match(line)
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


def _read(path: Path) -> dict[str, Any]:
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


def _same_place(record: dict[str, Any]) -> bool:
    import onnxruntime

    device = device_info()
    return (record["arch"], record["isa"], record["onnxruntime"]) == (
        device["arch"],
        device["isa"],
        onnxruntime.__version__,
    )


def _error(model: Any, golden: dict[str, Any], record: dict[str, Any], *, exact: bool, shown: str) -> float:
    same, equal, error = model.replay(golden)
    name = model.preprocess.shown(model.golden_content(golden))
    if exact and not equal:
        raise ParityError(
            f"{shown}: the outputs for {name} differ by {error:.2e}; on this instruction set they should be equal"
        )
    if not error <= record["tolerance"] or not same:
        raise ParityError(
            f"{shown}: the outputs for {name} differ by {error:.2e} (allowed here: {record['tolerance']:.0e}, with the same answer)"
        )
    return float(error)

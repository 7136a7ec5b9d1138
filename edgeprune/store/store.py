"""The content-addressed store: what a stage made, found again by what determined it.

    <store>/<stage>/<key>/manifest.json    beside the artifact's files
    <store>/benchmark/<key>/<run id>/      measurements: many runs under one key
    <store>/partial/<key>/                 a training's resume state, gone when the stage is done
    <store>/locks/<stage>-<key>.lock       one writer a key, one measurement at a time

An artifact is there whole or not at all: it is written into a hidden folder beside its place, fsynced and renamed. The
operating system drops a killed process's lock, and the next writer removes what it left.

    store = Store(Path(".edgeprune"))
    with store.lock("export", key, waiting):
        artifact = store.find("export", key) or ...
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import Field, JsonValue, ValidationError

from edgeprune.base.errors import IntegrityError, SchemaVersionError, StorageError, storage_error
from edgeprune.base.strict_yaml import Frozen

__all__ = [
    "MEASURING",
    "SCHEMA_VERSION",
    "Artifact",
    "Environment",
    "FileRecord",
    "Manifest",
    "Metric",
    "StageMetrics",
    "Store",
    "artifact_key",
    "canonical_json",
    "default_store",
    "file_digest",
    "file_records",
    "recall_of",
    "sync_tree",
    "total_bytes",
    "write_text",
]

SCHEMA_VERSION = 1
MEASURING = "local"
"""Stands for the key in the one lock that all measurements of a store share."""

_LEFTOVERS = ("*/.tmp-*", "*/.old-*", "benchmark/*/.tmp-*", "benchmark/*/.old-*", "partial/*")


class FileRecord(Frozen):
    """One file of an artifact."""

    path: str
    sha256: str
    size_bytes: int


class Metric(Frozen):
    """A task's primary metric on the test split, higher is better."""

    name: str
    value: float
    samples: int
    drop: float | None = None
    """Dense PyTorch model minus this one, on the same rows; None for the dense model itself."""
    drop_interval: tuple[float, float] | None = None
    """Paired 95% bootstrap interval of `drop`."""
    others: dict[str, float] = Field(default_factory=dict)
    """The task's other metrics on the same rows."""


def recall_of(label: str) -> str:
    """What a label's recall is called in `Metric.others`."""
    return f"recall of {label}"


class StageMetrics(Frozen):
    """What a stage measured about its own output."""

    parameters: int | None = None
    model_bytes: int | None = None
    """Size of the checkpoint's or the graph's files."""
    metric: Metric | None = None
    linear: Metric | None = None
    """What a linear model reaches on the same rows, of TF-IDF or 16 x 16 pixels (prepare only)."""
    notes: tuple[str, ...] = ()
    """What the figures alone don't say; shown with every build and in the package."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Everything else that is one number: parity errors, label agreement …"""


class Environment(Frozen):
    """Where an artifact was made; recorded, never part of a key unless the stage says so."""

    python: str
    platform: str
    arch: str
    isa: tuple[str, ...]
    threads: int
    libraries: dict[str, str]


class Manifest(Frozen):
    """`manifest.json`: what an artifact is and where it comes from."""

    schema_version: int = SCHEMA_VERSION
    stage: str
    key: str
    parents: dict[str, str]
    """Role to key."""
    config: dict[str, JsonValue]
    files: tuple[FileRecord, ...]
    metrics: StageMetrics
    environment: Environment
    seed: int
    started_at: str
    duration_s: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Artifact:
    """An artifact in the store (or in the making, as a parent sees it): a folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def key(self) -> str:
        """The artifact's content address."""
        return self.manifest.key

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.path / name

    def digest(self, name: str) -> str:
        """SHA-256 of one of its files, as the manifest has it."""
        return next(record.sha256 for record in self.manifest.files if record.path == name)


def canonical_json(value: JsonValue) -> str:
    """JSON with sorted keys and no spaces: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def artifact_key(material: JsonValue) -> str:
    """SHA-256 over the canonical JSON of everything that determines an artifact."""
    return hashlib.sha256(canonical_json(material).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_records(folder: Path) -> tuple[FileRecord, ...]:
    """Every file below `folder`, sorted by path, with digest and size in bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        FileRecord(path=path.relative_to(folder).as_posix(), sha256=file_digest(path), size_bytes=path.stat().st_size)
        for path in paths
    )


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and itself, to disk."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def default_store() -> Path:
    """The folder of EDGEPRUNE_STORE, or .edgeprune in the working folder."""
    return Path(os.environ.get("EDGEPRUNE_STORE") or ".edgeprune")


class Store:
    """A folder of artifacts, shared by any number of processes.

    Args:
        root: The store's folder; created by the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact `key` of `stage` stands, or would stand."""
        return self.root / stage / key

    def partial(self, key: str) -> Path:
        """The folder for a training's resume state."""
        return self.root / "partial" / key

    def ensure_writable(self) -> None:
        """Raises StorageError unless files can be made in the store."""
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            write_text(self.root / "locks" / "writable", "")
        except OSError as error:
            raise storage_error(error, self.root) or StorageError(
                f"the store {self.root} can't be used: {error}; choose another with --store"
            ) from error

    @contextlib.contextmanager
    def lock(self, stage: str, key: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the one writer's lock of a key; `on_wait` is called once if another process holds it."""
        path = self.root / "locks" / f"{stage}-{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            on_wait()
            lock.acquire(poll_interval=0.1)
        try:
            yield
        finally:
            lock.release()

    def find(self, stage: str, key: str) -> Artifact | None:
        """The artifact, every file checked against its digest, or None if it isn't there.

        Raises:
            IntegrityError: It is there, but a file is missing, added or changed.
            SchemaVersionError: A newer edgeprune wrote it.
        """
        folder = self.folder(stage, key)
        if not folder.is_dir():
            return None
        artifact = self.open(folder)
        found = tuple(record for record in file_records(folder) if record.path != "manifest.json")
        if found != artifact.manifest.files:
            raise IntegrityError(
                f"{folder} is damaged: its files are not those that its manifest names; delete the folder and build again"
            )
        # The manifest's time says when the artifact was last used.
        os.utime(folder / "manifest.json")
        return artifact

    @staticmethod
    def open(folder: Path) -> Artifact:
        """The artifact in `folder`, its digests not checked.

        Raises:
            IntegrityError: No manifest, or one that can't be read.
            SchemaVersionError: A newer edgeprune wrote it.
        """
        path = folder / "manifest.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content["schema_version"]
            if version != SCHEMA_VERSION:
                raise SchemaVersionError(
                    f"{path} has schema_version {version}, this edgeprune reads {SCHEMA_VERSION}; use the edgeprune that "
                    f"wrote it, or another --store"
                )
            return Artifact(folder, Manifest.model_validate(content))
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise IntegrityError(f"{path} can't be read ({error}); delete {folder} and build again") from error

    def draft(self, stage: str, key: str) -> Path:
        """An empty hidden folder beside the artifact's place; the caller holds the lock."""
        return self._empty(self.root / stage / f".tmp-{key}")

    def draft_run(self, key: str, run_id: str) -> Path:
        """The same for one benchmark run."""
        return self._empty(self.root / "benchmark" / key / f".tmp-{run_id}")

    @staticmethod
    def _empty(folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def commit(self, draft: Path, place: Path, manifest: Manifest) -> Artifact:
        """Write the manifest, flush everything and rename the draft into its place."""
        write_text(draft / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
        sync_tree(draft)
        draft.rename(place)
        _sync(place.parent)
        shutil.rmtree(self.partial(manifest.key), ignore_errors=True)
        return Artifact(place, manifest)

    def remove(self, artifact_folder: Path) -> None:
        """Delete an artifact so that no half of it is ever taken for one."""
        hidden = artifact_folder.with_name(f".old-{artifact_folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        artifact_folder.rename(hidden)
        shutil.rmtree(hidden)

    def artifacts(self) -> Iterator[Artifact]:
        """Every readable artifact and benchmark run, digests not checked."""
        for path in sorted(self.root.glob("*/*/manifest.json")) + sorted(self.root.glob("benchmark/*/*/manifest.json")):
            if not any(part.startswith(".") for part in path.relative_to(self.root).parts[:-1]):
                with contextlib.suppress(IntegrityError):
                    yield self.open(path.parent)

    def garbage(self, older_than_days: float | None) -> Iterator[Path]:
        """Folders that a killed process left and, if asked, those not used for so many days.

        What a running build holds the lock of is never garbage; each folder's own locks are held until the next is asked
        for, so that no build starts on it in between.
        """
        folders = [path for pattern in _LEFTOVERS for path in sorted(self.root.glob(pattern))]
        if older_than_days is not None:
            oldest = time.time() - older_than_days * 86_400
            folders += [
                artifact.path
                for artifact in self.artifacts()
                if (artifact.path / "manifest.json").stat().st_mtime < oldest
            ]
        for folder in dict.fromkeys(folders):
            benchmark_run = folder.parent.parent == self.root / "benchmark"
            key = MEASURING if benchmark_run else re.sub(r"^\.(tmp|old)-", "", folder.name)
            with contextlib.ExitStack() as held:
                try:
                    for path in (self.root / "locks").glob(f"*-{key}.lock"):
                        held.enter_context(FileLock(path, blocking=False))
                except Timeout:
                    continue
                yield folder


def total_bytes(paths: Iterable[Path]) -> int:
    """Size of all files at or below `paths`, in bytes."""
    return sum(
        file.stat().st_size
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )

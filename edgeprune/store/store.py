"""Keep what each stage made in a content-addressed store, which finds an artifact by what determined it.

    <store>/<stage>/<key>/manifest.json    beside the artifact's files
    <store>/benchmark/<key>/<run id>/      measurements: many runs under one key (regression too)
    <store>/partial/<key>/                 a training's resume state, gone when the stage is done
    <store>/locks/<stage>-<key>.lock       one writer per key, one measurement at a time
    <store>/locks/in-use/                  what running builds read

An artifact is there whole or not at all: it is written into a hidden folder beside its place, fsynced and renamed. The
operating system drops a killed process's lock, and the next writer removes what the killed process left.

    store = Store(Path(".edgeprune"))
    with store.lock("export", key, waiting):
        artifact = store.find("export", key) or ...
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from edgeprune.base.errors import IntegrityError, StorageError, storage_error, storage_errors
from edgeprune.store.files import file_records, share, sync, sync_tree
from edgeprune.store.manifests import MANIFEST, read_manifest, write_manifest
from edgeprune.store.records import Artifact, Manifest
from edgeprune.store.usage import listing

__all__ = ["MEASUREMENTS", "MEASURING", "Store", "default_store"]

MEASURING = "local"
"""The name that takes a key's place in the one lock that all measurements of a store share."""

MEASUREMENTS = ("benchmark", "regression")
"""Stages that keep every run."""


def default_store() -> Path:
    """Return the folder that EDGEPRUNE_STORE names, or .edgeprune in the working folder."""
    return Path(os.environ.get("EDGEPRUNE_STORE") or ".edgeprune")


class Store:
    """Keep artifacts in one folder, which any number of processes share.

    Args:
        root: The store's folder. The first write creates it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._list: Callable[[Path], None] = lambda _: None

    def folder(self, stage: str, key: str) -> Path:
        """Return the folder where the artifact `key` of `stage` stands, or would stand."""
        return self.root / stage / key

    def partial(self, key: str) -> Path:
        """Return the folder for a training's resume state."""
        return self.root / "partial" / key

    def ensure_writable(self) -> None:
        """Check that files can be made in the store.

        Raises:
            StorageError: No file can be made there.
        """
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root / "locks").close()
        except OSError as error:
            raise storage_error(error, self.root) or StorageError(
                f"the store {self.root} can't be used: {error}; choose another with --store"
            ) from error

    @contextlib.contextmanager
    def lock(self, stage: str, key: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the lock that lets one process write a key. `on_wait` is called once if another process holds it."""
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

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep everything that this store object finds or makes inside the block from being collected as garbage."""
        with contextlib.ExitStack() as until_unused:
            with storage_errors(self.root):
                self._list = until_unused.enter_context(listing(self.root))
            try:
                yield
            finally:
                self._list = lambda _: None

    def find(self, stage: str, key: str) -> Artifact | None:
        """Find an artifact and check it as `checked` does; None if it isn't there. The caller holds the key's lock.

        What is left of the training that made the artifact is deleted: a build may be killed before it does so.

        Raises:
            IntegrityError: The artifact is there, but is not what was made under this key.
            SchemaVersionError: A newer edgeprune wrote it.
        """
        folder = self.folder(stage, key)
        if not folder.is_dir():
            return None
        artifact = self.checked(folder, stage, key)
        shutil.rmtree(self.partial(key), ignore_errors=True)
        return artifact

    def checked(self, folder: Path, stage: str, key: str) -> Artifact:
        """Open the artifact, or the run of a measurement, in `folder`, and check every file against its digest.

        Raises:
            IntegrityError: A file is missing, added or changed, or the manifest is damaged or another artifact's.
            SchemaVersionError: A newer edgeprune wrote it.
        """
        self._list(folder)
        artifact = self._named(folder, stage, key)
        found = tuple(record for record in file_records(folder) if record.path != MANIFEST)
        if found != artifact.manifest.files:
            raise IntegrityError(
                f"{folder} is damaged: its files are not those that its manifest names; delete the folder and build again"
            )
        # The manifest's time says when the artifact was last used. The time of another user's manifest can't be set.
        with contextlib.suppress(PermissionError):
            os.utime(folder / MANIFEST)
        return artifact

    @staticmethod
    def open(folder: Path) -> Artifact:
        """Open the artifact in `folder`. Its digests are not checked.

        Raises:
            IntegrityError: There is no manifest, or it can't be read.
            SchemaVersionError: A newer edgeprune wrote it.
        """
        return Artifact(folder, read_manifest(folder))

    @classmethod
    def _named(cls, folder: Path, stage: str, key: str) -> Artifact:
        """Open the artifact in `folder`, which must be of this stage and key."""
        artifact = cls.open(folder)
        found = artifact.manifest.stage, artifact.manifest.key
        if found != (stage, key):
            raise IntegrityError(
                f"{folder} is damaged: its manifest is of {found[0]} {found[1][:12]}, but should be of {stage} {key[:12]}; delete "
                f"the folder and build again"
            )
        return artifact

    def recorded_digest(self, stage: str, key: str, name: str) -> str | None:
        """Return the SHA-256 that an artifact's manifest has of a file; None if there is none that can be believed."""
        with contextlib.suppress(IntegrityError, StopIteration):
            return self._named(self.folder(stage, key), stage, key).digest(name)
        return None

    def draft(self, stage: str, key: str) -> Path:
        """Make an empty hidden folder beside the artifact's place. The caller holds the lock."""
        return self._empty(self.root / stage / f".tmp-{key}")

    def draft_run(self, stage: str, key: str, run_id: str) -> Path:
        """Make an empty hidden folder for one run of a measurement, beside the other runs."""
        return self._empty(self.root / stage / key / f".tmp-{run_id}")

    @staticmethod
    def _empty(folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def commit(self, draft: Path, place: Path, manifest: Manifest) -> Artifact:
        """Write the manifest, flush everything and rename the draft into its place."""
        write_manifest(manifest, draft)
        share(draft, like=draft / MANIFEST)
        sync_tree(draft)
        self._list(place)
        draft.rename(place)
        sync(place.parent)
        shutil.rmtree(self.partial(manifest.key), ignore_errors=True)
        return Artifact(place, manifest)

    def remove(self, artifact_folder: Path) -> None:
        """Delete an artifact in such a way that a half-deleted one is never taken for a whole one."""
        hidden = artifact_folder.with_name(f".old-{artifact_folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        artifact_folder.rename(hidden)
        shutil.rmtree(hidden)

    def places(self) -> Iterator[Path]:
        """Yield the folder of every artifact and of every run of a measurement."""
        patterns = (f"*/*/{MANIFEST}", *(f"{stage}/*/*/{MANIFEST}" for stage in MEASUREMENTS))
        for path in (path for pattern in patterns for path in sorted(self.root.glob(pattern))):
            if not any(part.startswith(".") for part in path.relative_to(self.root).parts[:-1]):
                yield path.parent

    def artifacts(self) -> Iterator[Artifact]:
        """Yield every readable artifact and every run of a measurement. Their digests are not checked."""
        for folder in self.places():
            with contextlib.suppress(IntegrityError):
                yield self.open(folder)

    def by_key(self, key: str) -> Artifact | None:
        """Find an artifact by its key alone, whatever stage made it; None: it isn't there. Digests are not checked."""
        found = next(self.root.glob(f"*/{key}/{MANIFEST}"), None)
        return None if found is None else self._named(found.parent, found.parent.parent.name, key)

    @classmethod
    def holding(cls, folder: Path) -> Self:
        """Give the store that an artifact's folder, or one run of a measurement, lies in."""
        below = 2 if folder.parent.parent.name in MEASUREMENTS else 1
        return cls(folder.absolute().parents[below])

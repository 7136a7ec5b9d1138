"""Keep what each stage made in a content-addressed store, which finds an artifact by what determined it.

    <store>/<stage>/<key>/manifest.json    beside the artifact's files
    <store>/benchmark/<key>/<run id>/      measurements: many runs under one key (regression too)
    <store>/partial/<key>/                 a training's resume state, gone when the stage is done
    <store>/locks/<stage>-<key>.lock       one writer per key, one measurement at a time

An artifact is there whole or not at all: it is written into a hidden folder beside its place, fsynced and renamed. The
operating system drops a killed process's lock, and the next writer removes what the killed process left.

    store = Store(Path(".edgeprune"))
    with store.lock("export", key, waiting):
        artifact = store.find("export", key) or ...
"""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from edgeprune.base.errors import IntegrityError, SchemaVersionError, StorageError, storage_error
from edgeprune.store.files import file_records, sync, sync_tree, write_text
from edgeprune.store.records import SCHEMA_VERSION, Artifact, Manifest

__all__ = ["MEASURING", "Store", "default_store"]

MEASURING = "local"
"""The name that takes a key's place in the one lock that all measurements of a store share."""

_MEASUREMENTS = ("benchmark", "regression")
"""Stages that keep every run."""

_LEFTOVERS = (
    "*/.tmp-*",
    "*/.old-*",
    *(f"{stage}/*/{left}" for stage in _MEASUREMENTS for left in (".tmp-*", ".old-*")),
    "partial/*",
)


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
            write_text(self.root / "locks" / "writable", "")
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

    def find(self, stage: str, key: str) -> Artifact | None:
        """Find an artifact and check every file against its digest; None if the artifact isn't there.

        Raises:
            IntegrityError: The artifact is there, but a file is missing, added or changed.
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
        """Open the artifact in `folder`. Its digests are not checked.

        Raises:
            IntegrityError: There is no manifest, or it can't be read.
            SchemaVersionError: A newer edgeprune wrote it.
        """
        path = folder / "manifest.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content["schema_version"]
            if version != SCHEMA_VERSION:
                raise SchemaVersionError(
                    f"{path} has schema_version {version}, but this edgeprune reads {SCHEMA_VERSION}; use the edgeprune "
                    f"that wrote it, or another --store"
                )
            return Artifact(folder, Manifest.model_validate(content))
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise IntegrityError(f"{path} can't be read ({error}); delete {folder} and build again") from error

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
        write_text(draft / "manifest.json", manifest.model_dump_json(indent=2) + "\n")
        sync_tree(draft)
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

    def artifacts(self) -> Iterator[Artifact]:
        """Yield every readable artifact and every run of a measurement. Their digests are not checked."""
        patterns = ("*/*/manifest.json", *(f"{stage}/*/*/manifest.json" for stage in _MEASUREMENTS))
        for path in (path for pattern in patterns for path in sorted(self.root.glob(pattern))):
            if not any(part.startswith(".") for part in path.relative_to(self.root).parts[:-1]):
                with contextlib.suppress(IntegrityError):
                    yield self.open(path.parent)

    def by_key(self, key: str) -> Artifact | None:
        """Find an artifact by its key, whatever stage made it; None if it isn't there. Its digests aren't checked."""
        found = next(self.root.glob(f"*/{key}/manifest.json"), None)
        return None if found is None else self.open(found.parent)

    @classmethod
    def holding(cls, folder: Path) -> Self:
        """Find the store that an artifact's folder, or the folder of one run of a measurement, lies in."""
        below = 2 if folder.parent.parent.name in _MEASUREMENTS else 1
        return cls(folder.absolute().parents[below])

    def garbage(self, older_than_days: float | None) -> Iterator[Path]:
        """Yield the folders that a killed process left, and the artifacts that weren't used for some time.

        A folder whose lock a running build holds is never garbage. The locks of each folder are held until the next
        folder is asked for, so that no build starts on the folder in between.

        Args:
            older_than_days: Yield artifacts that weren't used for this many days; None yields no artifact.
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
            is_run = folder.parent.parent.parent == self.root and folder.parent.parent.name in _MEASUREMENTS
            key = MEASURING if is_run else re.sub(r"^\.(tmp|old)-", "", folder.name)
            with contextlib.ExitStack() as held:
                try:
                    for path in (self.root / "locks").glob(f"*-{key}.lock"):
                        held.enter_context(FileLock(path, blocking=False))
                except Timeout:
                    continue
                yield folder

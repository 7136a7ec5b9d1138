"""Find what a store can do without: what killed builds left and, if asked, what hasn't been used for long."""

import contextlib
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from edgeprune.base.errors import IntegrityError
from edgeprune.store.manifests import MANIFEST
from edgeprune.store.store import MEASUREMENTS, MEASURING, Store
from edgeprune.store.usage import in_use

__all__ = ["garbage"]

_LEFTOVERS = (
    "*/.tmp-*",
    "*/.old-*",
    *(f"{stage}/*/{left}" for stage in MEASUREMENTS for left in (".tmp-*", ".old-*")),
    "partial/*",
)


def garbage(store: Store, older_than_days: float | None) -> Iterator[Path]:
    """Yield the folders that a killed process left, and the artifacts that weren't used for some time.

    A folder whose lock a running build holds is never garbage, nor is an artifact that a running build has read. The locks
    of each folder are held until the next folder is asked for, so that no build starts on the folder in between. A second
    search of the same store waits until the first one ends.

    Args:
        store: The store to search.
        older_than_days: Yield artifacts that weren't used for this many days; None yields no artifact.
    """
    if not store.root.is_dir():
        return
    locks = store.root / "locks"
    locks.mkdir(exist_ok=True)
    with FileLock(locks / "gc.lock"):
        by_key: dict[str, list[Path]] = defaultdict(list)
        for lock in locks.glob("*-*.lock"):
            by_key[lock.stem.rpartition("-")[2]].append(lock)
        left = {path for pattern in _LEFTOVERS for path in store.root.glob(pattern)}
        oldest = -math.inf if older_than_days is None else time.time() - older_than_days * 86_400
        aged = set() if older_than_days is None else {path for path in store.places() if _last_use(path) < oldest}
        for folder in sorted(left | aged):
            with contextlib.ExitStack() as held:
                try:
                    for lock in _locks_of(folder, store.root, by_key):
                        held.enter_context(FileLock(lock, blocking=False))
                except Timeout:
                    continue
                # With the locks held, no build can remove the folder or begin to read it.
                unused = folder in left or (_last_use(folder) < oldest and folder not in in_use(store.root))
                if unused and folder.exists():
                    yield folder


def _last_use(artifact: Path) -> float:
    """Return when an artifact was last used, in seconds since 1970; infinity if it is gone.

    Raises:
        SchemaVersionError: A newer edgeprune wrote it, and this one must not judge it.
    """
    with contextlib.suppress(IntegrityError):  # a damaged one may go
        Store.open(artifact)
    try:
        return (artifact / MANIFEST).stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _locks_of(folder: Path, root: Path, by_key: dict[str, list[Path]]) -> list[Path]:
    """Return the locks that a process holds while it writes or finds this folder.

    A training's state lies under its key alone, so it may be of any stage with that key.
    """
    stage, *below = folder.relative_to(root).parts
    key = re.sub(r"^(\.(tmp|old)-)+", "", below[0])
    if len(below) > 1:
        return [root / "locks" / f"{MEASUREMENTS[0]}-{MEASURING}.lock"]
    return by_key[key] if stage == "partial" else [root / "locks" / f"{stage}-{key}.lock"]

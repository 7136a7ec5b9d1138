"""Keep what running builds read: each lists the artifacts that it found or made, and `store gc` leaves those.

    <store>/locks/in-use/<token>.lock    held as long as the build runs
    <store>/locks/in-use/<token>.list    one artifact a line, relative to the store

A build holds an artifact's own lock only while it makes or finds it, and reads it much later. The lock of a killed build is
free, which says that its list means nothing any more.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["in_use", "listing"]


@contextlib.contextmanager
def listing(root: Path) -> Iterator[Callable[[Path], None]]:
    """Begin a list for one build, and yield what adds a folder below the store `root` to it. It is deleted afterwards."""
    place = root / "locks" / "in-use"
    place.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    lock, path = place / f"{token}.lock", place / f"{token}.list"
    with FileLock(lock):
        try:
            # The list comes after its lock: a list whose lock is free is taken for a killed build's.
            with path.open("x", encoding="utf-8") as file:

                def add(folder: Path) -> None:
                    file.write(f"{folder.relative_to(root).as_posix()}\n")
                    file.flush()

                yield add
        finally:
            path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def in_use(root: Path) -> set[Path]:
    """Return the folders that running builds have listed, and delete the lists that killed builds left."""
    found: set[Path] = set()
    for path in (root / "locks" / "in-use").glob("*.list"):
        lock = path.with_suffix(".lock")
        try:
            with FileLock(lock, blocking=False):
                path.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        except Timeout:
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                found.update(root / line for line in path.read_text(encoding="utf-8").splitlines())
    return found

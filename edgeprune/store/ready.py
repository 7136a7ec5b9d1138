"""Make files and folders ready beside their place, and rename them into it: whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

__all__ = ["made_ready", "replace_folder"]

_READY = ".edgeprune-ready-"


@contextlib.contextmanager
def made_ready(output: Path) -> Iterator[Path]:
    """Hold the output folder's lock, and yield a hidden folder in it where everything is made ready before it is renamed.

    The lock lies in the output folder because builds with different stores may publish to the same folder. Whoever holds
    it knows that every other hidden folder was left by a killed build.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / ".edgeprune.lock").touch()  # where no file can be made, the lock would be waited for without end
    with FileLock(output / ".edgeprune.lock"):
        for left in output.glob(f"{_READY}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_READY, dir=output) as folder:
            yield Path(folder)


def replace_folder(new: Path, place: Path, replaced: Path) -> None:
    """Rename a folder, if there is one, into its place, and what stood there to `replaced`. For a moment there is neither."""
    if os.path.lexists(place):
        place.rename(replaced)
    if not new.exists():
        return
    try:
        new.rename(place)
    except OSError:
        if os.path.lexists(replaced):
            replaced.rename(place)
        raise

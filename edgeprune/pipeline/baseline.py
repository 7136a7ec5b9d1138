"""Find the package that a new one is timed against: a path, or what a reference names, which is fetched and checked.

What was fetched is kept for as long as this process runs, once for all builds of the process.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from edgeprune.base.errors import UsageError
from edgeprune.pipeline.options import BuildOptions
from edgeprune.release.keys import read_key
from edgeprune.release.places.reference import is_reference
from edgeprune.release.publishing import pull

__all__ = ["find_baseline", "remove_fetched"]

_fetched: list[Path] = []
"""Folders of packages that were fetched."""


def find_baseline(options: BuildOptions) -> Path | None:
    """Give the baseline's path. None: there is none.

    Raises:
        IntegrityError: The baseline isn't what was published, or isn't signed as asked for.
        PlaceError: The place of the baseline can't be reached.
        UsageError: The build may not ask the network, and the baseline is there.
    """
    if options.baseline is None or not is_reference(reference := str(options.baseline)):
        return None if options.baseline is None else Path(options.baseline)
    if options.offline and not reference.startswith("file:"):
        raise UsageError(
            f"--offline asks no network, but --baseline {reference} is there; pull it first: edgeprune pull {reference}"
        )
    return _fetch(reference, None if options.baseline_key is None else Path(options.baseline_key))


def remove_fetched() -> None:
    """Remove what was fetched. A process that ends by itself does so anyway."""
    while _fetched:
        shutil.rmtree(_fetched.pop(), ignore_errors=True)
    _fetch.cache_clear()


@functools.cache
def _fetch(reference: str, key: Path | None) -> Path:
    owner = None if key is None else read_key(key)
    _fetched.append(folder := Path(tempfile.mkdtemp(prefix="edgeprune-baseline-")))
    return pull(reference, folder, key=owner).package


atexit.register(remove_fetched)

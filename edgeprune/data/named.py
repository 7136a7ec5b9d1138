"""Load a dataset by its name or folder, through `datasets`: from its cache, else from the folder or the hub.

A folder that `save_to_disk` wrote has no entry in the cache; it is opened as it is.

A child process fills the cache first. The parsers of `datasets` are native, and a file may end the process that reads it: a
deeply nested JSON does. What lies in the cache has been parsed.
"""

import logging
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.base.errors import DataError
from edgeprune.base.wording import first_line, listed, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datasets import Dataset, DatasetDict

__all__ = ["load_named"]

_FILL = """\
import sys
import datasets
name, config, offline, saved = sys.argv[1:]
datasets.disable_progress_bars()
datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
datasets.config.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE or offline == "True"
datasets.load_from_disk(name) if saved == "True" else datasets.load_dataset(name, config or None)
"""

_OF_SAVED = ("dataset_dict.json", "state.json")
"""Files that `save_to_disk` writes: for several splits, and for one."""


def load_named(reference: str, *, offline: bool) -> "Mapping[str, Dataset]":
    """Load all splits of a dataset.

    Args:
        reference: Its name or folder, and the configuration behind a colon.
        offline: Whether it may only come from the local cache.

    Raises:
        DataError: It isn't there, can't be read, or has no training split.
    """
    import datasets

    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    name, _, config = reference.partition(":")
    _fill_cache(name, config, offline=offline)
    configured = datasets.config.HF_HUB_OFFLINE
    try:
        datasets.config.HF_HUB_OFFLINE = offline or configured
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else a load is told to a host that counts them
        loaded: Mapping[str, Dataset] = (
            _open_saved(name) if _is_saved(name) else datasets.load_dataset(name, config or None)
        )
    except Exception as error:
        raise DataError(
            f"{quoted(reference)} is neither a data file nor a dataset that loads: {first_line(error)}"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = configured
    if "train" not in loaded:
        raise DataError(f"the dataset {quoted(name)} has the splits {listed(list(loaded))}, but no split train")
    return loaded


def _is_saved(name: str) -> bool:
    return any((Path(name) / file).is_file() for file in _OF_SAVED)


def _open_saved(folder: str) -> "Mapping[str, Dataset]":
    """Open what `save_to_disk` wrote. A dataset without splits is one to train on."""
    import datasets

    saved: Dataset | DatasetDict = datasets.load_from_disk(folder)
    return saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}


@cache  # stages load the same data again
def _fill_cache(name: str, config: str, *, offline: bool) -> None:
    """Raises DataError where the child process is killed; any other error comes again, with its message."""
    command = [sys.executable, "-P", "-c", _FILL, name, config, str(offline), str(_is_saved(name))]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 (its own interpreter and code)
    if done.returncode < 0:
        raise DataError(
            f"{quoted(name)} can't be read: a file of it ends the process that parses it (signal {-done.returncode}), as "
            f"deeply nested JSON does; give the rows as a .jsonl file, whose lines are named"
        )

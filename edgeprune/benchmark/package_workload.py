"""Make what a package is given when it is timed: texts or images, prepared by the package's own preprocessing.

Light: no torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue

from edgeprune.base.errors import UsageError
from edgeprune.benchmark.measure import Load
from edgeprune.data.batches import DIFFERENT_IMAGES, Feed, draw, together
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import Target
from edgeprune.store.package import goldens, usable
from edgeprune.tasks.registry import ondevice_modules

__all__ = ["contents_of", "package_load"]


def contents_of(folder: Path, described: Mapping[str, Any], inputs: Sequence[str] | None) -> list[Any]:
    """Read texts or images from lines, as run.py does, or from a package's goldens.

    Args:
        folder: The package's folder.
        described: The content of the package's `edgeprune.json`.
        inputs: The lines: texts, or paths of images; None: the package's goldens are read.

    Raises:
        UsageError: The lines don't fit the package's task.
        IntegrityError: The package can't be used.
    """
    module, _ = ondevice_modules(described["task"])
    if inputs is not None:
        try:
            with usable(f"{folder.name}: the inputs can't be read", ValueError):
                return list(module.contents(inputs, described))
        except ValueError as error:
            raise UsageError(f"the inputs can't be read: {error}") from error
    with usable(f"{folder.name}: goldens.json can't be used"):
        return [module.from_json(golden[module.KIND]) for golden in goldens(folder)["goldens"]]


def package_load(
    folder: Path, described: Mapping[str, Any], contents: Sequence[Any], samples: int, target: Target
) -> Load:
    """Make the load of a package: its model, and batches of some inputs in a seeded order.

    Args:
        folder: The package's folder.
        described: The content of the package's `edgeprune.json`.
        contents: Texts or images.
        samples: How many batches are made.
        target: The target's profile. Its workload says how large batches are, how long texts are, and whether answers
            are timed too.

    Raises:
        UsageError: The package can't read the inputs, or can't be given them as the workload asks.
        IntegrityError: The package can't be used.
    """
    module, _ = ondevice_modules(described["task"])
    with usable(f"{folder.name}: the inputs can't be read"):
        inputs = module.Inputs(folder, described)
    try:
        with usable(f"{folder.name}: the inputs can't be read", ValueError):
            feeds = [inputs.feed(inputs.encode(content)) for content in contents]
        feeds = [_of_length(feed, target.workload.lengths, described) for feed in feeds]
        groups, longest = draw(
            range(len(feeds)),
            lambda row: sum(values.size for values in feeds[row].values()),
            batch_size=target.workload.batch_size,
            count=samples,
            seed=0,
        )
        batches = [together([feeds[row] for row in group]) for group in groups]
        return Load(
            folder / described["graph"],
            SessionOptions.model_validate(described["session"]),
            [_as_json(batch, number) for number, batch in enumerate(batches)],
            _as_json(together([feeds[row] for row in longest]), 0),
            tokenizer=_existing(folder / "tokenizer.json"),
            package=folder if target.times_answers else None,
            contents=[module.to_json(contents[row]) for row, *_ in groups] if target.times_answers else [],
        )
    except ValueError as error:
        raise UsageError(f"{folder.name} can't be given the inputs: {error}") from error


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _of_length(feed: Feed, length: int | str, described: Mapping[str, Any]) -> Feed:
    """Cut or repeat a text to a number of tokens. Raise ValueError if the package doesn't take so many."""
    if not isinstance(length, int):
        return feed
    limit = described.get("max_length")
    if limit is None:
        raise ValueError(f"workload.lengths is {length} tokens, but the package reads images, which all have one size")
    if length > limit:
        raise ValueError(f"workload.lengths is {length} tokens, but the package cuts texts to {limit}")
    return {name: np.resize(values, (1, length)) for name, values in feed.items()}


def _as_json(feed: Feed, number: int) -> dict[str, JsonValue]:
    """Write a session's inputs as the agent reads them.

    Pixels are drawn on the device, because every image takes the same time.
    """
    return {
        name: values.tolist()
        if values.dtype == np.int64
        else {"seed": number % DIFFERENT_IMAGES, "shape": list(values.shape)}
        for name, values in feed.items()
    }

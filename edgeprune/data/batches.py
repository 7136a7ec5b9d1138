"""Draw the rows that are timed: batches in a seeded order, and the largest batch that could come. Make batches of inputs.

This module imports no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["DIFFERENT_IMAGES", "Feed", "draw", "together"]

DIFFERENT_IMAGES = 8
"""Number of different batches of images. They are timed over and over, because each batch takes memory on the
device."""

Feed = Mapping[str, npt.NDArray[Any]]
"""A session's inputs by name: arrays whose first dimension is the row."""
Row = TypeVar("Row")


def draw(
    rows: Sequence[Row], length: Callable[[Row], int], *, batch_size: int, count: int, seed: int
) -> tuple[list[list[Row]], list[Row]]:
    """Draw `count` batches of rows, and one batch of the longest rows. Rows are repeated where there are too few."""
    drawn = np.random.default_rng(seed).integers(len(rows), size=count * batch_size).tolist()
    groups = [[rows[row] for row in drawn[start : start + batch_size]] for start in range(0, len(drawn), batch_size)]
    descending = sorted(rows, key=length, reverse=True)[:batch_size]
    return groups, [descending[number % len(descending)] for number in range(batch_size)]


def together(feeds: Sequence[Feed]) -> Feed:
    """Make one batch of several inputs, padded on the right. Raise ValueError if the package takes no padding."""
    widths = {values.shape[1] for feed in feeds for values in feed.values()}
    if len(widths) == 1:
        return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    if "attention_mask" not in feeds[0]:
        raise ValueError(
            "inputs of several lengths can't be one batch: the package's graph takes no padding (rewrite unpadded); build it "
            "with stages.package.layout=portable"
        )
    padded = {
        name: [np.pad(feed[name], [(0, 0), (0, max(widths) - feed[name].shape[1])]) for feed in feeds]
        for name in feeds[0]
    }
    return {name: np.concatenate(rows) for name, rows in padded.items()}

"""Hold what a model costs at each hidden size that a search may give it.

All layers share the hidden states, so a model has one hidden size, and what each size of a layer costs depends on it. There
is one `Costs` for each hidden size. A budget is a share of what the dense model costs, whatever the hidden size of a rung.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from edgeprune.models.record import PruningRecord, hidden_size_left
from edgeprune.pruning.allocation import keep_counts
from edgeprune.search.costs import Costs, CostUnit, LayerSize
from edgeprune.store.files import artifact_key

__all__ = ["HiddenCosts", "hidden_sizes", "sizes_of"]


def hidden_sizes(dense: int, keep: Sequence[float], *, align: int) -> tuple[int, ...]:
    """List the hidden sizes that a model may be given, from the dense model's down.

    Args:
        dense: The dense model's hidden size.
        keep: Fractions of it, from 1 down.
        align: The smaller sizes are multiples of this. A size that is too near to another one isn't listed.
    """
    scores = [np.zeros(dense)]
    found = {keep_counts(scores, [dense], one, allocation="uniform", align=align)[0] for one in keep if one < 1}
    return tuple(sorted({dense, *found}, reverse=True))


def sizes_of(record: PruningRecord) -> list[LayerSize]:
    """List how many heads and neurons each layer has that is left."""
    return [(len(layer.heads), len(layer.neurons)) for layer in record.layers]


@dataclass(frozen=True)
class HiddenCosts:
    """Hold the costs of a model's parts at each hidden size.

    Args:
        by_size: The costs by the hidden size, from the dense model's down.
    """

    by_size: Mapping[int, Costs]

    @property
    def dense_size(self) -> int:
        """The dense model's hidden size."""
        return next(iter(self.by_size))

    @property
    def narrower(self) -> tuple[int, ...]:
        """The hidden sizes below the dense model's, from the largest down."""
        return tuple(self.by_size)[1:]

    @property
    def dense(self) -> Costs:
        """The costs at the dense model's hidden size."""
        return self.by_size[self.dense_size]

    @property
    def unit(self) -> CostUnit:
        """The unit of all costs."""
        return self.dense.unit

    @property
    def least(self) -> float:
        """The least that a model of any of the hidden sizes costs."""
        return min(costs.least for costs in self.by_size.values())

    def hidden_size(self, record: PruningRecord) -> int:
        """Return the hidden size of a model, by what is left of it."""
        return hidden_size_left(record, self.dense_size)

    def of(self, record: PruningRecord) -> float:
        """Predict what a model costs, by what is left of it."""
        return self.by_size[self.hidden_size(record)].of(sizes_of(record))

    def at_most(self, size: int) -> Iterator[tuple[int, Costs]]:
        """Yield the hidden sizes that are no larger than `size`, from the largest down, with their costs."""
        return ((one, costs) for one, costs in self.by_size.items() if one <= size)

    def fingerprint(self) -> dict[str, JsonValue]:
        """Give what an artifact's key says of the costs. One that knows a single hidden size doesn't name it."""
        keys = {size: artifact_key(costs.model_dump(mode="json")) for size, costs in self.by_size.items()}
        dense: dict[str, JsonValue] = {"costs": keys.pop(self.dense_size)}
        return dense | {"narrower": [[size, key] for size, key in keys.items()]} if keys else dense

"""Hold what a search found: a row for each model that was made, and which one is shipped."""

from typing import Literal, Self

from pydantic import model_validator

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.search import Objective
from edgeprune.search.costs import CostUnit

__all__ = ["Frontier", "RungRow"]


class RungRow(Frozen):
    """Report one rung: a model that the search made, recovered, exported, quantized and measured."""

    name: str
    """`dense` (in the target's precision), or how many times as fast it should be: `3x`."""
    speedup: float
    """How many times cheaper than the dense model in the target's precision the rung was asked to be; 1 for `dense`."""
    refined: bool
    """Whether the rung isn't a step of the ladder, but lies between two rungs or at a budget."""
    predicted_p50_ms: float | None
    """Median time that the table predicts, scaled by `dense_p50_ms` and by how much longer the next slower rung took than
    the table says; None: it is the dense model, or nothing could be measured."""
    dense_p50_ms: float | None
    """Median time of the dense model in the target's precision, by turns with the rung; None: nothing could be measured."""
    p50_ms: float | None
    """Median time on the target; None: nothing could be measured."""
    p50_interval_ms: tuple[float, float] | None
    p90_ms: float | None
    p90_interval_ms: tuple[float, float] | None
    peak_memory_mb: float | None
    """Peak memory of a process that runs the model alone; None: no budget asks for it."""
    size_mb: float
    """About the size of its package, in 10^6 bytes."""
    metric: float
    """The task's metric on the selection split, of the ONNX graph in the target's precision."""
    drop: float
    """The dense PyTorch model's metric minus this one, on the same rows."""
    drop_interval: tuple[float, float]
    """Paired 95% bootstrap interval of `drop`."""
    parameters: int
    heads: tuple[int, ...]
    """By layer of the dense model, how many heads are left; 0 where the layer was dropped."""
    neurons: tuple[int, ...]
    """By layer of the dense model, how many neurons are left."""
    layers: int
    """How many layers are left."""
    hidden_size: int | None = None
    """Width of the hidden states; None: the report is older than this field."""
    keeps: bool
    """Whether the rung keeps what the search holds fixed: the metric's budget, or the other budgets."""
    why: str
    """Why it keeps that, or which limit it misses."""
    checkpoint: str
    """Key of the checkpoint's artifact."""
    duration_s: float
    """How long it took to make, in this build or an earlier one."""


class Frontier(Frozen):
    """Report a search."""

    objective: Objective
    unit: CostUnit
    """What the search counted: measured time, or multiply-adds where the target can't be measured, or bytes."""
    prediction_error: float | None
    """The largest share by which a rung's predicted median was off the measured one; None: nothing was measured."""
    metric_name: str
    metric_dense: float
    """The dense PyTorch model's metric on the selection split."""
    samples: int
    """Rows of the selection split."""
    rungs: tuple[RungRow, ...]
    """By the speed-up that was asked for, increasing."""
    shipped: str
    """The name of the rung that is shipped."""
    decided_by: Literal["objective", "asked"]
    """asked: the user asked for this rung with `--at` or `--at-drop`."""
    reason: str
    """A sentence that says why that rung is shipped."""
    faster: str | None
    """A sentence that says what the next faster rung costs; None: there is no faster one."""
    more_accurate: str | None
    """A sentence that says what the next more accurate rung costs; None: there is no such rung."""

    @property
    def has_narrower(self) -> bool:
        """Whether some rung has a smaller hidden size than the dense model."""
        return len({rung.hidden_size for rung in self.rungs}) > 1

    @model_validator(mode="after")
    def _ships_a_rung(self) -> Self:
        names = [rung.name for rung in self.rungs]
        if len(set(names)) < len(names) or self.shipped not in names:
            raise ValueError(f"shipped should name one of the rungs, whose names differ; it is {self.shipped!r}")
        return self

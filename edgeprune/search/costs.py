"""Hold what a model's layers cost by their sizes, and predict what a whole model costs.

A model costs `base` (embeddings, head), and every layer costs what its heads cost and what its neurons cost:

    cost(model) = base + Σ over layers (attention[heads] + ffn[width])

ZipLM (https://arxiv.org/abs/2302.04089) predicts a model's latency from a table in the same way.

A classifier reads one token. The rewrite narrow-reads then computes for this token alone what nothing else reads: in the
topmost layer that has heads all but keys and values, and all of the layers above it. These layers cost `top`.
"""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import NonNegativeFloat, ValidationError, model_validator

from edgeprune.base.errors import IntegrityError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.variant import Variant

__all__ = [
    "COSTS",
    "CostTable",
    "CostUnit",
    "Costs",
    "LayerSize",
    "MeasuredCosts",
    "NarrowerCosts",
    "TopCosts",
    "ValidationRow",
    "read_costs",
    "top_flags",
]

COSTS = "costs.json"
"""The file in which the stage `table` writes its verdict: a `CostTable`."""

CostUnit = Literal["ms", "multiply-adds", "bytes"]
"""ms: the median time on the target, as it was measured. multiply-adds: they stand in where nothing can be measured."""

LayerSize = tuple[int, int]
"""How many heads and how many neurons a layer has."""


class TopCosts(Frozen):
    """Hold the cost of a layer that is computed for the one token that is read, in the order of `Costs`."""

    attention: tuple[NonNegativeFloat, ...]
    ffn: tuple[NonNegativeFloat, ...]

    @model_validator(mode="after")
    def _grows(self) -> Self:
        _require_growth(attention=self.attention, ffn=self.ffn)
        return self


class Costs(Frozen):
    """Hold the cost of each part of a model."""

    unit: CostUnit
    base: NonNegativeFloat
    """The cost of everything but the layers."""
    attention: tuple[NonNegativeFloat, ...]
    """The cost of a layer's attention by its number of heads, from 0 heads to all heads of the dense model."""
    widths: tuple[int, ...]
    """The FFN widths in `ffn`, ascending from 0."""
    ffn: tuple[NonNegativeFloat, ...]
    """The cost of a layer's FFN, by width. A layer without heads and neurons costs what its norms cost."""
    top: TopCosts | None = None
    """The cost of the topmost layer that has heads, and of every layer above it; None: all layers cost the same."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (
            len(self.widths) != len(self.ffn)
            or list(self.widths) != sorted(set(self.widths))
            or self.widths[:1] != (0,)
        ):
            raise ValueError("widths should ascend from 0, with one cost each")
        _require_growth(attention=self.attention, ffn=self.ffn)
        if self.top is not None and (len(self.top.attention), len(self.top.ffn)) != (
            len(self.attention),
            len(self.ffn),
        ):
            raise ValueError("top should have as many costs as the other layers")
        return self

    def layer(self, size: LayerSize, *, top: bool) -> float:
        """Give the cost of one layer.

        Args:
            size: The layer's heads, and its neurons. A width between two of `widths` costs something between.
            top: Whether no layer above it has heads.
        """
        costs = self.top if top and self.top is not None else self
        heads, width = size
        above = bisect_left(self.widths, width)
        if self.widths[above] == width:
            return costs.attention[heads] + costs.ffn[above]
        share = (width - self.widths[above - 1]) / (self.widths[above] - self.widths[above - 1])
        return costs.attention[heads] + (1 - share) * costs.ffn[above - 1] + share * costs.ffn[above]

    def of(self, layers: Sequence[LayerSize]) -> float:
        """Predict what a model costs with these layers, from the bottom up. A layer that was dropped isn't listed."""
        return self.base + sum(self.layer(size, top=top) for size, top in zip(layers, top_flags(layers), strict=True))

    @property
    def least(self) -> float:
        """The cost of a model with one layer that has as good as nothing: no useful model of the family costs less.

        A model whose layers have no heads at all might cost less where one token is read, but its answer is always the
        same: the token never meets another one.
        """
        return self.of([(0, 0)])


def top_flags(layers: Sequence[LayerSize]) -> list[bool]:
    """Tell of each layer, from the bottom up, whether no layer above it has heads."""
    return [not any(heads for heads, _ in layers[position + 1 :]) for position in range(len(layers))]


class ValidationRow(Frozen):
    """Compare a predicted time with a measured one, for a model that the table wasn't made from."""

    layers: tuple[LayerSize, ...]
    predicted_ms: float
    measured_ms: float
    """The median on the target, as all times of the table."""

    @property
    def error(self) -> float:
        """By which share of the measured time the predicted one is too long; negative: too short."""
        return self.predicted_ms / self.measured_ms - 1


class MeasuredCosts(Frozen):
    """Hold what models of one hidden size cost on a target."""

    p50: Costs
    p90: Costs
    validation: tuple[ValidationRow, ...]
    """Models with layers of different sizes, which the costs weren't made from."""


class NarrowerCosts(MeasuredCosts):
    """Hold what models of a smaller hidden size cost."""

    hidden: int
    """The hidden size."""


class CostTable(MeasuredCosts):
    """Hold the table that was measured on a target: the content of `costs.json`.

    The costs are those of the dense model's hidden size.
    """

    layers: int
    """How many layers the dense model has."""
    variant: Variant
    """The form in which the models were timed."""
    samples: int
    """How many times each model was timed."""
    narrower: tuple[NarrowerCosts, ...] = ()
    """The costs of each smaller hidden size, from the largest down."""

    @property
    def by_hidden(self) -> tuple[MeasuredCosts, ...]:
        """The costs of every hidden size, from the largest down."""
        return (self, *self.narrower)

    @property
    def prediction_error(self) -> float:
        """The largest share by which a predicted median was off."""
        return max((abs(row.error) for one in self.by_hidden for row in one.validation), default=0.0)

    @property
    def least_ms(self) -> tuple[float, float]:
        """The least median and the least 90th percentile of all hidden sizes."""
        return min(one.p50.least for one in self.by_hidden), min(one.p90.least for one in self.by_hidden)


def read_costs(path: Path, *, layers: int, heads: int, width: int, narrower: Sequence[int] = ()) -> CostTable:
    """Read the table that was measured for a dense model of this shape.

    Args:
        path: The `costs.json`.
        layers: The dense model's layers.
        heads: The most heads that one of them has.
        width: The most neurons that one of them has.
        narrower: The hidden sizes below the dense model's that it should have.

    Raises:
        IntegrityError: The file is no such table, or it is one of another shape.
    """
    try:
        table = CostTable.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise IntegrityError(
            f"{path} is not the table that was measured: {where}: {first['msg']}; remove its folder to measure it again"
        ) from error
    if (sizes := [one.hidden for one in table.narrower]) != list(narrower):
        raise IntegrityError(
            f"{path} should hold the times of the smaller hidden sizes {list(narrower)}, but holds those of {sizes}; remove its "
            f"folder to measure it again"
        )
    for costs in (costs for one in table.by_hidden for costs in (one.p50, one.p90)):
        found = (table.layers, len(costs.attention) - 1, costs.widths[-1])
        if found != (layers, heads, width) or costs.unit != "ms":
            raise IntegrityError(
                f"{path} should hold the times of {layers} layers of up to {heads} heads and {width} neurons, but holds "
                f"{costs.unit} of {found[0]} layers of up to {found[1]} heads and {found[2]} neurons; remove its folder to "
                f"measure it again"
            )
    return table


def _require_growth(**costs: Sequence[float]) -> None:
    for name, values in costs.items():
        if not values or list(values) != sorted(values):
            raise ValueError(f"{name} should not fall with more units")

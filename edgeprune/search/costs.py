"""Hold what a model's layers cost by their sizes, and predict what a whole model costs.

A model costs `base` (embeddings, head), and every layer costs what its heads cost and what its neurons cost:

    cost(model) = base + Σ over layers (attention[heads] + ffn[width])

ZipLM (https://arxiv.org/abs/2302.04089) predicts a model's latency from a table in the same way.
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = ["CostUnit", "Costs", "LayerSize"]

CostUnit = Literal["ms", "multiply-adds", "bytes"]
"""ms: the median time on the target, as it was measured. multiply-adds: they stand in where nothing can be measured."""

LayerSize = tuple[int, int]
"""How many heads and how many neurons a layer has."""


class Costs(Frozen):
    """Hold the cost of each part of a model."""

    unit: CostUnit
    base: float
    """The cost of everything but the layers."""
    attention: tuple[float, ...]
    """The cost of a layer's attention by its number of heads, from 0 heads to all heads of the dense model."""
    widths: tuple[int, ...]
    """The FFN widths in `ffn`, ascending from 0."""
    ffn: tuple[float, ...]
    """The cost of a layer's FFN, by width. A layer without heads and neurons costs what its norms cost."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.widths) != len(self.ffn) or list(self.widths) != sorted(set(self.widths)) or self.widths[0] != 0:
            raise ValueError("widths should ascend from 0, with one cost each")
        return self

    def of(self, layers: Sequence[LayerSize]) -> float:
        """Predict what a model with these layers costs. A layer that was dropped isn't listed."""
        return self.base + sum(self.attention[heads] + self.ffn[self.widths.index(width)] for heads, width in layers)

"""Describe a search: what is wanted, and the ladder of models that is made to find it.

objective: latency
stages:
  search: {steps: [1.5, 2, 3, 4]}
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = ["Objective", "SearchConfig"]

Objective = Literal["latency", "metric", "size"]
"""latency: the fastest model that keeps `budget.metric_drop`. metric: the most accurate model that keeps the budgets of
latency, memory and size. size: the smallest model that keeps `budget.metric_drop`."""


class SearchConfig(Frozen):
    """Configure the search for the model that a profile's budgets ask for."""

    steps: Annotated[tuple[Annotated[float, Field(gt=1)], ...], Field(min_length=1)] = (1.5, 2, 3, 4, 6, 8, 12, 16)
    """How many times faster than the dense model in the target's precision each rung should be; with the objective
    size, how many times smaller its layers should be. Each rung is pruned from the rung before it."""
    refine: int = Field(default=2, ge=0, le=10)
    """How many more rungs are made between the last rung that keeps the limit and the first that doesn't."""
    confidence: float = Field(default=0.8, ge=0.5, lt=1)
    """A rung keeps the metric's budget if its drop on the selection split is within it with this confidence, one-sided,
    by the paired bootstrap."""
    samples: PositiveInt = 512
    """Training texts on which the loss of every size of every layer is estimated."""
    align: PositiveInt = 64
    """FFN widths and hidden sizes are multiples of this."""
    keep_hidden: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (1.0,)
    """Fractions of the dense model's hidden size that a rung may have: 1, and then smaller and smaller ones. A rung is
    never wider than the rung that it is pruned from."""

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            steps = ", ".join(f"{step:g}" for step in self.steps)
            raise ValueError(f"steps should increase, but are {steps}; give each speed-up once, the smallest first")
        return self

    @model_validator(mode="after")
    def _narrowing(self) -> Self:
        if self.keep_hidden[0] != 1 or list(self.keep_hidden) != sorted(set(self.keep_hidden), reverse=True):
            fractions = ", ".join(f"{fraction:g}" for fraction in self.keep_hidden)
            raise ValueError(
                f"keep_hidden should be 1 and then fractions that decrease, but is {fractions}; give each fraction once, the "
                f"largest first"
            )
        return self

"""Hold what each layer of a model loses at each size that it could have: the content of `losses.json`. Light: no torch."""

from typing import Self

from pydantic import model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = ["LayerLosses", "LossTable", "ffn_widths"]


def ffn_widths(width: int, align: int) -> tuple[int, ...]:
    """List the widths that an FFN of a width can have: multiples of `align` from 0, and its own."""
    return (*range(0, width, align), width)


class LayerLosses(Frozen):
    """Hold what one layer loses. Losses are comparable within a table, and add up over layers and sublayers."""

    index: int
    """The layer's number in the dense model."""
    attention: tuple[float, ...]
    """The loss by the number of heads that are kept, from none to all that are left; 0 for all."""
    widths: tuple[int, ...]
    """The FFN widths in `ffn`, ascending from 0 to the present width."""
    ffn: tuple[float, ...]
    """The loss by the FFN's width; 0 for the present width."""
    dropped: float | None
    """The loss of a model without the layer; None: the layer can't be dropped."""
    heads: tuple[int, ...]
    """The heads that are left, in the dense model's numbers, the most important first: n heads are the first n."""
    neurons: tuple[int, ...]
    """The neurons that are left, in the same way."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.attention) != len(self.heads) + 1:
            raise ValueError("attention should have a loss for each number of heads, from 0 to all of them")
        ascending = list(self.widths) == sorted(set(self.widths)) and self.widths[:1] == (0,)
        if not ascending or self.widths[-1] != len(self.neurons) or len(self.widths) != len(self.ffn):
            raise ValueError("widths should ascend from 0 to the number of neurons, with one loss each")
        return self


class LossTable(Frozen):
    """Hold the losses of all layers that a model has left, from the bottom up."""

    samples: int
    """How many training rows the losses were estimated on, those on which projections were solved among them."""
    layers: tuple[LayerLosses, ...]
    dimensions: tuple[int, ...] = ()
    """The hidden dimensions that are left, in the dense model's numbers, the most important first: n dimensions are the
    first n. Empty: the hidden size stays."""

"""Choose the models that a latency table is made from: few, and such that every cost follows from their times.

| models | what they tell |
|---|---|
| each number of heads in all layers, at a middle width | a head's cost |
| widths in all layers, with a middle number of heads | a neuron's cost |
| extremes: dense, quarter, tiny, many heads with few neurons, … | that costs add up |
| fewer layers | what a layer costs beside its heads and neurons, and the base |
| two layers, of which the upper one varies | the topmost layer, where one token is computed in it |

Some models more have layers of different sizes. The table isn't made from them: they tell how far its predictions are
off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.search.costs import LayerSize

__all__ = ["Design", "Layers", "Shape", "design_for", "ffn_widths"]

_WIDTHS = 12
"""About how many widths are timed. Costs between them are interpolated."""
_VALIDATION = 8

Layers = tuple[LayerSize, ...]


@dataclass(frozen=True)
class Shape:
    """Hold the sizes that a model's layers can have."""

    layers: int
    heads: int
    """The most heads of a layer."""
    width: int
    """The most neurons of a layer."""
    align: int
    """Widths are multiples of this, or `width`."""

    @classmethod
    def of(cls, sizes: Sequence[LayerSize], *, align: int) -> "Shape":
        """Describe a model by the sizes of its layers."""
        return cls(len(sizes), max(heads for heads, _ in sizes), max(width for _, width in sizes), align)

    @property
    def middle(self) -> LayerSize:
        """A layer of about half the size."""
        return (self.heads + 1) // 2, self.part(0.5)

    def part(self, share: float) -> int:
        """Give the possible width that is nearest to a share of all neurons, but not 0."""
        return min(ffn_widths(self)[1:], key=lambda width: abs(width - share * self.width))


@dataclass(frozen=True)
class Design:
    """Hold the models to time, by their layers from the bottom up."""

    fitted: tuple[Layers, ...]
    """The models from whose times the table is made."""
    validation: tuple[Layers, ...]
    """Other models, which its predictions are compared with."""

    @property
    def all(self) -> tuple[Layers, ...]:
        """All models that are timed."""
        return self.fitted + self.validation


def ffn_widths(shape: Shape) -> tuple[int, ...]:
    """List the possible widths: multiples of `align` from 0, and all neurons."""
    return (*range(0, shape.width, shape.align), shape.width)


def design_for(shape: Shape, *, narrowed: bool, seed: int) -> Design:
    """Choose the models.

    Args:
        shape: The sizes that the layers can have.
        narrowed: Whether the topmost layers are computed for one token only, so that they have costs of their own.
        seed: The seed of the models that the table isn't made from.
    """
    fitted = list(dict.fromkeys(_fitted(shape, narrowed=narrowed)))
    generator = np.random.default_rng(seed)
    mixed = [_mixed(shape, generator, fewer=number % 2 == 1) for number in range(_VALIDATION)]
    return Design(tuple(fitted), tuple(one for one in dict.fromkeys(mixed) if one not in fitted))


def _fitted(shape: Shape, *, narrowed: bool) -> Iterator[Layers]:
    (heads, width), small, widths = shape.middle, (1, shape.part(0)), ffn_widths(shape)
    top: Layers = ((heads, width),) if narrowed else ()
    below = shape.layers - len(top)
    for number in range(shape.heads + 1):
        yield ((number, width),) * below + top
    for one in widths[:: -(-len(widths) // _WIDTHS)]:
        yield ((heads, one),) * below + top
    for share in (1, 0.75, 0.25, 0.125):
        yield ((max(1, round(share * shape.heads)), shape.part(share)),) * shape.layers
    for extreme in (small, (shape.heads, small[1]), (1, shape.width)):
        yield (extreme,) * shape.layers
    for empty in ((0, 0), (shape.heads, 0), (0, shape.width)):
        yield (empty,) * below + top
    for fewer in sorted({min(2, shape.layers), (shape.layers + 2) // 2, shape.layers - 1} - {0, 1}):
        yield from ((shape.middle,) * fewer, (small,) * fewer, ((0, 0),) * (fewer - len(top)) + top)
    if narrowed:
        yield from _tops(shape)


def _tops(shape: Shape) -> Iterator[Layers]:
    """Vary the topmost layer of models that have little below it."""
    (heads, width), small = shape.middle, (1, shape.part(0))
    for number in sorted({0, 1, 2, heads, (heads + shape.heads) // 2, shape.heads}):
        yield (small, (number, width))
    for one in sorted({0, small[1], shape.part(0.25), width, shape.width}):
        yield (small, (heads, one))
    yield ((0, 0), (0, 0))
    if shape.layers > 2:
        yield (small, (heads, width), (0, 0))


def _mixed(shape: Shape, generator: np.random.Generator, *, fewer: bool) -> Layers:
    """Draw a model with layers of different sizes around one share; with `fewer`, some layers are left out or empty."""
    share, widths = generator.uniform(0.1, 0.9), ffn_widths(shape)
    layers: list[LayerSize] = []
    for _ in range(max(2, shape.layers - fewer * int(generator.integers(shape.layers)))):
        of_heads, of_neurons = (min(1, share * generator.uniform(0.3, 1.7)) for _ in range(2))
        layers.append(
            (
                max(int(not fewer), round(of_heads * shape.heads)),
                widths[max(int(not fewer), round(of_neurons * (len(widths) - 1)))],
            )
        )
    return tuple(layers[: shape.layers])

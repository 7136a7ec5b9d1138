"""Choose the models that a latency table is made from: few, and such that every cost follows from their times.

| models | what they tell |
|---|---|
| each number of heads in all layers, at a middle width | a head's cost |
| widths in all layers, with a middle number of heads | a neuron's cost |
| extremes: dense, quarter, tiny, many heads with few neurons, … | that costs add up |
| fewer layers | what a layer costs beside its heads and neurons, and the base |
| one or two layers, of which the upper one varies | the topmost layer, where one token is computed in it |

Some models more have layers of different sizes. The table isn't made from them: they tell how far its predictions are
off. At a smaller hidden size, fewer numbers of heads and fewer widths are timed: costs are nearly lines between them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.pruning.loss_table import ffn_widths
from edgeprune.search.costs import LayerSize

__all__ = ["Design", "Layers", "Shape", "design_for"]

_WIDTHS = 12
"""About how many widths are timed."""
_SHARES = (1, 0.75, 0.5, 0.25, 0.125, 0)
_COARSE_SHARES = (1, 0.5, 0)
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
    def widths(self) -> tuple[int, ...]:
        """The widths that a layer can have, ascending from 0."""
        return ffn_widths(self.width, self.align)

    @property
    def middle(self) -> LayerSize:
        """A layer of about half the size."""
        return self.near(0.5)

    @property
    def small(self) -> LayerSize:
        """The smallest layer that has both parts."""
        return self.near(0)

    @property
    def timed_widths(self) -> tuple[int, ...]:
        """The widths that are timed. Costs between them are interpolated."""
        widths = self.widths
        return tuple(sorted({*widths[:2], *widths[:: -(-len(widths) // _WIDTHS)], self.width}))

    def near(self, share: float) -> LayerSize:
        """Give the layer with both parts whose sizes are nearest to a share of the largest, among those that are timed."""
        width = min(self.timed_widths[1:], key=lambda one: abs(one - share * self.width))
        return max(1, round(share * self.heads)), width


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


def design_for(shape: Shape, *, narrowed: bool, seed: int, coarse: bool = False) -> Design:
    """Choose the models.

    Args:
        shape: The sizes that the layers can have.
        narrowed: Whether the topmost layers are computed for one token only, so that they have costs of their own.
        seed: The seed of the models that the table isn't made from.
        coarse: Whether about half as many models are enough.
    """
    grid = _Grid.of(shape, coarse=coarse)
    fitted = list(dict.fromkeys(_fitted(shape, grid, narrowed=narrowed)))
    generator = np.random.default_rng(seed)
    mixed = [_mixed(shape, generator, fewer=number % 2 == 1) for number in range(grid.validation)]
    return Design(tuple(fitted), tuple(one for one in dict.fromkeys(mixed) if one not in fitted))


@dataclass(frozen=True)
class _Grid:
    """Hold the sizes that are timed."""

    heads: Sequence[int]
    widths: Sequence[int]
    shares: Sequence[float]
    """Shares of the largest sizes, in models whose layers are all equal, and in the topmost layer."""
    validation: int
    """How many models are drawn that the table isn't made from."""

    @classmethod
    def of(cls, shape: Shape, *, coarse: bool) -> "_Grid":
        """Choose the sizes. A coarse grid has the ends, the middle, and the first unit, which costs more than the next."""
        (heads, width), (one, narrow) = shape.middle, shape.small
        if coarse:
            numbers, widths = sorted({0, one, heads, shape.heads}), sorted({0, narrow, width, shape.width})
            return cls(numbers, widths, _COARSE_SHARES, _VALIDATION // 2)
        return cls(range(shape.heads + 1), shape.timed_widths, _SHARES, _VALIDATION)


def _fitted(shape: Shape, grid: _Grid, *, narrowed: bool) -> Iterator[Layers]:
    (heads, width), small = shape.middle, shape.small
    top: Layers = (shape.middle,) if narrowed else ()
    below = shape.layers - len(top)
    for number in grid.heads:
        yield ((number, width),) * below + top
    for one in grid.widths:
        yield ((heads, one),) * below + top
    for share in grid.shares:
        yield (shape.near(share),) * shape.layers
    for extreme in ((shape.heads, small[1]), (1, shape.width), (0, 0), (shape.heads, 0), (0, shape.width)):
        yield (extreme,) * below + top
    for fewer in sorted({1, (shape.layers + 1) // 2, shape.layers - 1} & set(range(1, shape.layers))):
        yield from ((shape.middle,) * fewer, (small,) * fewer, ((0, 0),) * (fewer - len(top)) + top)
    if narrowed:
        yield from _tops(shape, grid)


def _tops(shape: Shape, grid: _Grid) -> Iterator[Layers]:
    """Vary the topmost layer of models that have little below it.

    No model is without any heads: all of it, embeddings too, would be computed for one token, which is no use.
    """
    (heads, width), small = shape.middle, shape.small
    for share in grid.shares:
        yield from ((small, (shape.near(share)[0], width)), (small, (heads, shape.near(share)[1])))
    yield from ((small, (heads, 0)), (small, (0, 0)), (small, (0, width)), (shape.middle, (0, 0)))


def _mixed(shape: Shape, generator: np.random.Generator, *, fewer: bool) -> Layers:
    """Draw a model with layers of different sizes around one share; with `fewer`, some layers are left out or empty."""
    share, widths = generator.uniform(0.1, 0.9), shape.widths
    layers: list[LayerSize] = []
    for _ in range(max(2, shape.layers - fewer * int(generator.integers(shape.layers)))):
        of_heads, of_neurons = (min(1, share * generator.uniform(0.3, 1.7)) for _ in range(2))
        layers.append(
            (
                max(int(not fewer), round(of_heads * shape.heads)),
                widths[max(int(not fewer), round(of_neurons * (len(widths) - 1)))],
            )
        )
    (heads, width), *others = layers[: shape.layers]
    return (max(1, heads), width), *others

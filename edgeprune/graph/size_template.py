"""Make a graph at any sizes of its layers from two graphs of the model at other sizes.

Exporting a model takes seconds, and converting its graph takes most of a second. A latency table needs dozens of graphs
that differ in nothing but sizes. So two graphs are made, in which every layer has other sizes. They are equal node by
node, and every number that differs between them (a dimension of a weight, a constant that reshapes, an attribute) is a
multiple of one size of one layer:

    layer 2's heads:  5 in the first graph, 6 in the second     a dimension of 160 and 192 is 32 for each of its heads
    layer 2's FFN:  105 in the first graph, 107 in the second

The sizes are chosen so that the ratio of a number's two values tells what it counts. A graph at other sizes then takes
milliseconds. Its weights mean nothing: those of the first graph are repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, numpy_helper

from edgeprune.base.errors import IntegrityError
from edgeprune.graph.serialization import write_onnx

__all__ = ["SizeTemplate", "Sizes", "template_sizes"]

Sizes = Sequence[tuple[int, int]]
"""By layer, its number of heads and its number of neurons."""

_Edit = Callable[[Sizes], None]
"""Sets a number of the graph that is made to what the sizes ask for."""
_T = TypeVar("_T")

_FIRST_WIDTH = 101


def template_sizes(
    layers: int, *, first_heads: int = 3, heads_step: int = 1, width_step: int = 1
) -> tuple[Sizes, Sizes]:
    """Choose the sizes of the two graphs that a template is made from.

    Heads have the ratio n : n + 1 and neurons the ratio n : n + 2 with an odd n, each with another n. In a graph no two
    layers have the same size, because an export keeps equal constants once. The topmost layer has one head more, so that the
    heads of all layers together have a ratio of their own.

    Args:
        layers: The number of layers.
        first_heads: The smallest number of heads, in steps. It is to be no constant of the graph.
        heads_step: All numbers of heads are multiples of this.
        width_step: All numbers of neurons are multiples of this, for weights that are quantized in blocks.
    """
    first_width = _FIRST_WIDTH if width_step == 1 else 3  # wide blocks make wide layers
    first, second = (
        [
            (
                heads_step * (first_heads + layer + (layer == layers - 1) + more),
                width_step * (first_width + 2 * (layer + more)),
            )
            for layer in range(layers)
        ]
        for more in (0, 1)
    )
    return first, second


@dataclass(frozen=True)
class _Unit:
    """Name what a number counts."""

    layers: tuple[int, ...]
    """The layer, or all of them: a family's layers may have projections that a rewrite packs together."""
    part: int
    """0: heads, 1: neurons."""

    def size(self, sizes: Sizes) -> int:
        """Count the heads or neurons."""
        return sum(sizes[layer][self.part] for layer in self.layers)


@dataclass(frozen=True)
class _Number:
    """Tell what a number of the graph is at given sizes."""

    unit: _Unit | None
    """None: the number is the same at all sizes."""
    value: int
    """The number in the first graph."""
    size: int = 1
    """The unit's size in the first graph."""

    def at(self, sizes: Sizes) -> int:
        """Compute the number. Of blocks of weights, the last may not be full."""
        return self.value if self.unit is None else -(-self.value * self.unit.size(sizes) // self.size)


class SizeTemplate:
    """Make graphs of one model at any sizes above 0.

    Args:
        first: The model's graph at the first sizes.
        second: The same graph at the second sizes.
        sizes: Both sizes, as `template_sizes` gives them; 0 where a layer of the graphs lacks heads or neurons.

    Raises:
        IntegrityError: The graphs differ in more than sizes.
    """

    def __init__(self, first: Path, second: Path, sizes: tuple[Sizes, Sizes]) -> None:
        every = tuple(range(len(sizes[0])))
        units = [_Unit(layers, part) for layers in (every, *((layer,) for layer in every)) for part in (0, 1)]
        self._units = {
            Fraction(*(unit.size(each) for each in sizes)): (unit, unit.size(sizes[0]))
            for unit in units
            if unit.size(sizes[0])
        }
        self._model = onnx.load(first)
        self._edits = list(self._compared(self._model.graph, onnx.load(second).graph))

    def make(self, sizes: Sizes, path: Path) -> None:
        """Write the graph at these sizes to `path`."""
        for edit in self._edits:
            edit(sizes)
        write_onnx(onnx_ir.from_proto(self._model), path)

    def _compared(self, one: GraphProto, other: GraphProto) -> Iterator[_Edit]:
        """Yield an edit for each number that differs between two graphs. Values may have other names."""
        names = _Names()
        for node, its_node in _pairs(one.node, other.node, "the number of nodes"):
            names.match(node.input, its_node.input, node.name)
            names.match(node.output, its_node.output, node.name)
            yield from self._of_node(node, its_node)
        tensors = {names.of(tensor.name): tensor for tensor in other.initializer}
        for tensor in one.initializer:
            if tensor.name not in tensors:
                raise _unequal(f"the initializer {tensor.name}")
            yield from self._of_tensor(tensor, tensors[tensor.name])
        values = {names.of(value.name): value for value in [*other.value_info, *other.output]}
        for value in [*one.value_info, *one.output]:
            where = f"a dimension of {value.name}"
            if value.name not in values:
                raise _unequal(where)
            dims, its_dims = (each.type.tensor_type.shape.dim for each in (value, values[value.name]))
            for dim, its_dim in _pairs(dims, its_dims, where):
                if dim.dim_value != its_dim.dim_value:
                    yield partial(_set, dim, "dim_value", self._number(dim.dim_value, its_dim.dim_value, where))

    def _of_node(self, node: NodeProto, other: NodeProto) -> Iterator[_Edit]:
        if (node.op_type, node.domain) != (other.op_type, other.domain):
            raise _unequal(f"the node {node.name}")
        for attribute, its_attribute in _pairs(node.attribute, other.attribute, f"the attributes of {node.name}"):
            where = f"{node.name}.{attribute.name}"
            if attribute == its_attribute:
                continue
            if attribute.type != AttributeProto.INT or its_attribute.type != AttributeProto.INT:
                raise _unequal(where)
            yield partial(_set, attribute, "i", self._number(attribute.i, its_attribute.i, where))

    def _of_tensor(self, tensor: TensorProto, other: TensorProto) -> Iterator[_Edit]:
        """Yield an edit for a tensor of another shape, or with other whole numbers."""
        where = f"the initializer {tensor.name}"
        if tensor.data_type != other.data_type:
            raise _unequal(where)
        values, its_values = numpy_helper.to_array(tensor), numpy_helper.to_array(other)
        if values.shape != its_values.shape:
            shape = [self._number(*sizes, where) for sizes in _pairs(values.shape, its_values.shape, where)]
            yield partial(_repeat, tensor, values, shape)
        elif values.dtype == np.int64 and not np.array_equal(values, its_values):
            numbers = [self._number(*both, where) for both in zip(values.flat, its_values.flat, strict=True)]
            yield partial(_fill, tensor, numbers, values.shape)

    def _number(self, one: int, other: int, where: str) -> _Number:
        """Tell from a number's values in both graphs how it follows from the sizes."""
        if one == other:
            return _Number(None, int(one))
        found = self._units.get(Fraction(int(one), int(other))) if other else None
        if found is None:
            raise IntegrityError(
                f"{where} is {one} in one graph and {other} in the other, which no layer's number of heads or neurons "
                f"explains, so that graphs of other sizes can't be made"
            )
        unit, size = found
        return _Number(unit, int(one), size)


class _Names:
    """Match the names of values in one graph with those in another."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def match(self, ones: Sequence[str], others: Sequence[str], where: str) -> None:
        """Match names that stand in the same place of both graphs. Raise IntegrityError if they are others elsewhere."""
        for one, other in _pairs(ones, others, f"the node {where}"):
            if self._known.setdefault(other, one) != one:
                raise _unequal(f"the node {where}")

    def of(self, other: str) -> str:
        """Give the name in the first graph."""
        return self._known.get(other, other)


def _pairs(ones: Sequence[_T], others: Sequence[_T], what: str) -> Iterator[tuple[_T, _T]]:
    if len(ones) != len(others):
        raise _unequal(what)
    return zip(ones, others, strict=True)


def _unequal(what: str) -> IntegrityError:
    return IntegrityError(
        f"two graphs of one model at other sizes should differ in sizes only, but {what} differs, so that graphs of "
        f"other sizes can't be made"
    )


def _set(owner: Any, field: str, number: _Number, sizes: Sizes) -> None:
    setattr(owner, field, number.at(sizes))


def _repeat(tensor: TensorProto, values: npt.NDArray[Any], shape: Sequence[_Number], sizes: Sizes) -> None:
    """Give a tensor another shape, filled with its own values again and again."""
    made = np.resize(values, [number.at(sizes) for number in shape])
    tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))


def _fill(tensor: TensorProto, numbers: Sequence[_Number], shape: tuple[int, ...], sizes: Sizes) -> None:
    made = np.array([number.at(sizes) for number in numbers], np.int64).reshape(shape)
    tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))

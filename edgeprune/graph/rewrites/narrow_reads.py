"""Compute the last layer only for the tokens that are read.

A classifier reads one position after the last layer. Everything that the layer computes row by row (queries, attention
output, both FFN products, norms) is needed for that position only; keys and values are needed for all positions. The
selection is hoisted upwards through every operator that treats positions independently, as long as all readers of a
value want the same position:

    Gather(LayerNorm(Add(x, FFN(x))), 0)  →  LayerNorm(Add(x', FFN(x')))  with  x' = x at position 0

This rewrite knows no architecture. Hoisting stops at an operator that mixes positions (keys, values, a mean over
tokens), and it doesn't begin if nothing is read at one position. Selected values keep their axis, with size 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.values import constant, constant_of, introduce, rank_of, same_size

__all__ = ["NarrowReads"]


@dataclass(frozen=True)
class _Read:
    """Name one position of a value, on one axis."""

    axis: int
    position: int


_Use = tuple[onnx_ir.Node, int]
"""A node that reads a value, and the number of the operand that the value is."""
_Operands = dict[int, _Read]
"""By the number of an operand, the position that is read of it."""


class NarrowReads(Rewrite):
    """Compute at one position what is read at one position; a place is a matrix product that became smaller."""

    def change(self, model: onnx_ir.Model) -> int:
        return sum(_hoist(model.graph, node, read) for node, read in list(_selections(model.graph)))


def _selections(graph: onnx_ir.Graph) -> Iterator[tuple[onnx_ir.Node, _Read]]:
    """Yield the nodes that take one constant position out of several, and what they read. Tables' rows don't count."""
    for node in graph:
        if node.op_type != "Gather" or node.domain or node.inputs[0] is None or node.inputs[0].is_initializer():
            continue
        index, shape = constant_of(node.inputs[1]), node.inputs[0].shape
        if index is None or index.size != 1 or index.item() < 0 or shape is None:
            continue
        axis = node.attributes.get_int("axis", 0) % len(shape)
        if 0 < axis < len(shape) - 1 and shape[axis] != 1:
            yield node, _Read(axis, int(index.item()))


def _hoist(graph: onnx_ir.Graph, selection: onnx_ir.Node, read: _Read) -> int:
    wanted: dict[onnx_ir.Value, _Read] = {}
    uses: dict[onnx_ir.Value, list[_Use]] = {}
    inside: list[onnx_ir.Node] = []

    def ask(node: onnx_ir.Node, number: int, what: _Read) -> None:
        value = node.inputs[number]
        assert value is not None  # noqa: S101 (the caller has checked)
        wanted[value] = what
        uses.setdefault(value, []).append((node, number))

    ask(selection, 0, read)
    for node in reversed(graph):
        read_outputs = [value for value in node.outputs if value.uses() or value.is_graph_output()]
        reads = {wanted.get(value) for value in read_outputs}
        found = reads.pop() if len(reads) == 1 else None
        if found is None or any(value.is_graph_output() for value in read_outputs):
            continue
        if any(len(uses[value]) != len(value.uses()) for value in read_outputs):
            continue  # read elsewhere at other positions too
        operands = _operands(node, found)
        if operands is None or any(wanted.get(node.inputs[n], what) != what for n, what in operands.items()):
            continue
        inside.append(node)
        for number, what in operands.items():
            ask(node, number, what)
    products: int = sum(node.op_type == "MatMul" for node in inside)
    if products:
        _rewire(graph, selection, wanted, uses, inside)
    return products


def _rewire(
    graph: onnx_ir.Graph,
    selection: onnx_ir.Node,
    wanted: dict[onnx_ir.Value, _Read],
    uses: dict[onnx_ir.Value, list[_Use]],
    inside: list[onnx_ir.Node],
) -> None:
    hoisted = set(inside)
    for value, read in wanted.items():
        producer = value.producer()
        shape = (
            None
            if value.shape is None
            else onnx_ir.Shape([1 if axis == read.axis else size for axis, size in enumerate(value.shape)])
        )
        if producer in hoisted:
            value.shape = shape
            continue
        index = constant(graph, f"{value.name}_position", np.array([read.position], dtype=np.int64))
        gather = onnx_ir.node("Gather", [value, index], attributes={"axis": read.axis})
        introduce(graph, gather.outputs[0], f"{value.name}_read", value.dtype, shape)
        if producer is None:
            graph.insert_before(graph[0], gather)
        else:
            graph.insert_after(producer, gather)
        for user, number in uses[value]:
            user.replace_input_with(number, gather.outputs[0])
    for node in inside:
        if node.op_type == "Reshape":
            _narrow_shape(graph, node, wanted[node.outputs[0]].axis)
    if selection.inputs[1] is not None:
        zero = constant_of(selection.inputs[1])
        assert zero is not None  # noqa: S101 (it is how the selection was found)
        selection.replace_input_with(1, constant(graph, f"{selection.outputs[0].name}_position", np.zeros_like(zero)))


def _operands(node: onnx_ir.Node, read: _Read) -> _Operands | None:
    """List the operands of which a node's output at `read` needs one position, and that position of each.

    Operands that are needed whole are left out. None: the operator mixes positions, or isn't known.
    """
    rank, rule = rank_of(node.outputs[0]), _RULES.get(node.op_type)
    if rank is None or rule is None or node.domain not in ("", "ai.onnx"):
        return None
    return rule(node, read, rank)


def _last_axis(node: onnx_ir.Node, read: _Read, rank: int) -> _Operands | None:
    return {0: read} if read.axis < node.attributes.get_int("axis", -1) % rank else None


def _transpose(node: onnx_ir.Node, read: _Read, rank: int) -> _Operands | None:
    permutation = node.attributes.get_ints("perm", list(reversed(range(rank))))
    return {0: _Read(permutation[read.axis], read.position)}


def _along_another_axis(node: onnx_ir.Node, read: _Read, rank: int) -> _Operands | None:
    if node.attributes.get_int("axis", 0) % rank == read.axis:
        return None
    pieces = len(node.inputs) if node.op_type == "Concat" else 1
    return dict.fromkeys(range(pieces), read)


def _slice(node: onnx_ir.Node, read: _Read, rank: int) -> _Operands | None:
    return {0: read} if read.axis not in (_axes(node, 3, rank) or range(rank)) else None


def _axes(node: onnx_ir.Node, number: int, rank: int) -> list[int] | None:
    """Return the axes that an operand lists, counted from 0; None: there is no such operand, or it isn't known."""
    axes = constant_of(node.inputs[number]) if len(node.inputs) > number else None
    return None if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]


def _squeeze(node: onnx_ir.Node, read: _Read, rank: int) -> _Operands | None:
    before = rank_of(node.inputs[0])
    gone = None if before is None else _axes(node, 1, before)
    if before is None or gone is None:
        return None
    left = [axis for axis in range(before) if axis not in gone]
    return {0: _Read(left[read.axis], read.position)} if len(left) == rank else None


def _broadcast(node: onnx_ir.Node, read: _Read, rank: int) -> _Operands | None:
    found = {}
    for number, value in enumerate(node.inputs):
        operand = rank_of(value)
        if value is None or operand is None or value.shape is None:
            return None
        axis = read.axis - (rank - operand)
        if axis < 0 or value.shape[axis] == 1:
            continue
        if read.position and not same_size(value.shape[axis], node.outputs[0].shape[read.axis]):
            return None  # the operand may have only one position, which is repeated
        found[number] = _Read(axis, read.position)
    return found


def _matmul(node: onnx_ir.Node, read: _Read, rank: int) -> _Operands | None:
    left, right = rank_of(node.inputs[0]), rank_of(node.inputs[1])
    if left != rank or right is None or read.axis == rank - 1:
        return None
    if read.axis == rank - 2 or right == 2:
        return {0: read}
    return None  # a batch axis, which both operands have


def _reshape(node: onnx_ir.Node, read: _Read, _rank: int) -> _Operands | None:
    """Pass a read on if the Reshape leaves the axes up to the selected axis alone."""
    before, after = node.inputs[0], node.outputs[0]
    assert before is not None  # noqa: S101 (Reshape has two inputs)
    if before.shape is None or after.shape is None or min(len(before.shape), len(after.shape)) <= read.axis:
        return None
    same = all(same_size(before.shape[axis], after.shape[axis]) for axis in range(read.axis + 1))
    return {0: read} if same and _shape_parts(node, read.axis) is not None else None


def _shape_parts(node: onnx_ir.Node, axis: int) -> list[onnx_ir.Value] | None:
    """Return the parts that a Reshape's target shape is put together from.

    None: the target isn't put together from parts, with one part for each axis up to `axis`.
    """
    target = node.inputs[1]
    producer = target.producer() if target is not None else None
    if producer is None or producer.op_type != "Concat":
        return None
    parts = [part for part in producer.inputs if part is not None]
    sizes = [None if part.shape is None else part.shape[0] for part in parts]
    return parts if all(size == 1 for size in sizes[: axis + 1]) and len(parts) > axis else None


def _narrow_shape(graph: onnx_ir.Graph, node: onnx_ir.Node, axis: int) -> None:
    parts = _shape_parts(node, axis)
    assert parts is not None  # noqa: S101 (the same question as before hoisting)
    name = node.outputs[0].name
    one = constant(graph, f"{name}_one", np.array([1], dtype=np.int64))
    concat = onnx_ir.node("Concat", [*parts[:axis], one, *parts[axis + 1 :]], attributes={"axis": 0})
    introduce(graph, concat.outputs[0], f"{name}_shape", onnx_ir.DataType.INT64, onnx_ir.Shape([len(parts)]))
    graph.insert_before(node, concat)
    node.replace_input_with(1, concat.outputs[0])


_RULES: dict[str, Callable[[onnx_ir.Node, _Read, int], _Operands | None]] = {
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Pow", "Where", "Gelu", "Erf", "Tanh", "Sigmoid", "Relu", "Neg", "Sqrt", "Cast"),
        _broadcast,
    ),
    **dict.fromkeys(("LayerNormalization", "Softmax"), _last_axis),
    **dict.fromkeys(("Split", "Concat"), _along_another_axis),
    "MatMul": _matmul,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
}
"""By operator, the rule that turns a read of its output at one position into reads of its operands."""

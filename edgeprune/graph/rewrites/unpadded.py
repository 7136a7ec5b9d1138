"""Remove the attention mask where texts are never padded.

A package that is given one text at a time has an attention mask of ones. From that follows which other values have one
known number in all of their elements: what is cast, reshaped or compared from the mask. Additions of 0 and products
with 1 are then left out. If a mask means more than padding (a window of local attention), that part of the mask stays.
The graph loses the mask as an input: giving it a mask fails, instead of being ignored.
"""

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.values import constant, constant_of, introduce, same_shape

__all__ = ["Unpadded"]

_MASK = "attention_mask"

Number = np.generic

_SAME_ELEMENTS = {
    "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"
}  # fmt: skip
"""Operators whose output consists of elements of their first input."""
_ARITHMETIC = {
    "Abs": np.abs, "Add": np.add, "And": np.logical_and, "Div": np.divide, "Equal": np.equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "Less": np.less, "LessOrEqual": np.less_equal,
    "Max": lambda *numbers: reduce(np.maximum, numbers), "Min": lambda *numbers: reduce(np.minimum, numbers),
    "Mul": np.multiply, "Neg": np.negative, "Not": np.logical_not, "Or": np.logical_or, "Sub": np.subtract,
    "Where": np.where,
}  # fmt: skip
"""By operator, what it computes element by element, with broadcast operands."""
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "And": True, "Or": False}
"""By operator, the second operand that changes nothing. Except for Sub and Div, it may be the first operand too."""


class Unpadded(Rewrite):
    """Take `attention_mask` for ones, and drop it.

    A place is an operation that was left out; if none was, the mask itself counts as one place.
    """

    def change(self, model: onnx_ir.Model) -> int:
        graph = model.graph
        mask = next((value for value in graph.inputs if value.name == _MASK), None)
        text = next((value for value in graph.inputs if value is not mask and same_shape(value, mask)), None)
        if mask is None or text is None or not mask.uses() or mask.is_graph_output():
            return 0
        known = _known(graph, mask)
        dropped = _drop_neutral(graph, known)
        _show_scalars(graph, known)
        for node, number in [(use.node, use.idx) for use in mask.uses()]:
            if node.op_type == "Shape":
                node.replace_input_with(number, text)
        RemoveUnusedNodesPass()(model)  # now only uses of the mask are left that something reads
        if mask.uses():  # for example, a mean over tokens counts the ones
            _as_ones(graph, mask, text)
        graph.inputs.remove(mask)
        return max(1, dropped)


def _known(graph: onnx_ir.Graph, mask: onnx_ir.Value) -> dict[onnx_ir.Value, Number]:
    """Find the values whose elements are all one number, given a mask of ones."""
    facts = _Facts(known={mask: _one(mask)[0]})
    with np.errstate(all="ignore"):  # adding to the lowest number, which masks hold, overflows
        for node in graph:
            if node.inputs and node.domain in ("", "ai.onnx"):
                facts.learn(node)
    return facts.known


@dataclass
class _Facts:
    """Hold what is known about a graph's values."""

    known: dict[onnx_ir.Value, Number]
    """By value, the number that all of its elements are."""
    natural: set[onnx_ir.Value] = field(default_factory=set)
    """The values that have no element below 0."""

    def number(self, value: onnx_ir.Value | None) -> Number | None:
        """Return the number that all elements of a value are; None: they differ, or aren't known."""
        if value is None:
            return None
        if value not in self.known and (array := constant_of(value)) is not None and array.size:
            first = array.reshape(-1)[0]
            if (array == first).all():
                self.known[value] = first
        return self.known.get(value)

    def learn(self, node: onnx_ir.Node) -> None:
        """Find out what is known about a node's output."""
        output, first = node.outputs[0], node.inputs[0]
        only: Number | None = None
        if node.op_type == "Range":
            start, step = constant_of(first), constant_of(node.inputs[2])
            if start is not None and step is not None and start.item() >= 0 and step.item() > 0:
                self.natural.add(output)
        elif node.op_type in _SAME_ELEMENTS:
            if first in self.natural:
                self.natural.add(output)
            only = self.number(first)
        elif node.op_type == "Cast" and (before := self.number(first)) is not None:
            only = before.astype(onnx_ir.DataType(node.attributes.get_int("to", 1)).numpy())
        elif node.op_type in _ARITHMETIC:
            only = _result(node, [self.number(value) for value in node.inputs], natural=first in self.natural)
        if only is not None:
            self.known[output] = only


def _result(node: onnx_ir.Node, numbers: list[Number | None], *, natural: bool) -> Number | None:
    """Compute the number that all elements of a node's output are; None: they differ, or aren't known."""
    if node.op_type == "Where" and numbers[0] is not None:
        return numbers[1] if numbers[0] else numbers[2]
    if node.op_type == "GreaterOrEqual" and natural and numbers[1] is not None and numbers[1] <= 0:  # type: ignore[operator]
        return np.bool_(True)
    if any(number is None for number in numbers):
        return None
    if node.op_type == "Div" and numbers[0].dtype.kind in "iu":  # type: ignore[union-attr]
        return None  # ONNX rounds quotients of whole numbers in another way than Python
    result: Number = _ARITHMETIC[node.op_type](*numbers)  # type: ignore[operator]
    return result


def _drop_neutral(graph: onnx_ir.Graph, known: dict[onnx_ir.Value, Number]) -> int:
    """Leave out, and count, operators that add 0 to a value or multiply it by 1 and keep its shape."""
    dropped = 0
    for node in graph:
        neutral, output = _NEUTRAL.get(node.op_type), node.outputs[0]
        if neutral is None or node.domain or output in known or output.is_graph_output():
            continue
        left, right = node.inputs
        for kept, other in ((left, right), (right, left)):
            if kept is right and node.op_type in ("Sub", "Div"):
                break
            if other is None or constant_of(other) is not None or known.get(other) != neutral:
                continue
            if not same_shape(kept, output):
                continue
            output.replace_all_uses_with(kept)
            dropped += 1
            break
    return dropped


def _show_scalars(graph: onnx_ir.Graph, known: dict[onnx_ir.Value, Number]) -> None:
    """Give element-by-element operators a scalar in place of a computed value whose elements are all one number."""
    scalars: dict[onnx_ir.Value, onnx_ir.Value] = {}
    for node in graph:
        output = node.outputs[0]
        if node.op_type not in _ARITHMETIC or node.domain or output in known:
            continue
        replaced = [number for number, value in enumerate(node.inputs) if value in known and constant_of(value) is None]
        whole = any(same_shape(value, output) for number, value in enumerate(node.inputs) if number not in replaced)
        if not replaced or not (whole or _may_shrink(output)):
            continue
        for number in replaced:
            value = node.inputs[number]
            if value not in scalars:
                scalars[value] = constant(graph, f"{value.name}_all", np.asarray(known[value]))
            node.replace_input_with(number, scalars[value])
        if not whole:
            _shrink(output)


def _may_shrink(value: onnx_ir.Value) -> bool:
    """Tell whether all nodes that read a value broadcast it, so that axes of the value may shrink to size 1."""
    return not value.is_graph_output() and all(
        use.node.op_type in _ARITHMETIC
        and not use.node.domain
        and (_keeps_shape(use.node, value) or _may_shrink(use.node.outputs[0]))
        for use in value.uses()
    )


def _shrink(value: onnx_ir.Value) -> None:
    """Forget the shape of a value, and the shapes of values whose shape depends on it."""
    value.shape = None
    for use in value.uses():
        if not _keeps_shape(use.node, value):
            _shrink(use.node.outputs[0])


def _keeps_shape(node: onnx_ir.Node, value: onnx_ir.Value) -> bool:
    """Tell whether an operand other than `value` has the shape of a node's output."""
    return any(other is not value and same_shape(other, node.outputs[0]) for other in node.inputs)


def _one(mask: onnx_ir.Value) -> npt.NDArray[Number]:
    return np.ones(1, (mask.dtype or onnx_ir.DataType.INT64).numpy())


def _as_ones(graph: onnx_ir.Graph, mask: onnx_ir.Value, text: onnx_ir.Value) -> None:
    """Replace the mask by ones, which the graph makes in the text's shape."""
    shape = onnx_ir.node("Shape", [text])
    ones = onnx_ir.node("Expand", [constant(graph, "one", _one(mask)), shape.outputs[0]])
    introduce(graph, shape.outputs[0], "text_shape", onnx_ir.DataType.INT64, onnx_ir.Shape([2]))
    introduce(graph, ones.outputs[0], "ones", mask.dtype, mask.shape)
    graph.insert_before(graph[0], [shape, ones])
    mask.replace_all_uses_with(ones.outputs[0])

"""Find values of a graph whose elements are all one number, given the number that all elements of an input are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import onnx_ir

from edgeprune.graph.values import constant_of

__all__ = ["ARITHMETIC", "Number", "known_numbers"]

Number = np.generic

_SAME_ELEMENTS = {
    "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"
}  # fmt: skip
"""Operators whose output consists of elements of their first input."""
ARITHMETIC = {
    "Abs": np.abs, "Add": np.add, "And": np.logical_and, "Div": np.divide, "Equal": np.equal, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "Less": np.less, "LessOrEqual": np.less_equal,
    "Max": lambda *numbers: reduce(np.maximum, numbers), "Min": lambda *numbers: reduce(np.minimum, numbers),
    "Mul": np.multiply, "Neg": np.negative, "Not": np.logical_not, "Or": np.logical_or, "Sub": np.subtract,
    "Where": np.where,
}  # fmt: skip
"""By operator, what it computes element by element, with broadcast operands."""


def known_numbers(graph: onnx_ir.Graph, given: Mapping[onnx_ir.Value, Number]) -> dict[onnx_ir.Value, Number]:
    """Find the values whose elements are all one number.

    Args:
        graph: The graph.
        given: Values of the graph, and the number that all elements of each one are taken to be.

    Returns:
        By value, its number; the given values are among them.
    """
    facts = _Facts(known=dict(given))
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
            first, last = array.reshape(-1)[[0, -1]]
            if first == last and (array == first).all():  # the ends alone tell most tables, which may be large
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
        elif node.op_type in ARITHMETIC:
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
    result: Number = ARITHMETIC[node.op_type](*numbers)  # type: ignore[operator]
    return result

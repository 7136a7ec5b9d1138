"""Let values of a graph lose axes where every node that reads them broadcasts, and keep their shapes true."""

from itertools import zip_longest

import onnx_ir

from edgeprune.graph.rewrites.known_numbers import ARITHMETIC
from edgeprune.graph.values import same_shape, same_size

__all__ = ["may_shrink", "replace_broadcast", "shrink"]


def replace_broadcast(value: onnx_ir.Value, smaller: onnx_ir.Value) -> bool:
    """Have nodes read, in place of a value, what the value is broadcast from; False: one of them needs the value's shape."""
    if same_shape(value, smaller):
        value.replace_all_uses_with(smaller)
        return True
    if not may_shrink(value):
        return False
    readers = [use.node for use in value.uses()]
    value.replace_all_uses_with(smaller)
    for node in readers:
        if not _keeps_shape(node, smaller):
            shrink(node.outputs[0])
    return True


def may_shrink(value: onnx_ir.Value) -> bool:
    """Tell whether all nodes that read a value broadcast it, so that axes of the value may shrink to size 1."""
    return not value.is_graph_output() and all(
        use.node.op_type in ARITHMETIC
        and not use.node.domain
        and (_keeps_shape(use.node, value) or may_shrink(use.node.outputs[0]))
        for use in value.uses()
    )


def shrink(value: onnx_ir.Value) -> None:
    """Work out anew the shape of an element-by-element operator's output, and the shapes that depend on it."""
    node = value.producer()
    assert node is not None  # noqa: S101 (the caller has changed an operand of it)
    value.shape = _broadcast([None if operand is None else operand.shape for operand in node.inputs])
    for use in value.uses():
        if not _keeps_shape(use.node, value):
            shrink(use.node.outputs[0])


def _keeps_shape(node: onnx_ir.Node, value: onnx_ir.Value) -> bool:
    """Tell whether an operand other than `value` has the shape of a node's output."""
    return any(other is not value and same_shape(other, node.outputs[0]) for other in node.inputs)


def _broadcast(shapes: list[onnx_ir.Shape | None]) -> onnx_ir.Shape | None:
    """Return the shape of several operands together; None: it isn't known."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) != len(shapes):
        return None
    sizes = []
    for axis in zip_longest(*(reversed(shape) for shape in known), fillvalue=1):
        first, *others = [size for size in axis if size != 1] or [1]
        if not all(same_size(first, other) for other in others):
            return None
        sizes.append(first)
    return onnx_ir.Shape(reversed(sizes))

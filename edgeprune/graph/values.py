"""What rewrites ask about the values of a graph, and the constants that they add to it."""

import numpy as np
import numpy.typing as npt
import onnx_ir

__all__ = ["Numbers", "constant", "constant_of", "only_use", "producer_of", "rank_of"]

Numbers = npt.NDArray[np.generic]


def constant_of(value: onnx_ir.Value | None) -> Numbers | None:
    """A value's numbers where they are known: an initializer's, or a Constant node's."""
    if value is None:
        return None
    tensor = onnx_ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def rank_of(value: onnx_ir.Value | None) -> int | None:
    """How many axes a value has; None where that isn't known."""
    return None if value is None or value.shape is None else len(value.shape)


def constant(graph: onnx_ir.Graph, name: str, numbers: Numbers) -> onnx_ir.Value:
    """A new initializer."""
    value = onnx_ir.val(name, const_value=onnx_ir.tensor(numbers, name=name))
    graph.register_initializer(value)
    return value


def producer_of(value: onnx_ir.Value | None, *op_types: str) -> onnx_ir.Node | None:
    """The node that computes a value, if it is one of these standard operators."""
    node = None if value is None else value.producer()
    return node if node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types else None


def only_use(value: onnx_ir.Value, op_type: str) -> onnx_ir.Node | None:
    """The one node that reads a value, if it is this standard operator and the value is no output of the graph."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if node.domain in ("", "ai.onnx") and node.op_type == op_type else None

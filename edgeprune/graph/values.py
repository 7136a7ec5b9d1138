"""Answer what rewrites ask about the values of a graph, and add new values to it."""

from itertools import chain, count

import numpy as np
import numpy.typing as npt
import onnx_ir

__all__ = [
    "Numbers",
    "constant",
    "constant_of",
    "introduce",
    "mask_and_text",
    "only_use",
    "rank_of",
    "same_shape",
    "same_size",
]

Numbers = npt.NDArray[np.generic]


def constant_of(value: onnx_ir.Value | None) -> Numbers | None:
    """Return a value's numbers if they are known, else None.

    They are known if the value is an initializer that no caller may replace, or the output of a Constant node.
    """
    if value is None or value.is_graph_input():
        return None
    tensor = onnx_ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def mask_and_text(graph: onnx_ir.Graph) -> tuple[onnx_ir.Value | None, onnx_ir.Value | None]:
    """Return the inputs with the mask and with the tokens of texts, [batch, tokens] each; None for one that isn't there."""
    mask = next((value for value in graph.inputs if value.name == "attention_mask"), None)
    return mask, next((value for value in graph.inputs if value is not mask and same_shape(value, mask)), None)


def rank_of(value: onnx_ir.Value | None) -> int | None:
    """Count the axes of a value; None: their number isn't known."""
    return None if value is None or value.shape is None else len(value.shape)


def same_size(one: int | onnx_ir.SymbolicDim, other: int | onnx_ir.SymbolicDim) -> bool:
    """Tell whether two axes are known to have the same size. Two axes of unknown size are not."""
    return one == other and (isinstance(one, int) or one.value is not None)


def same_shape(one: onnx_ir.Value | None, other: onnx_ir.Value | None) -> bool:
    """Tell whether two values are known to have the same shape."""
    if one is None or other is None or one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return False
    return all(same_size(*sizes) for sizes in zip(one.shape, other.shape, strict=True))


def constant(graph: onnx_ir.Graph, name: str, numbers: Numbers) -> onnx_ir.Value:
    """Add a new initializer, called `name`, or `name` with a number if that name is taken."""
    name = _free(graph, name)
    value = onnx_ir.val(name, const_value=onnx_ir.tensor(numbers, name=name))
    graph.register_initializer(value)
    return value


def introduce(
    graph: onnx_ir.Graph, value: onnx_ir.Value, name: str, dtype: onnx_ir.DataType | None, shape: onnx_ir.Shape | None
) -> None:
    """Give a new node's output its name, type and shape, before the node joins the graph.

    The output is called `name`, or `name` with a number if that name is taken. A node without a name gets the same
    name, because ONNX Runtime refuses two nodes of one name.
    """
    value.name, value.dtype, value.shape = _free(graph, name), dtype, shape
    node = value.producer()
    if node is not None and node.name is None:
        node.name = value.name


def _free(graph: onnx_ir.Graph, name: str) -> str:
    nodes = list(onnx_ir.traversal.RecursiveGraphIterator(graph))
    taken = {value.name for value in [*graph.inputs, *(output for node in nodes for output in node.outputs)]}
    taken.update(graph.initializers, (node.name for node in nodes))
    return next(free for free in chain([name], (f"{name}_{number}" for number in count(1))) if free not in taken)


def only_use(value: onnx_ir.Value, op_type: str) -> onnx_ir.Node | None:
    """Return the only node that reads a value, if the node is of this standard operator.

    None: the node is of another operator, not one node alone reads the value, or the value is an output of the graph.
    """
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    return node if node.domain in ("", "ai.onnx") and node.op_type == op_type else None

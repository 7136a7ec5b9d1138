"""Remove the attention mask where texts are never padded.

A package that is given one text at a time has an attention mask of ones. From that follows which other values have one
known number in all of their elements: what is cast, reshaped or compared from the mask. Additions of 0 and products
with 1 are then left out. If a mask means more than padding (a window of local attention), that part of the mask stays.
The graph loses the mask as an input: giving it a mask fails, instead of being ignored.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.rewrites.broadcasting import may_shrink, shrink
from edgeprune.graph.rewrites.known_numbers import ARITHMETIC, Number, known_numbers
from edgeprune.graph.values import constant, constant_of, introduce, mask_and_text, same_shape

__all__ = ["Unpadded"]

_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "And": True, "Or": False}
"""By operator, the second operand that changes nothing. Except for Sub and Div, it may be the first operand too."""


class Unpadded(Rewrite):
    """Take `attention_mask` for ones, and drop it.

    A place is an operation that was left out; if none was, the mask itself counts as one place.
    """

    def change(self, model: onnx_ir.Model) -> int:
        graph = model.graph
        mask, text = mask_and_text(graph)
        if mask is None or text is None or not mask.uses() or mask.is_graph_output():
            return 0
        known = known_numbers(graph, {mask: _one(mask)[0]})
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
        if node.op_type not in ARITHMETIC or node.domain or output in known:
            continue
        replaced = [number for number, value in enumerate(node.inputs) if value in known and constant_of(value) is None]
        whole = any(same_shape(value, output) for number, value in enumerate(node.inputs) if number not in replaced)
        if not replaced or not (whole or may_shrink(output)):
            continue
        for number in replaced:
            value = node.inputs[number]
            if value not in scalars:
                scalars[value] = constant(graph, f"{value.name}_all", np.asarray(known[value]))
            node.replace_input_with(number, scalars[value])
        if not whole:
            shrink(output)


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

"""Refuse masks that a model isn't asked with: every text comes first in its row, and padding fills the row.

A mask that is dropped, or padding on the left, doesn't fail by itself. The answers are others, and nobody is told. With
this rewrite, the graph compares the number of tokens in each row with the place of its last token, and looks up a 0 for the
row. Where the two don't fit, the place of the 0 is out of bounds and ONNX Runtime fails, on the CPU. Its message names the
node, which is called what is wrong.
"""

import numpy as np
import onnx_ir

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.values import constant, introduce, mask_and_text

__all__ = ["RightPadding"]

_COMPLAINT = "attention_mask_must_be_ones_then_zeros"
_FAR = 1 << 20


class RightPadding(Rewrite):
    """Check that each row of `attention_mask` is ones, and then zeros; a place is the check."""

    def change(self, model: onnx_ir.Model) -> int:
        graph = model.graph
        mask, text = mask_and_text(graph)
        if mask is None or text is None or not mask.uses() or mask.dtype != text.dtype or mask.is_graph_output():
            return 0
        rows = onnx_ir.Shape([mask.shape[0], 1])
        first = graph[0]

        def add(name: str, op_type: str, *inputs: onnx_ir.Value, **attributes: int) -> onnx_ir.Value:
            node = onnx_ir.node(op_type, inputs, attributes=attributes)
            dtype = onnx_ir.DataType.BOOL if op_type == "Equal" else mask.dtype
            introduce(graph, node.outputs[0], name, dtype, rows)
            graph.insert_before(first, node)
            return node.outputs[0]

        def number(name: str, value: int) -> onnx_ir.Value:
            return constant(graph, name, np.array([value], mask.dtype.numpy()))

        zero, one = number("zero", 0), number("one", 1)
        tokens = add("tokens", "ReduceSum", mask, one, keepdims=1)
        last = add("last_token", "ArgMax", mask, axis=1, keepdims=1, select_last_index=1)
        fits = add("mask_fits", "Equal", add("tokens_behind", "Sub", tokens, last), one)
        place = add("place_of_zero", "Where", fits, zero, number("far", _FAR))
        found = add(_COMPLAINT, "Gather", zero, place)
        uses = list(text.uses())
        checked = add("checked_text", "Add", text, found)
        checked.shape = text.shape
        for use in uses:
            if use.node.op_type != "Shape":
                use.node.replace_input_with(use.idx, checked)
        return 1

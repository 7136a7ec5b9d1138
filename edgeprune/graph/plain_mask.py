"""Compute attention masks by few nodes.

transformers makes the mask of padded texts in a way that holds for every kind of attention. It looks up `attention_mask` at
a grid of all rows and tokens, combines the result with conditions that are always true, and repeats it for every query:

    GatherND(mask, grid)                   → Unsqueeze(mask)            the grid is of all rows and tokens, in their order
    And(always true, mask)                 → mask                       [batch, 1, tokens, tokens] → [batch, 1, 1, tokens]

What is left for most families is Cast, Unsqueeze and Where, in place of 22 nodes. Conditions that are not always true, such as
a window of local attention, stay. Numbers don't change: masks are added to scores, and an addition repeats them for every
query by itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir
from onnxscript.rewriter.pattern import ANY_VALUE, Pattern

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.rewrites.broadcasting import replace_broadcast
from edgeprune.graph.rewrites.known_numbers import known_numbers
from edgeprune.graph.values import constant, constant_of, introduce, same_size

__all__ = ["PlainMask"]


class PlainMask(Rewrite):
    """Leave out what a mask doesn't need; a place is a lookup or a condition."""

    def change(self, model: onnx_ir.Model) -> int:
        graph = model.graph
        matches = [match for node in graph if (match := _GRID.match(model, graph, node))]
        lookups = sum(_without_grid(graph, **match.bindings) for match in matches)
        return lookups + _without_true(graph)


def _grid(op: Any, mask: Any, rows: Any, tokens: Any, shape: Any) -> Any:
    """Describe a lookup of all rows and tokens to onnxscript's matcher."""
    repeated = [op.Unsqueeze(op.Expand(axis, shape), ANY_VALUE) for axis in (rows, tokens)]
    return op.GatherND(mask, op.Concat(*repeated, axis=-1, _outputs=["places"]), _outputs=["found"])


_GRID = Pattern(_grid)


def _without_grid(
    graph: onnx_ir.Graph,
    mask: onnx_ir.Value,
    rows: onnx_ir.Value,
    tokens: onnx_ir.Value,
    places: onnx_ir.Value,
    found: onnx_ir.Value,
    **_: onnx_ir.Value,
) -> bool:
    """Replace a lookup of [batch, tokens] at [batch, 1, 1, tokens] places by the mask itself; False: it is another lookup."""
    lookup = found.producer()
    if mask.shape is None or len(mask.shape) != 2 or found.is_graph_output():
        return False
    batch, length = mask.shape
    whole = (
        lookup.attributes.get_int("batch_dims", 0) == 0
        and places.shape is not None
        and places.shape[-1] == 2
        and _has_shape(found, [batch, 1, 1, length])
        and _counts(rows, [batch, 1, 1, 1])
        and _counts(tokens, [1, 1, 1, length])
    )
    if whole:
        plain = onnx_ir.node("Unsqueeze", [mask, constant(graph, "mask_axes", np.array([1, 2], np.int64))])
        introduce(graph, plain.outputs[0], "mask_of_tokens", found.dtype, found.shape)
        graph.insert_before(lookup, plain)
        found.replace_all_uses_with(plain.outputs[0])
    return whole


def _has_shape(value: onnx_ir.Value, wanted: Sequence[int | onnx_ir.SymbolicDim]) -> bool:
    return value.shape is not None and len(value.shape) == len(wanted) and all(map(same_size, value.shape, wanted))


def _counts(value: onnx_ir.Value, wanted: Sequence[int | onnx_ir.SymbolicDim]) -> bool:
    """Tell whether a value has this shape, and counts 0, 1, 2 … along the only axis whose size isn't 1."""
    node = value.producer()
    while node is not None and node.op_type == "Unsqueeze":
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Range" or not _has_shape(value, wanted):
        return False
    first, step = constant_of(node.inputs[0]), constant_of(node.inputs[2])
    return first is not None and step is not None and first.item() == 0 and step.item() == 1


def _without_true(graph: onnx_ir.Graph) -> int:
    """Leave out, and count, conditions that are always true and that a mask is combined with."""
    known = known_numbers(graph, {})
    dropped = 0
    for node in graph:
        output = node.outputs[0]
        if node.op_type != "And" or node.domain or output in known or output.is_graph_output():
            continue
        for kept, other in (node.inputs, reversed(node.inputs)):
            if known.get(other) and replace_broadcast(output, kept):
                dropped += 1
                break
    return dropped

"""Replace attention by one operator: ONNX's `Attention`, or ONNX Runtime's `MultiHeadAttention`.

    q, k, v [batch, tokens, heads · width], each reshaped to heads and transposed
    softmax(q · kᵀ · scale + mask) · v, transposed and reshaped back     →  Attention(q, k, v, mask)

(https://onnx.ai/onnx/operators/onnx__Attention.html, from opset 23 on;
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention). The four
transposes go. The race finds out which kernel is faster, and whether it is faster than the operators that it replaces.
Layers may have different numbers of heads. A layer stays as it is if its queries, keys and values aren't plainly split
into heads (rotary positions, relative positions added in between), or if something else reads its scores too.

The operators want a mask of every query and token. A mask of tokens alone is repeated once for all layers.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir
from onnx_ir import Value
from onnxscript.rewriter.pattern import ANY_VALUE, OrValue, Pattern

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.rewrites.known_numbers import known_numbers
from edgeprune.graph.values import constant, constant_of, introduce, mask_and_text, same_size

__all__ = ["FusedAttention", "StandardAttention"]

_CONTRIB = "com.microsoft"
_PADDING, _MASK = 4, 5
"""The places of MultiHeadAttention's inputs key_padding_mask and attention_bias."""
_NOTHING = -1e4
"""A score that leaves nothing of its token; the operator itself takes this one."""
_OPSET, _IR_VERSION = 23, 11
"""The first opset that has the standard operator, and its IR version."""


@dataclass(frozen=True)
class _Attention:
    """Describe one layer's attention in a graph."""

    query: Value
    """The queries, [batch, queries, heads · width]; `key` and `value` are [batch, tokens, heads · width]."""
    key: Value
    value: Value
    mask: Value | None
    """What is added to the scores, [batch or 1, heads or 1, queries or 1, tokens]; None: nothing is added."""
    heads: int
    scale: float
    result: onnx_ir.Node
    """The Reshape whose output is [batch, queries, heads · width]."""


class _OneOperator(Rewrite):
    """Replace every plain attention by one operator; a place is one attention."""

    def change(self, model: onnx_ir.Model) -> int:
        graph = model.graph
        matches = [match for node in graph if (match := _PLAIN.match(model, graph, node))]
        found = [one for match in matches if (one := _attention(**match.bindings)) is not None]
        repeated: dict[Value, Value] = {}
        for number, attention in enumerate(found):
            operator = self.operator(_with_mask_of_queries(graph, attention, repeated))
            before, after = attention.result.outputs[0], operator.outputs[0]
            introduce(graph, after, f"attention_{number}", before.dtype, before.shape)
            graph.insert_before(attention.result, operator)
            before.replace_all_uses_with(after)
        if found:
            self.declare(model)
        return len(found)

    @abstractmethod
    def operator(self, attention: _Attention) -> onnx_ir.Node:
        """Make the operator that computes an attention."""

    @abstractmethod
    def declare(self, model: onnx_ir.Model) -> None:
        """Import the operator set that has the operator."""


class FusedAttention(_OneOperator):
    """Replace every plain attention by ONNX Runtime's operator; a place is one attention.

    Where a mask does nothing but leave out padding, the operator takes the graph's `attention_mask` itself. This is faster
    than a mask of every query and token, which the graph computes and the operator copies.
    """

    def change(self, model: onnx_ir.Model) -> int:
        places = super().change(model)
        _give_padding(model.graph)
        return places

    def operator(self, attention: _Attention) -> onnx_ir.Node:
        inputs = [attention.query, attention.key, attention.value]
        mask = [] if attention.mask is None else [None, None, attention.mask]
        attributes = {"num_heads": attention.heads, "scale": attention.scale}
        return onnx_ir.node("MultiHeadAttention", [*inputs, *mask], attributes=attributes, domain=_CONTRIB)

    def declare(self, model: onnx_ir.Model) -> None:
        model.opset_imports.setdefault(_CONTRIB, 1)


class StandardAttention(_OneOperator):
    """Replace every plain attention by ONNX's standard operator; a place is one attention.

    The model's opset is raised if the operator needs that.
    """

    def operator(self, attention: _Attention) -> onnx_ir.Node:
        inputs = [attention.query, attention.key, attention.value]
        mask = [] if attention.mask is None else [attention.mask]
        heads = attention.heads
        attributes = {"q_num_heads": heads, "kv_num_heads": heads, "scale": attention.scale}
        return onnx_ir.node("Attention", [*inputs, *mask], attributes=attributes)

    def declare(self, model: onnx_ir.Model) -> None:
        model.opset_imports[""] = max(model.opset_imports[""], _OPSET)
        model.ir_version = max(model.ir_version, _IR_VERSION)


def _with_mask_of_queries(graph: onnx_ir.Graph, attention: _Attention, repeated: dict[Value, Value]) -> _Attention:
    """Repeat a mask of tokens alone for every query, as the operators want it; `repeated` has those that were made before."""
    mask, query = attention.mask, attention.query
    if mask is None or same_size(mask.shape[2], query.shape[1]):
        return attention
    if mask not in repeated:
        one = constant(graph, "one_size", np.array([1], np.int64))
        count = onnx_ir.node("Shape", [query], attributes={"start": 1, "end": 2})
        size = onnx_ir.node("Concat", [one, one, count.outputs[0], one], attributes={"axis": 0})
        whole = onnx_ir.node("Expand", [mask, size.outputs[0]])
        introduce(graph, count.outputs[0], "queries", onnx_ir.DataType.INT64, onnx_ir.Shape([1]))
        introduce(graph, size.outputs[0], "mask_repeats", onnx_ir.DataType.INT64, onnx_ir.Shape([4]))
        shape = onnx_ir.Shape([*mask.shape[:2], query.shape[1], mask.shape[3]])
        introduce(graph, whole.outputs[0], "mask_of_queries", mask.dtype, shape)
        graph.insert_before(attention.result, [count, size, whole])
        repeated[mask] = whole.outputs[0]
    return replace(attention, mask=repeated[mask])


def _give_padding(graph: onnx_ir.Graph) -> None:
    """Replace the operators' masks by `key_padding_mask`, int32 [batch, tokens], where they do the same."""
    mask, _ = mask_and_text(graph)
    if mask is None or mask.dtype is None:
        return
    with_text, with_padding = (known_numbers(graph, {mask: np.full(1, one, mask.dtype.numpy())[0]}) for one in (1, 0))
    masked = [
        node
        for node in graph
        if node.domain == _CONTRIB
        and len(node.inputs) == _MASK + 1
        and with_text.get(node.inputs[_MASK]) == 0
        and float(with_padding.get(node.inputs[_MASK], 0)) <= _NOTHING
    ]
    if not masked:
        return
    cast = onnx_ir.node("Cast", [mask], attributes={"to": onnx_ir.DataType.INT32})
    introduce(graph, cast.outputs[0], "key_padding_mask", onnx_ir.DataType.INT32, mask.shape)
    graph.insert_before(graph[0], cast)
    for node in masked:
        node.replace_input_with(_PADDING, cast.outputs[0])
        node.replace_input_with(_MASK, None)


def _plain(op: Any, query: Any, key: Any, value: Any, mask: Any, factor: Any) -> Any:
    """Describe plain attention to onnxscript's matcher, which finds it if nothing else reads the values in between."""
    queries = op.Transpose(op.Reshape(query, ANY_VALUE, _outputs=["query_heads"]), perm=[0, 2, 1, 3])
    keys = op.Transpose(op.Reshape(key, ANY_VALUE, _outputs=["key_heads"]), perm=[0, 2, 3, 1])
    values = op.Transpose(op.Reshape(value, ANY_VALUE, _outputs=["value_heads"]), perm=[0, 2, 1, 3])
    product = op.MatMul(queries, keys, _outputs=["product"])
    ways = [op.Mul(product, factor), op.Div(product, factor), product]
    scaled = OrValue(ways, tag_var="scaling", tag_values=["Mul", "Div", None])
    scores = OrValue([op.Add(scaled, mask), op.Add(mask, scaled), scaled])
    mixed = op.MatMul(op.Softmax(scores, _outputs=["weights"]), values)
    return op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), ANY_VALUE, _outputs=["result"])


_PLAIN = Pattern(_plain)


def _attention(
    query: Value, key: Value, value: Value, mask: Value | None, factor: Value | None, scaling: str | None,
    query_heads: Value, key_heads: Value, value_heads: Value, product: Value, weights: Value, result: Value,
) -> _Attention | None:  # fmt: skip
    """Return the attention that the matcher found; None: its sizes or numbers don't fit one operator."""
    heads, scale = _heads(query, query_heads), _scale(factor, scaling)
    if heads is None or scale is None:
        return None
    plain = (
        heads == _heads(key, key_heads) == _heads(value, value_heads)
        and weights.producer().attributes.get_int("axis", -1) in (-1, 3)
        and (mask is None or _fits(mask, product))
        and _same_sizes(result.shape, [*query.shape[:2], value.shape[2]])
        and not result.is_graph_output()
    )
    return _Attention(query, key, value, mask, heads, scale, result.producer()) if plain else None


def _scale(factor: Value | None, scaling: str | None) -> float | None:
    """Return the number that scores are multiplied with; None: it isn't one known number."""
    if factor is None:
        return 1.0
    numbers = constant_of(factor)
    if numbers is None or numbers.size != 1 or not numbers.item():
        return None
    return float(numbers.item()) if scaling == "Mul" else 1.0 / float(numbers.item())


def _fits(mask: Value, scores: Value) -> bool:
    """Tell whether a mask is [batch or 1, heads or 1, queries or 1, tokens]."""
    if mask.shape is None or scores.shape is None or len(mask.shape) != len(scores.shape):
        return False
    wanted = [1 if size == 1 and axis < 3 else scores.shape[axis] for axis, size in enumerate(mask.shape)]
    return _same_sizes(mask.shape, wanted)


def _same_sizes(shape: onnx_ir.Shape | None, wanted: Sequence[int | onnx_ir.SymbolicDim]) -> bool:
    return shape is not None and len(shape) == len(wanted) and all(map(same_size, shape, wanted))


def _heads(whole: Value, split: Value) -> int | None:
    """Count the heads into which a Reshape splits [batch, tokens, heads · width]; None: it does something else."""
    if whole.shape is None or split.shape is None or len(whole.shape) != 3 or len(split.shape) != 4:
        return None
    heads, width = split.shape[2], split.shape[3]
    if not isinstance(heads, int) or not isinstance(width, int) or heads * width != whole.shape[2]:
        return None
    return heads if _same_sizes(whole.shape[:2], split.shape[:2]) else None

"""Attention as one operator: ONNX's `Attention`, or ONNX Runtime's `MultiHeadAttention`.

    q, k, v [batch, tokens, heads · width], each reshaped to heads and transposed
    softmax(q · kᵀ · scale + mask) · v, transposed and reshaped back     →  Attention(q, k, v, mask)

(https://onnx.ai/onnx/operators/onnx__Attention.html, from opset 23 on;
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention). The four
transposes go; which kernel is faster, and whether it makes up for what it does instead, is the race's to say. Layers may
have different numbers of heads; one whose queries, keys and values aren't plainly split into heads (rotary positions,
relative positions added between) stays as it is.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.values import constant_of, introduce, only_use, producer_of, same_size

__all__ = ["FusedAttention", "StandardAttention"]

_CONTRIB = "com.microsoft"
_OPSET, _IR_VERSION = 23, 11
"""The first with the standard operator."""


@dataclass(frozen=True)
class _Attention:
    """One layer's attention in a graph."""

    query: onnx_ir.Value
    """[batch, queries, heads · width]; the next two [batch, tokens, heads · width]."""
    key: onnx_ir.Value
    value: onnx_ir.Value
    mask: onnx_ir.Value | None
    """Added to the scores, broadcast to [batch, heads, queries, tokens]."""
    heads: int
    scale: float
    result: onnx_ir.Node
    """The Reshape that gives [batch, queries, heads · width]."""


class _OneOperator(Rewrite):
    """Replaces every attention that is plain by one operator; a place is an attention."""

    def change(self, model: onnx_ir.Model) -> int:
        graph = model.graph
        found = [one for node in graph if (one := _attention(node)) is not None]
        for number, attention in enumerate(found):
            operator = self.operator(attention)
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
    """Replaces every attention that is plain by ONNX Runtime's operator; a place is an attention."""

    def operator(self, attention: _Attention) -> onnx_ir.Node:
        inputs = [attention.query, attention.key, attention.value]
        mask = [] if attention.mask is None else [None, None, attention.mask]
        attributes = {"num_heads": attention.heads, "scale": attention.scale}
        return onnx_ir.node("MultiHeadAttention", [*inputs, *mask], attributes=attributes, domain=_CONTRIB)

    def declare(self, model: onnx_ir.Model) -> None:
        model.opset_imports.setdefault(_CONTRIB, 1)


class StandardAttention(_OneOperator):
    """Replaces every attention that is plain by the standard's operator; a place is an attention.

    The model's opset is raised where that is needed.
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


def _attention(softmax: onnx_ir.Node) -> _Attention | None:
    """The attention around a Softmax, or None."""
    found = _scores(softmax) if softmax.op_type == "Softmax" and not softmax.domain else None
    if found is None:
        return None
    mixed = only_use(softmax.outputs[0], "MatMul")
    transposed = None if mixed is None else only_use(mixed.outputs[0], "Transpose")
    result = None if transposed is None else only_use(transposed.outputs[0], "Reshape")
    if mixed is None or transposed is None or result is None or result.outputs[0].is_graph_output():
        return None
    product, mask, scale = found
    query = _split(product.inputs[0], (0, 2, 1, 3))
    key = _split(product.inputs[1], (0, 2, 3, 1))
    value = _split(mixed.inputs[1], (0, 2, 1, 3))
    if query is None or key is None or value is None or not query[1] == key[1] == value[1]:
        return None
    plain = (
        mixed.inputs[0] is softmax.outputs[0]
        and _permutation(transposed) == (0, 2, 1, 3)
        and _same_sizes(result.outputs[0].shape, [*query[0].shape[:2], value[0].shape[2]])
        and (mask is None or _fits(mask, product.outputs[0]))
    )
    return _Attention(query[0], key[0], value[0], mask, query[1], scale, result) if plain else None


def _scores(softmax: onnx_ir.Node) -> tuple[onnx_ir.Node, onnx_ir.Value | None, float] | None:
    """The product of queries and keys under a Softmax, the mask that is added to it, and its scale."""
    if softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return None
    scores, mask, scale = softmax.inputs[0], None, 1.0
    if (add := producer_of(scores, "Add")) is not None:
        products = [value for value in add.inputs if producer_of(value, "MatMul", "Mul", "Div") is not None]
        if len(products) != 1:
            return None
        scores = products[0]
        mask = next(value for value in add.inputs if value is not scores)
    if (scaled := producer_of(scores, "Mul", "Div")) is not None:
        factor = constant_of(scaled.inputs[1])
        if factor is None or factor.size != 1 or not factor.item():
            return None
        scale = float(factor.item()) if scaled.op_type == "Mul" else 1.0 / float(factor.item())
        scores = scaled.inputs[0]
    product = producer_of(scores, "MatMul")
    return None if product is None else (product, mask, scale)


def _fits(mask: onnx_ir.Value, scores: onnx_ir.Value) -> bool:
    """Whether a mask is [batch or 1, heads or 1, queries, tokens], which is all that the operator takes."""
    if mask.shape is None or scores.shape is None or len(mask.shape) != len(scores.shape):
        return False
    wanted = [1 if size == 1 and axis < 2 else scores.shape[axis] for axis, size in enumerate(mask.shape)]
    return _same_sizes(mask.shape, wanted)


def _same_sizes(shape: onnx_ir.Shape | None, wanted: Sequence[int | onnx_ir.SymbolicDim]) -> bool:
    return shape is not None and len(shape) == len(wanted) and all(map(same_size, shape, wanted))


def _split(value: onnx_ir.Value | None, permutation: tuple[int, ...]) -> tuple[onnx_ir.Value, int] | None:
    """What is split into heads and transposed to give `value`, and the number of heads; None where it isn't that."""
    transpose = producer_of(value, "Transpose")
    reshape = producer_of(transpose.inputs[0], "Reshape") if transpose is not None else None
    if transpose is None or reshape is None or _permutation(transpose) != permutation:
        return None
    whole, split = reshape.inputs[0], reshape.outputs[0].shape
    if whole is None or whole.shape is None or split is None or len(whole.shape) != 3 or len(split) != 4:
        return None
    heads, width = split[2], split[3]
    if not isinstance(heads, int) or not isinstance(width, int) or heads * width != whole.shape[2]:
        return None
    if not _same_sizes(whole.shape[:2], split[:2]):
        return None
    return whole, heads


def _permutation(transpose: onnx_ir.Node) -> tuple[int, ...]:
    return tuple(transpose.attributes.get_ints("perm", ()))

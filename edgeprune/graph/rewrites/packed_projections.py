"""Pack projections of one input into one product, such as the queries, keys and values of a layer.

    x · Q + q,  x · K + k,  x · V + v   →   Split(x · [Q K V] + [q k v])

One larger product keeps a core busier than three small products and reads x once; the Split costs a copy. The widths
may differ. All linear projections that share their input are packed, whatever they are for.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.values import Numbers, constant, constant_of, introduce, only_use

__all__ = ["PackedProjections"]


@dataclass(frozen=True)
class _Linear:
    """Describe one linear projection, input · weight + bias."""

    weight: Numbers
    """The weight, [in, out]."""
    bias: Numbers
    """The bias, [out]."""
    product: onnx_ir.Node
    output: onnx_ir.Value
    origin: tuple[onnx_ir.Value, onnx_ir.Value]
    """The values in the graph that hold the weight and the bias."""


_Shared = dict[tuple[tuple[onnx_ir.Value, onnx_ir.Value], ...], tuple[onnx_ir.Value, onnx_ir.Value]]
"""Packed weight and bias, by the values they are packed from. Layers that share weights (ALBERT's) still share them."""


class PackedProjections(Rewrite):
    """Pack projections that share their input; a place is a product that was saved."""

    def change(self, model: onnx_ir.Model) -> int:
        groups: dict[onnx_ir.Value, list[_Linear]] = defaultdict(list)
        for node in model.graph:
            linear = _linear(node)
            if linear is not None and node.inputs[0] is not None:
                groups[node.inputs[0]].append(linear)
        packed = [(value, linears) for value, linears in groups.items() if len(linears) > 1]
        shared: _Shared = {}
        for number, (value, linears) in enumerate(packed):
            _pack(model.graph, value, linears, f"packed_{number}", shared)
        return sum(len(linears) - 1 for _, linears in packed)


def _linear(node: onnx_ir.Node) -> _Linear | None:
    """Return the projection that begins with a product, or None if there is none."""
    if node.op_type != "MatMul" or node.domain:
        return None
    weight, add = constant_of(node.inputs[1]), only_use(node.outputs[0], "Add")
    if weight is None or weight.ndim != 2 or add is None or add.outputs[0].is_graph_output():
        return None
    biases = [(array, value) for value in add.inputs if (array := constant_of(value)) is not None]
    if not biases or biases[0][0].shape != weight.shape[1:]:
        return None
    return _Linear(weight, biases[0][0], node, add.outputs[0], (node.inputs[1], biases[0][1]))


def _pack(graph: onnx_ir.Graph, value: onnx_ir.Value, linears: Sequence[_Linear], name: str, shared: _Shared) -> None:
    widths = np.array([linear.weight.shape[1] for linear in linears], dtype=np.int64)
    origins = tuple(linear.origin for linear in linears)
    if origins not in shared:
        shared[origins] = (
            constant(graph, f"{name}_weight", np.concatenate([linear.weight for linear in linears], axis=1)),
            constant(graph, f"{name}_bias", np.concatenate([linear.bias for linear in linears])),
        )
    weight, bias = shared[origins]
    product = onnx_ir.node("MatMul", [value, weight])
    add = onnx_ir.node("Add", [product.outputs[0], bias])
    split = onnx_ir.node(
        "Split",
        [add.outputs[0], constant(graph, f"{name}_widths", widths)],
        attributes={"axis": -1},
        num_outputs=len(linears),
    )
    for node, what in ((product, "product"), (add, "sum")):
        shape = None if value.shape is None else onnx_ir.Shape([*list(value.shape)[:-1], int(widths.sum())])
        introduce(graph, node.outputs[0], f"{name}_{what}", value.dtype, shape)
    for number, (part, linear) in enumerate(zip(split.outputs, linears, strict=True)):
        introduce(graph, part, f"{name}_{number}", value.dtype, linear.output.shape)
        linear.output.replace_all_uses_with(part)
    graph.insert_before(linears[0].product, [product, add, split])

"""Take heads, neurons and whole layers out of an exported fp32 graph, as an export of the smaller model lacks them.

A layer without heads adds only the bias of its attention's output, and a layer without neurons only the bias of its
second projection: `models.resize` makes such models, and their exports have zeros in place of the product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeprune.base.errors import IntegrityError
from edgeprune.graph.values import constant, introduce, same_shape, same_size
from edgeprune.models.architectures import Architecture

__all__ = ["Left", "take_out"]


@dataclass(frozen=True)
class Left:
    """Say what a layer of a graph has left."""

    heads: bool
    neurons: bool


def take_out(model: onnx_ir.Model, architecture: Architecture, layers: int, left: Sequence[Left]) -> None:
    """Change an exported graph in place.

    Args:
        model: The graph, as `export_onnx` writes it.
        architecture: The model's family.
        layers: How many layers the graph has.
        left: What each layer that is left has, from the bottom up. The lowest layers are dropped.

    Raises:
        IntegrityError: The graph's layers don't follow one another as they should.
    """
    graph, dropped = model.graph, layers - len(left)
    if dropped:
        onnx_ir.convenience.replace_all_uses_with(
            _states(graph, architecture, dropped), _states(graph, architecture, 0)
        )
    zeros: onnx_ir.Value | None = None
    for layer, what in enumerate(left, start=dropped):
        for path, is_left in ((architecture.attention_output, what.heads), (architecture.ffn_out, what.neurons)):
            if not is_left:
                product = _product(graph, architecture, layer, path).outputs[0]
                zeros = zeros or _zeros_like(graph, product)
                onnx_ir.convenience.replace_all_uses_with(product, zeros)
    RemoveUnusedNodesPass()(model)


def _states(graph: onnx_ir.Graph, architecture: Architecture, layer: int) -> onnx_ir.Value:
    """Find the states that a layer reads, [batch, tokens, hidden]. Beside them it may read masks and positions."""
    inside = _dependent(graph, architecture, layer)
    read = {value for node in inside for value in node.inputs if value is not None}
    alike = _product(graph, architecture, layer, architecture.attention_output).outputs[0]
    outside = [node for node in graph if node not in inside]
    if layer:
        below = _dependent(graph, architecture, layer - 1)
        outside = [node for node in outside if node in below]
    found = [value for node in outside for value in node.outputs if value in read and same_shape(value, alike)]
    if len(found) != 1:
        raise IntegrityError(
            f"layer {layer} should read the states of the layer below it, but reads {len(found)} values that could be "
            f"these, so that graphs of other sizes can't be made"
        )
    return found[0]


def _dependent(graph: onnx_ir.Graph, architecture: Architecture, layer: int) -> set[onnx_ir.Node]:
    """Collect the nodes of a layer that have a name or a weight of it, and every node that depends on one."""
    path = f".{architecture.layers}.{layer}."
    found: set[onnx_ir.Node] = set()
    for node in graph:
        names = [node.name, *(value.name for value in node.inputs if value is not None and value.is_initializer())]
        if any(path in f".{name}" for name in names) or any(
            value is not None and value.producer() in found for value in node.inputs
        ):
            found.add(node)
    return found


def _product(graph: onnx_ir.Graph, architecture: Architecture, layer: int, path: str) -> onnx_ir.Node:
    name = f"{architecture.layers}.{layer}.{path}"
    found = [node for node in graph if f".{node.name}".endswith(f".{name}")]
    if len(found) != 1:
        raise IntegrityError(f"an exported graph should have one product called {name}, but this one has {len(found)}")
    return found[0]


def _zeros_like(graph: onnx_ir.Graph, like: onnx_ir.Value) -> onnx_ir.Value:
    """Add zeros, [batch, tokens, hidden], that depend on the graph's inputs only."""
    assert like.shape is not None  # noqa: S101 (an export states every shape)
    nodes, parts = [], []
    for number, size in enumerate(like.shape):
        if isinstance(size, int):
            parts.append(constant(graph, f"no_units_size_{number}", np.array([size], np.int64)))
            continue
        given, axis = next(
            (value, axis)
            for value in graph.inputs
            for axis, its in enumerate(value.shape or ())
            if same_size(its, size)
        )
        nodes.append(onnx_ir.node("Shape", [given], attributes={"start": axis, "end": axis + 1}))
        introduce(graph, nodes[-1].outputs[0], f"no_units_size_{number}", onnx_ir.DataType.INT64, onnx_ir.Shape([1]))
        parts.append(nodes[-1].outputs[0])
    joined = onnx_ir.node("Concat", parts, attributes={"axis": 0})
    introduce(graph, joined.outputs[0], "no_units_shape", onnx_ir.DataType.INT64, onnx_ir.Shape([len(parts)]))
    zeros = onnx_ir.node("ConstantOfShape", joined.outputs)
    introduce(graph, zeros.outputs[0], "no_units", like.dtype, like.shape)
    graph.insert_before(graph[0], [*nodes, joined, zeros])
    return zeros.outputs[0]

"""Take heads, neurons and whole layers out of an exported fp32 graph, as an export of the smaller model lacks them.

A layer without heads adds only the bias of its attention's output, and a layer without neurons only the bias of its
second projection: `models.resize` makes such models, and their exports have zeros in place of the product.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeprune.base.errors import IntegrityError
from edgeprune.graph.values import constant, introduce, same_size
from edgeprune.models.architectures import Architecture

__all__ = ["Left", "take_out"]


@dataclass(frozen=True)
class Left:
    """Say what a layer of a graph has left."""

    heads: bool
    neurons: bool


def take_out(model: onnx_ir.Model, architecture: Architecture, left: Sequence[Left | None]) -> None:
    """Change an exported graph in place.

    Args:
        model: The graph, as `export_onnx` writes it.
        architecture: The model's family.
        left: By layer, what it has left; None: the layer is dropped. The first and the last layer can't be dropped.

    Raises:
        IntegrityError: The graph's layers don't follow one another as they should.
    """
    graph = model.graph
    outputs = _outputs_of_layers(graph, architecture, len(left))
    zeros: onnx_ir.Value | None = None
    for layer, what in enumerate(left):
        for path, is_left in (
            (architecture.attention_output, what is None or what.heads),
            (architecture.ffn_out, what is None or what.neurons),
        ):
            if not is_left:
                product = _product(graph, f"{architecture.layers}.{layer}.{path}")
                zeros = zeros or _zeros_like(graph, product.outputs[0])
                onnx_ir.convenience.replace_all_uses_with(product.outputs[0], zeros)
    # From the top, so that a layer's output is still the next one's input.
    for layer in reversed(range(len(left))):
        if left[layer] is None:
            onnx_ir.convenience.replace_all_uses_with(outputs[layer], outputs[layer - 1])
    RemoveUnusedNodesPass()(model)


def _outputs_of_layers(graph: onnx_ir.Graph, architecture: Architecture, layers: int) -> list[onnx_ir.Value]:
    """Find the output of every layer but the last: the only value that layers above read of it."""
    depends = [_dependent(graph, rf"(^|\.){re.escape(architecture.layers)}\.{layer}\.") for layer in range(layers)]
    found = []
    for layer, (own, above) in enumerate(pairwise(depends)):
        read = {value for node in above for value in node.inputs if value is not None}
        crossing = [value for node in own if node not in above for value in node.outputs if value in read]
        if len(crossing) != 1:
            raise IntegrityError(
                f"the layers above layer {layer} should read one value of it, but read {len(crossing)}; graphs of this "
                f"family can't be made at other sizes"
            )
        found.append(crossing[0])
    return found


def _dependent(graph: onnx_ir.Graph, pattern: str) -> set[onnx_ir.Node]:
    """Collect the nodes of a layer that have a name or a weight of it, and every node that depends on one."""
    found: set[onnx_ir.Node] = set()
    for node in graph:
        names = [node.name, *(value.name for value in node.inputs if value is not None and value.is_initializer())]
        if any(name is not None and re.search(pattern, name) for name in names) or any(
            value is not None and value.producer() in found for value in node.inputs
        ):
            found.add(node)
    return found


def _product(graph: onnx_ir.Graph, path: str) -> onnx_ir.Node:
    found = [node for node in graph if node.name is not None and f".{node.name}".endswith(f".{path}")]
    if len(found) != 1:
        raise IntegrityError(f"an export should have one product called {path}, but this one has {len(found)}")
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

"""PyTorch → ONNX through transformers' exporter: the one place that knows its API.

The graph takes any batch and, of texts, any sequence length; these axes are called `batch` and `sequence`. Its weights are inside the
file (beside it above 2 GB), and it names no path of the machine that made it: torch writes stack traces with absolute
paths into every node's metadata, which would leak them and make two checkouts' bytes differ.
"""

import ast
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx_ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import nn
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

from edgeprune.graph.serialization import write_onnx

__all__ = ["export_onnx"]

_LONGEST_BATCH = 4096
_SCOPES = "pkg.torch.onnx.name_scopes"
"""torch's metadata: the modules that a node lies in, outermost first, and the call."""


def export_onnx(
    module: nn.Module,
    inputs: dict[str, torch.Tensor],
    path: Path,
    *,
    opset: int,
    longest_sequence: int | None,
    output_names: Sequence[str],
) -> None:
    """Write `module` as an ONNX file.

    Args:
        module: In evaluation mode, with eager attention (fused attention exports to a slower graph).
        inputs: Example inputs, [batch, tokens] each, both above 1, or [batch, channels, height, width].
        path: The `.onnx` file.
        opset: ONNX operator set.
        longest_sequence: Most tokens the model takes; None: only the batch's size may change.
        output_names: Names of the outputs, in their order.
    """
    axes = {0: torch.export.Dim("batch", min=1, max=_LONGEST_BATCH)}
    if longest_sequence is not None:
        axes[1] = torch.export.Dim("sequence", min=1, max=longest_sequence)
    config = OnnxConfig(dynamic=True, dynamic_shapes=dict.fromkeys(inputs, axes), opset_version=opset)
    with torch.no_grad():
        program = OnnxExporter().export(module, dict(inputs), config=config).program
    _clean(program, output_names)
    program.producer_name, program.producer_version = "edgeprune", None
    write_onnx(program, path)


def _clean(program: onnx_ir.Model, output_names: Sequence[str]) -> None:
    """Readable names of axes, outputs and products; no metadata."""
    graph = program.graph
    _name_products(graph)
    renamed = {}
    for value in graph.inputs:
        shape = value.shape
        if shape is None:
            continue
        for axis, name in enumerate(("batch", "sequence")):
            if not isinstance(shape[axis], int):
                renamed[str(shape[axis])] = name
    for value in [*graph.inputs, *graph.outputs, *(output for node in graph for output in node.outputs)]:
        value.metadata_props.clear()
        if value.shape is not None:
            value.shape = onnx_ir.Shape([_dimension(size, renamed) for size in value.shape])
    for value, name in zip(graph.outputs, output_names, strict=True):
        value.name = name
    ClearMetadataAndDocStringPass()(program)  # of graphs and nodes, those in subgraphs and functions too
    program.metadata_props.clear()
    program.doc_string = None
    graph.name = "edgeprune"


def _name_products(graph: onnx_ir.Graph) -> None:
    """Call the product of a linear layer by its module: settings and reports name products."""
    calls: Counter[str] = Counter()
    for node in graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op_type in ("MatMul", "Gemm") and weight is not None and weight.is_initializer() and scopes[1:]:
            *_, module, _ = scopes
            node.name = f"{module}:{calls[module]}" if calls[module] else module  # ALBERT calls its one layer again
            calls[module] += 1


def _dimension(size: int | onnx_ir.SymbolicDim, renamed: dict[str, str]) -> int | str | None:
    return size if isinstance(size, int) else renamed.get(str(size), str(size))

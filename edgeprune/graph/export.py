"""Export a PyTorch model to ONNX through transformers' exporter. No other module knows that exporter's API.

The graph takes any batch size and, for texts, any sequence length; these axes are called `batch` and `sequence`. The
weights are inside the file, or beside it above 2 GB. The graph names no path of the machine that made it: torch writes
stack traces with absolute paths into every node's metadata, which would leak these paths and make the files of two
checkouts differ.

What the exporter computes in a roundabout way is made plain at once: attention masks (`plain_mask`), and the type that all
tokens of a text have (`folded_embeddings`). The race has no choice here, because both only take nodes away.
"""

import ast
import contextlib
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx_ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import nn
from torch._dynamo import config as tracing
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

from edgeprune.graph.folded_embeddings import FoldedEmbeddings
from edgeprune.graph.plain_mask import PlainMask
from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.serialization import write_onnx

__all__ = ["export_onnx"]

_CLEAN_UPS: tuple[Rewrite, ...] = (PlainMask(), FoldedEmbeddings())
_LONGEST_BATCH = 4096
_SCOPES = "pkg.torch.onnx.name_scopes"
"""The key of torch's metadata that lists the modules a node lies in, outermost first, and then the call."""


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
        module: The model, in evaluation mode and with eager attention (fused attention exports to a slower graph).
        inputs: Example inputs. Texts are [batch, tokens] each, both sizes above 1. Images are
            [batch, channels, height, width].
        path: The `.onnx` file to write.
        opset: The version of ONNX's operator set.
        longest_sequence: The most tokens that the model takes. None: only the batch size may change.
        output_names: The names of the outputs, in the outputs' order.
    """
    axes = {0: torch.export.Dim("batch", min=1, max=_LONGEST_BATCH)}
    if longest_sequence is not None:
        axes[1] = torch.export.Dim("sequence", min=1, max=longest_sequence)
    config = OnnxConfig(dynamic=True, dynamic_shapes=dict.fromkeys(inputs, axes), opset_version=opset)
    with torch.no_grad(), _traced_once():
        program = OnnxExporter().export(module, dict(inputs), config=config).program
    _clean(program, output_names)
    for clean_up in _CLEAN_UPS:
        clean_up(program)
    program.producer_name, program.producer_version = "edgeprune", None
    write_onnx(program, path)


@contextlib.contextmanager
def _traced_once() -> Iterator[None]:
    """Leave out what only pays for graphs that are traced again and again: a quarter of an export's time.

    These are torch's cache of what operators do to shapes, and Python's search for cycles among the many new objects.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        with tracing.patch(fake_tensor_cache_enabled=False):
            yield
    finally:
        if collected:
            gc.enable()


def _clean(program: onnx_ir.Model, output_names: Sequence[str]) -> None:
    """Give axes, outputs and products readable names, and remove all metadata."""
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
    ClearMetadataAndDocStringPass()(program)  # clears graphs and nodes, also in subgraphs and functions
    program.metadata_props.clear()
    program.doc_string = None
    graph.name = "edgeprune"


def _name_products(graph: onnx_ir.Graph) -> None:
    """Name the product of a linear layer after its module, because settings and reports name products."""
    calls: Counter[str] = Counter()
    for node in graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op_type in ("MatMul", "Gemm") and weight is not None and weight.is_initializer() and scopes[1:]:
            *_, module, _ = scopes
            node.name = f"{module}:{calls[module]}" if calls[module] else module  # ALBERT calls one layer many times
            calls[module] += 1


def _dimension(size: int | onnx_ir.SymbolicDim, renamed: dict[str, str]) -> int | str | None:
    return size if isinstance(size, int) else renamed.get(str(size), str(size))

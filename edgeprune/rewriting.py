"""Rewrite an exported graph, and keep only what computes the same as PyTorch did."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir

from edgeprune.evaluation import onnx_session
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.serialization import remove_graph, write_onnx
from edgeprune.parity import Agreement
from edgeprune.references import Reference, worst_agreement
from edgeprune.variant import RewriteName

__all__ = ["Rewritten", "rewrite"]


@dataclass(frozen=True)
class Rewritten:
    """What became of a graph."""

    applied: tuple[RewriteName, ...]
    """The rewrites that found something to change, in the table's order."""
    agreement: Agreement
    """With PyTorch."""
    dropped: tuple[str, ...]
    """A sentence for every rewrite that was left out because the graph didn't agree with it."""


def rewrite(
    source: Path,
    destination: Path,
    rewrites: Sequence[RewriteName],
    references: Sequence[Reference],
    *,
    tolerance: float,
) -> Rewritten:
    """Write the fp32 graph `source` rewritten.

    Rewrites are left out from the last one on until the graph agrees with the references; the export itself does.

    Args:
        source: The export.
        destination: The `.onnx` file to write.
        rewrites: Those that are wanted.
        references: What PyTorch computed.
        tolerance: Largest relative difference of outputs.
    """
    wanted = [name for name in REWRITES if name in rewrites]
    dropped: list[str] = []
    while True:
        applied = _apply(source, destination, wanted)
        try:
            found = worst_agreement(onnx_session(destination), references, with_padding="unpadded" not in applied)
            fault = f"outputs differ from PyTorch's by {found.relative_error:.1e}, allowed are {tolerance:.0e}"
        except Exception as error:  # onnxruntime has a class for every way in which a graph can be refused
            if not wanted:
                raise
            found, fault = None, f"onnxruntime refuses the graph: {str(error).splitlines()[0]}"
        if found is not None and (found.relative_error <= tolerance or not wanted):
            return Rewritten(applied, found, tuple(dropped))
        dropped.append(f"the rewrite {wanted.pop()} was left out: {fault}")
        remove_graph(destination)


def _apply(source: Path, destination: Path, wanted: Sequence[RewriteName]) -> tuple[RewriteName, ...]:
    model = onnx_ir.load(source)
    applied = tuple(name for name in wanted if REWRITES[name](model))
    write_onnx(model, destination)
    return applied

"""Rewrite an exported graph, and keep only what computes the same as PyTorch did."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir

from edgeprune.graph.parity import Agreement
from edgeprune.graph.references import Reference, worst_agreement
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.serialization import remove_graph, write_onnx
from edgeprune.graph.session import onnx_session
from edgeprune.profiles.variant import RewriteName

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

    Rewrites go in all at once; where the graph then doesn't agree with the references, one after the other, and those with
    which it doesn't are left out. The export itself agrees.

    Args:
        source: The export.
        destination: The `.onnx` file to write.
        rewrites: Those that are wanted.
        references: What PyTorch computed.
        tolerance: Largest relative difference of outputs.
    """
    wanted = [name for name in REWRITES if name in rewrites]
    found = _tried(source, destination, wanted, references, tolerance)
    if isinstance(found, Rewritten):
        return found
    kept: list[RewriteName] = []
    dropped: list[str] = []
    for name in wanted:
        found = _tried(source, destination, [*kept, name], references, tolerance)
        if isinstance(found, Rewritten):
            kept.append(name)
        else:
            dropped.append(f"the rewrite {name} was left out: {found}")
    applied, agreement = _apply(source, destination, kept, references)
    return Rewritten(applied, agreement, tuple(dropped))


def _tried(
    source: Path,
    destination: Path,
    wanted: Sequence[RewriteName],
    references: Sequence[Reference],
    tolerance: float,
) -> Rewritten | str:
    """The graph with these rewrites, or what is wrong with it."""
    try:
        applied, found = _apply(source, destination, wanted, references)
    except Exception as error:  # onnxruntime has a class for every way in which a graph can be refused
        if isinstance(error, OSError) or not wanted:
            raise
        return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
    if found.relative_error <= tolerance:
        return Rewritten(applied, found, ())
    return f"outputs differ from PyTorch's by {found.relative_error:.1e}, allowed are {tolerance:.0e}"


def _apply(
    source: Path, destination: Path, wanted: Sequence[RewriteName], references: Sequence[Reference]
) -> tuple[tuple[RewriteName, ...], Agreement]:
    remove_graph(destination)
    model = onnx_ir.load(source)
    applied = tuple(name for name in wanted if REWRITES[name](model).modified)
    write_onnx(model, destination)
    session = onnx_session(destination)
    return applied, worst_agreement(session, references, with_padding="unpadded" not in applied)

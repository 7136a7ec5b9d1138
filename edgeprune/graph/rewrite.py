"""Rewrite an exported graph, and keep only rewrites after which the graph still computes what PyTorch computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir

from edgeprune.base.wording import first_line
from edgeprune.graph.parity import Agreement
from edgeprune.graph.references import Reference, worst_agreement
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.serialization import remove_graph, write_onnx
from edgeprune.graph.session import onnx_session
from edgeprune.profiles.variant import RewriteName

__all__ = ["Rewritten", "rewrite"]


@dataclass(frozen=True)
class Rewritten:
    """Describe what rewriting made of a graph."""

    applied: tuple[RewriteName, ...]
    """The rewrites that found something to change, in the table's order."""
    agreement: Agreement
    """How far the graph's outputs lie from PyTorch's."""
    dropped: tuple[str, ...]
    """A sentence for every rewrite that was left out, because the graph failed or no longer agreed with PyTorch."""


def rewrite(
    source: Path,
    destination: Path,
    rewrites: Sequence[RewriteName],
    references: Sequence[Reference],
    *,
    tolerance: float,
) -> Rewritten:
    """Rewrite the fp32 graph `source`, and write the result.

    First, all rewrites are applied at once. If the graph then doesn't agree with the references, the rewrites are tried
    one after the other, and a rewrite that breaks the agreement is left out. The export itself agrees.

    Args:
        source: The exported graph.
        destination: The `.onnx` file to write.
        rewrites: The rewrites that are wanted.
        references: Batches, and what PyTorch computed for them.
        tolerance: The largest relative difference of outputs that counts as agreement.
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
    """Apply these rewrites. Return what they made of the graph, or say what is wrong with it."""
    try:
        applied, found = _apply(source, destination, wanted, references)
    except Exception as error:  # onnxruntime has a class for every way in which a graph can be refused
        if isinstance(error, OSError) or not wanted:
            raise
        return f"{type(error).__name__}: {first_line(error)}"
    if found.relative_error <= tolerance:
        return Rewritten(applied, found, ())
    return f"outputs differ from PyTorch's by {found.relative_error:.1e}, but at most {tolerance:.0e} is allowed"


def _apply(
    source: Path, destination: Path, wanted: Sequence[RewriteName], references: Sequence[Reference]
) -> tuple[tuple[RewriteName, ...], Agreement]:
    remove_graph(destination)
    model = onnx_ir.load(source)
    applied = tuple(name for name in wanted if REWRITES[name](model).modified)
    write_onnx(model, destination)
    session = onnx_session(destination)
    return applied, worst_agreement(session, references, with_padding="unpadded" not in applied)

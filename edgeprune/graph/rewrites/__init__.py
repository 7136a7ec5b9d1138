"""Exact rewrites: each makes another graph that computes the same function. The closed table, in the order of application."""

from collections.abc import Callable

import onnx_ir

from edgeprune.graph.rewrites.fused_attention import fused_attention, standard_attention
from edgeprune.graph.rewrites.narrow_reads import narrow_reads
from edgeprune.graph.rewrites.packed_projections import packed_projections
from edgeprune.graph.rewrites.unpadded import unpadded
from edgeprune.profiles.variant import RewriteName

__all__ = ["REWRITES"]

REWRITES: dict[RewriteName, Callable[[onnx_ir.Model], int]] = {
    "narrow-reads": narrow_reads,
    "unpadded": unpadded,
    "packed-projections": packed_projections,
    "standard-attention": standard_attention,
    "fused-attention": fused_attention,
}
"""A rewrite changes a model in place and says how many places it changed; 0: it doesn't apply, and nothing was changed."""

"""List the exact rewrites in one closed table, in the order in which they are applied.

Each rewrite makes another graph that computes the same function.
"""

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.rewrites.fused_attention import FusedAttention, StandardAttention
from edgeprune.graph.rewrites.narrow_reads import NarrowReads
from edgeprune.graph.rewrites.packed_projections import PackedProjections
from edgeprune.graph.rewrites.pooled_only import PooledOnly
from edgeprune.graph.rewrites.right_padding import RightPadding
from edgeprune.graph.rewrites.unpadded import Unpadded
from edgeprune.profiles.variant import RewriteName

__all__ = ["REWRITES"]

REWRITES: dict[RewriteName, Rewrite] = {
    "pooled-only": PooledOnly(),
    "narrow-reads": NarrowReads(),
    "unpadded": Unpadded(),
    "packed-projections": PackedProjections(),
    "standard-attention": StandardAttention(),
    "fused-attention": FusedAttention(),
    "right-padding": RightPadding(),
}

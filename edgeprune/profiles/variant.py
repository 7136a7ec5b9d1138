"""Describe how a model is run: with which rewrites of its graph, in which precision, with which session options.

This module imports no heavy library: variants enter keys, travel in packages and are sent to devices. A variant is its
own identity: it can be compared, and can be a key in a dictionary. Its `words` are for people.
"""

from typing import Literal, Self

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import DISABLED_FUSIONS, SessionOptions
from edgeprune.store.records import Artifact

__all__ = ["CHOICE", "DEFAULT_REWRITES", "VARIANT", "Layout", "RewriteName", "RewriteRules", "Variant", "read_variant"]

RewriteName = Literal[
    "pooled-only",
    "narrow-reads",
    "unpadded",
    "packed-projections",
    "standard-attention",
    "fused-attention",
    "right-padding",
]


CHOICE = "choice.json"
"""The file in which a race writes its verdict: the variant that won."""

VARIANT = "variant.json"
"""The file in which a graph's artifact names its variant."""

DEFAULT_REWRITES: tuple[RewriteName, ...] = ("narrow-reads",)
"""Rewrites that need no measurement: they leave operations out and change no other."""

Layout = Literal["portable", "bare"]
"""What a package's folder is made for: for any loader of ONNX models, or for `run.py` and one's own code."""


class RewriteRules(Frozen):
    """Say which rewrites the graphs of a build must have, and whether they may do without an attention mask."""

    required: tuple[RewriteName, ...] = ()
    unpadded: bool = False

    @classmethod
    def of(cls, layout: Layout, *, provider: str, batch_size: int) -> Self:
        """Make the rules for a layout, the target's provider and its workload's batch size.

        Only the CPU's operators fail where the check of the mask does not hold.
        """
        if layout == "bare":
            return cls(required=("pooled-only",), unpadded=batch_size == 1)
        return cls(required=("right-padding",) if provider == "CPUExecutionProvider" else ())

    @property
    def plain(self) -> tuple[RewriteName, ...]:
        """The rewrites of a graph that is not raced."""
        return (*DEFAULT_REWRITES, *self.required)


class Variant(Frozen):
    """Hold one way of running a model: the rewrites of its graph, its precision and its session options."""

    rewrites: tuple[RewriteName, ...]
    precision: PrecisionSettings
    session: SessionOptions | None = None
    """None: the variant was not raced, and runs with ONNX Runtime's defaults on the target's threads."""

    @property
    def raced_session(self) -> SessionOptions:
        """Return the session options of a variant that races; every such variant has them."""
        assert self.session is not None  # noqa: S101
        return self.session

    def session_on(self, threads: int) -> SessionOptions:
        """Return the session options; without a race, ONNX Runtime's defaults with a target's threads."""
        return self.session or SessionOptions(threads=threads)

    @property
    def complexity(self) -> int:
        """Count the differences from a plain export. Of two equally fast variants, the one with fewer is better."""
        session = self.session or SessionOptions(threads=1)
        options = len(session.disabled_fusions) + len(session.config.keys() - {DISABLED_FUSIONS})
        return len(self.rewrites) + options + (session.level != "all") + (not session.arena)

    @property
    def words(self) -> str:
        """Describe the variant for people."""
        return ", ".join([self.precision.words, *self.rewrites, *(self.session.words if self.session else ())])


def read_variant(artifact: Artifact) -> Variant | None:
    """Read the variant of an artifact's graph; None for a plain export."""
    path = artifact.file(VARIANT)
    return Variant.model_validate_json(path.read_bytes()) if path.is_file() else None

"""One way of running a model: which rewrites its graph went through, in which precision, with which session options.

Light: variants enter keys, travel in packages and are sent to devices.
"""

from typing import Literal

from pydantic import Field

from edgeprune.artifacts import Artifact
from edgeprune.config import Frozen
from edgeprune.precision import PrecisionSettings

__all__ = ["CHOICE", "NO_SKIP_FUSION", "PLAIN", "VARIANT", "RewriteName", "SessionOptions", "Variant", "read_variant"]

RewriteName = Literal["narrow-reads", "unpadded", "packed-projections", "standard-attention", "fused-attention"]


CHOICE = "choice.json"
"""The file in which a race writes its verdict: the variant that won."""

VARIANT = "variant.json"
"""The file in which a graph's artifact names its variant."""

PLAIN: tuple[RewriteName, ...] = ("narrow-reads",)
"""Rewrites that need no measurement: they leave operations out and change no other."""

NO_SKIP_FUSION = ("optimization.disable_specified_optimizers", "SkipLayerNormFusion")
"""ONNX Runtime's CPU kernel for the fused operator was slower than the two that it replaces where that was measured."""


class SessionOptions(Frozen):
    """What an ONNX Runtime session is opened with, in words that its C, C++, Java and Python interfaces share."""

    threads: int
    """`SetIntraOpNumThreads`."""
    level: Literal["basic", "extended", "all"] = "all"
    """`SetGraphOptimizationLevel`."""
    arena: bool = True
    """`EnableCpuMemArena`, or `DisableCpuMemArena`."""
    config: dict[str, str] = Field(default_factory=dict)
    """`AddConfigEntry`: keys and values of onnxruntime_session_options_config_keys.h."""

    @property
    def words(self) -> list[str]:
        """For people, what isn't ONNX Runtime's default, and the threads."""
        words = [
            f"without {value.replace(';', ', ')}" if key == NO_SKIP_FUSION[0] else f"{key} {value}"
            for key, value in self.config.items()
        ]
        words += [f"optimization {self.level}"] * (self.level != "all")
        words += ["no arena"] * (not self.arena)
        return [*words, f"{self.threads} thread{'s' * (self.threads > 1)}"]


class Variant(Frozen):
    """A graph, its numbers and its session."""

    rewrites: tuple[RewriteName, ...]
    precision: PrecisionSettings
    session: SessionOptions | None = None
    """None: not raced; ONNX Runtime's defaults on the target's threads."""

    @property
    def complexity(self) -> int:
        """How much it differs from an export that is just run; of two that are equally fast the lower is better."""
        session = self.session or SessionOptions(threads=1)
        return len(self.rewrites) + len(session.config) + (session.level != "all") + (not session.arena)

    @property
    def words(self) -> str:
        """For people."""
        return ", ".join([self.precision.words, *self.rewrites, *(self.session.words if self.session else ())])


def read_variant(artifact: Artifact) -> Variant | None:
    """The variant that an artifact's graph is; None for a plain export."""
    path = artifact.file(VARIANT)
    return Variant.model_validate_json(path.read_bytes()) if path.is_file() else None

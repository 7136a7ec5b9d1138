"""One way of running a model: which rewrites its graph went through, in which precision, with which session options.

Light: variants enter keys, travel in packages and are sent to devices.
"""

from typing import Literal

from pydantic import JsonValue

from edgeprune.config import Frozen
from edgeprune.precision import PrecisionSettings

__all__ = ["RewriteName", "SessionOptions", "Variant"]

RewriteName = Literal["narrow-reads", "unpadded", "packed-projections", "fused-attention"]


class SessionOptions(Frozen):
    """What an ONNX Runtime session is opened with, in words that its C, C++, Java and Python interfaces share."""

    threads: int
    """`SetIntraOpNumThreads`."""
    level: Literal["basic", "extended", "all"] = "all"
    """`SetGraphOptimizationLevel`."""
    arena: bool = True
    """`EnableCpuMemArena`, or `DisableCpuMemArena`."""
    config: tuple[tuple[str, str], ...] = ()
    """`AddConfigEntry`: keys and values of https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h."""

    def document(self) -> dict[str, JsonValue]:
        """As agent.py and a package's run.py read it."""
        return {"threads": self.threads, "level": self.level, "arena": self.arena, "config": dict(self.config)}


class Variant(Frozen):
    """A graph, its numbers and its session."""

    rewrites: tuple[RewriteName, ...]
    precision: PrecisionSettings
    session: SessionOptions

"""One way of running a model: which rewrites its graph went through, in which precision, with which session options.

Light: variants enter keys, travel in packages and are sent to devices.
"""

from typing import Literal

from pydantic import Field

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.store.records import Artifact

__all__ = [
    "CHOICE",
    "DISABLED_FUSIONS",
    "PLAIN",
    "SKIP_FUSION",
    "VARIANT",
    "RewriteName",
    "SessionOptions",
    "Variant",
    "read_variant",
]

RewriteName = Literal["narrow-reads", "unpadded", "packed-projections", "standard-attention", "fused-attention"]


CHOICE = "choice.json"
"""The file in which a race writes its verdict: the variant that won."""

VARIANT = "variant.json"
"""The file in which a graph's artifact names its variant."""

PLAIN: tuple[RewriteName, ...] = ("narrow-reads",)
"""Rewrites that need no measurement: they leave operations out and change no other."""

DISABLED_FUSIONS = "optimization.disable_specified_optimizers"
"""The key of a session's configuration whose value names ONNX Runtime's optimizers that it does without, `;` between them."""

SKIP_FUSION = "SkipLayerNormFusion"
"""ONNX Runtime's CPU kernel for the fused operator was slower than the two that it replaces where that was measured."""


_INTERFACES = {
    "C++": (
        "SetIntraOpNumThreads({})",
        "SetGraphOptimizationLevel(ORT_ENABLE_{})",
        "DisableCpuMemArena()",
        'AddConfigEntry("{}", "{}")',
    ),
    "Java": (
        "setIntraOpNumThreads({})",
        "setOptimizationLevel(OptLevel.{}_OPT)",
        "setCPUArenaAllocator(false)",
        'addConfigEntry("{}", "{}")',
    ),
    "C#": (
        "IntraOpNumThreads = {}",
        "GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_{}",
        "EnableCpuMemArena = false",
        'AddSessionConfigEntry("{}", "{}")',
    ),
    "Python": (
        "intra_op_num_threads = {}",
        "graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_{}",
        "enable_cpu_mem_arena = False",
        'add_session_config_entry("{}", "{}")',
    ),
}
"""Language to what sets the threads, the optimization level, no arena and an entry (https://onnxruntime.ai/docs/api)."""


class SessionOptions(Frozen):
    """What an ONNX Runtime session is opened with, nothing that one language's interface lacks."""

    threads: int
    """`SetIntraOpNumThreads`."""
    level: Literal["basic", "extended", "all"] = "all"
    """`SetGraphOptimizationLevel`."""
    arena: bool = True
    """`EnableCpuMemArena`, or `DisableCpuMemArena`."""
    config: dict[str, str] = Field(default_factory=dict)
    """`AddConfigEntry`: keys and values of onnxruntime_session_options_config_keys.h."""

    @property
    def disabled_fusions(self) -> tuple[str, ...]:
        """ONNX Runtime's optimizers that this session does without."""
        return tuple(name for name in self.config.get(DISABLED_FUSIONS, "").split(";") if name)

    def toggled(self, fusion: str) -> "SessionOptions":
        """The same without one of ONNX Runtime's optimizers, or with it where this is without."""
        disabled = self.disabled_fusions
        names = [name for name in disabled if name != fusion] if fusion in disabled else [*disabled, fusion]
        config = {key: value for key, value in self.config.items() if key != DISABLED_FUSIONS}
        return self.model_copy(
            update={"config": config | ({DISABLED_FUSIONS: ";".join(sorted(names))} if names else {})}
        )

    @property
    def calls(self) -> dict[str, tuple[str, ...]]:
        """By language, how its interface of ONNX Runtime is told what isn't its default, and the threads."""
        return {
            language: (
                threads.format(self.threads),
                *[level.format(self.level.upper())] * (self.level != "all"),
                *[no_arena] * (not self.arena),
                *(entry.format(key, value) for key, value in self.config.items()),
            )
            for language, (threads, level, no_arena, entry) in _INTERFACES.items()
        }

    @property
    def words(self) -> list[str]:
        """For people, what isn't ONNX Runtime's default, and the threads."""
        words = [f"without {name}" for name in self.disabled_fusions]
        words += [f"{key} {value}" for key, value in self.config.items() if key != DISABLED_FUSIONS]
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
    def raced_session(self) -> SessionOptions:
        """The session of a variant that races: all of them have one."""
        assert self.session is not None  # noqa: S101
        return self.session

    @property
    def complexity(self) -> int:
        """How much it differs from an export that is just run; of two that are equally fast the lower is better."""
        session = self.session or SessionOptions(threads=1)
        options = len(session.disabled_fusions) + len(session.config.keys() - {DISABLED_FUSIONS})
        return len(self.rewrites) + options + (session.level != "all") + (not session.arena)

    @property
    def words(self) -> str:
        """For people."""
        return ", ".join([self.precision.words, *self.rewrites, *(self.session.words if self.session else ())])


def read_variant(artifact: Artifact) -> Variant | None:
    """The variant that an artifact's graph is; None for a plain export."""
    path = artifact.file(VARIANT)
    return Variant.model_validate_json(path.read_bytes()) if path.is_file() else None

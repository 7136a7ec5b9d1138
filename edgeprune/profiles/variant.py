"""Describe how a model is run: with which rewrites of its graph, in which precision, with which session options.

This module imports no heavy library: variants enter keys, travel in packages and are sent to devices. A variant is its
own identity: it can be compared, and can be a key in a dictionary. Its `words` are for people.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.store.records import Artifact

__all__ = [
    "CHOICE",
    "DEFAULT_REWRITES",
    "DISABLED_FUSIONS",
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

DEFAULT_REWRITES: tuple[RewriteName, ...] = ("narrow-reads",)
"""Rewrites that need no measurement: they leave operations out and change no other."""

DISABLED_FUSIONS = "optimization.disable_specified_optimizers"
"""The key of a session's configuration that lists the optimizers of ONNX Runtime to do without, separated by `;`."""

SKIP_FUSION = "SkipLayerNormFusion"
"""An optimizer of ONNX Runtime. On the CPUs where it was measured, its fused operator is slower than the two operators
that it replaces."""


_SETTERS = {
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
"""By language, the calls that set the threads, the optimization level, no arena and an entry
(https://onnxruntime.ai/docs/api)."""


class SessionOptions(Frozen):
    """Hold what an ONNX Runtime session is opened with: only options that every language's interface has.

    Equal options have the same hash. Neither equality nor the hash depends on the order of `config`. The order is kept
    where options are written.
    """

    threads: int
    """`SetIntraOpNumThreads`."""
    level: Literal["basic", "extended", "all"] = "all"
    """`SetGraphOptimizationLevel`."""
    arena: bool = True
    """`EnableCpuMemArena`, or `DisableCpuMemArena`."""
    config: Mapping[str, str] = Field(default_factory=dict)
    """`AddConfigEntry`: keys and values of onnxruntime_session_options_config_keys.h."""

    def __hash__(self) -> int:
        """Hash the options. Pydantic's own hash of a frozen model can't take a mapping."""
        return hash((self.threads, self.level, self.arena, frozenset(self.config.items())))

    @property
    def disabled_fusions(self) -> tuple[str, ...]:
        """List the optimizers of ONNX Runtime that this session does without."""
        return tuple(name for name in self.config.get(DISABLED_FUSIONS, "").split(";") if name)

    def toggled(self, fusion: str) -> "SessionOptions":
        """Return these options without one of ONNX Runtime's optimizers, or with it where it is disabled here."""
        disabled = self.disabled_fusions
        names = [name for name in disabled if name != fusion] if fusion in disabled else [*disabled, fusion]
        config = {key: value for key, value in self.config.items() if key != DISABLED_FUSIONS}
        return self.model_copy(
            update={"config": config | ({DISABLED_FUSIONS: ";".join(sorted(names))} if names else {})}
        )

    @property
    def calls(self) -> dict[str, tuple[str, ...]]:
        """List by language ONNX Runtime's calls that set the threads and every option that isn't the default."""
        return {
            language: (
                threads.format(self.threads),
                *[level.format(self.level.upper())] * (self.level != "all"),
                *[no_arena] * (not self.arena),
                *(entry.format(key, value) for key, value in self.config.items()),
            )
            for language, (threads, level, no_arena, entry) in _SETTERS.items()
        }

    @property
    def words(self) -> list[str]:
        """Describe for people the threads and every option that isn't ONNX Runtime's default."""
        words = [f"without {name}" for name in self.disabled_fusions]
        words += [f"{key} {value}" for key, value in self.config.items() if key != DISABLED_FUSIONS]
        words += [f"optimization {self.level}"] * (self.level != "all")
        words += ["no arena"] * (not self.arena)
        return [*words, f"{self.threads} thread{'s' * (self.threads > 1)}"]


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

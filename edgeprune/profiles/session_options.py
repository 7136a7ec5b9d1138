"""Describe what an ONNX Runtime session is opened with, and which other options the race tries beside it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from edgeprune.base.strict_yaml import Frozen

__all__ = ["DISABLED_FUSIONS", "SKIP_FUSION", "SessionOptions"]


DISABLED_FUSIONS = "optimization.disable_specified_optimizers"
"""The key of a session's configuration that lists the optimizers of ONNX Runtime to do without, separated by `;`."""


SKIP_FUSION = "SkipLayerNormFusion"
"""An optimizer of ONNX Runtime. On the CPUs where it was measured, its fused operator is slower than the two operators
that it replaces."""


_GELU_FUSION = "BiasGeluFusion"
_SPINNING = "session.intra_op.allow_spinning"

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

    def neighbours(self, *, most_threads: int, spinning: bool) -> list["SessionOptions"]:
        """List the options that differ from these in one thing: what the race tries beside the fastest so far.

        Args:
            most_threads: The most that a session may have.
            spinning: Whether a session's threads may spin while they wait. In a page they are not the session's, and its
                options don't reach them.
        """
        found = [self.toggled(fusion) for fusion in (SKIP_FUSION, _GELU_FUSION)]
        changes: list[dict[str, object]] = [{"level": "extended"}, {"arena": False}]
        if self.threads > 1 and spinning:
            changes.append({"config": {**self.config, _SPINNING: "0"}})
        changes += [{"threads": number} for number in range(1, most_threads + 1)]
        found += [self.model_copy(update=change) for change in changes]
        return [one for one in found if one != self]

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
    def entries(self) -> dict[str, str]:
        """Give all options as entries of a session's configuration, as a model package has them.

        ONNX Runtime takes the first three as entries too since 1.28, when model packages came.
        """
        return {
            "session.intra_op_num_threads": str(self.threads),
            "session.graph_optimization_level": f"enable_{self.level}",
            "session.enable_cpu_mem_arena": str(int(self.arena)),
            **self.config,
        }

    @property
    def words(self) -> list[str]:
        """Describe for people the threads and every option that isn't ONNX Runtime's default."""
        words = [f"without {name}" for name in self.disabled_fusions]
        words += [f"{key} {value}" for key, value in self.config.items() if key != DISABLED_FUSIONS]
        words += [f"optimization {self.level}"] * (self.level != "all")
        words += ["no arena"] * (not self.arena)
        return [*words, f"{self.threads} thread{'s' * (self.threads > 1)}"]

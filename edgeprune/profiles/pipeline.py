"""Pipelines (how) and targets (where, and within what budget): the models behind the YAML, and where shipped ones are.

A bare name is a shipped definition, a path is the user's. Unknown keys, wrong types and numbers out of range are
refused together, each with its path.

    pipeline = load_pipeline("structured", ["stages.finetune.epochs=1"])
    target = load_target("cpu-x86-avx2", ["target.budget.size_mb=30"])
"""

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, model_validator

from edgeprune.base.errors import ProfileError
from edgeprune.base.strict_yaml import Frozen, apply_overrides, parse_override, read_yaml, validate
from edgeprune.benchmark.statistics import FEWEST_TURNS
from edgeprune.benchmark.turns import BLOCK
from edgeprune.profiles.precision import EmbeddingsType, Mode, has_int8_products, is_quantized
from edgeprune.profiles.runners import RemoteConfig, RunnerConfig
from edgeprune.profiles.steps import Schedule, Step, order_fault

__all__ = [
    "LATENCY_BUDGETS",
    "Budget",
    "DistillConfig",
    "ExportConfig",
    "FinetuneConfig",
    "Pipeline",
    "PrepareConfig",
    "PruneConfig",
    "QuantizeConfig",
    "RaceConfig",
    "Target",
    "load_pipeline",
    "load_target",
    "shipped",
    "shipped_names",
]

Kind = Literal["pipelines", "targets"]
Isa = Literal[
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
]


class TrainingConfig(Frozen):
    """What dense training and distillation share."""

    epochs: PositiveInt = 2
    learning_rate: float = Field(default=1e-4, gt=0, lt=1)
    batch_size: PositiveInt = 32
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    evaluations_per_epoch: PositiveInt = 1
    """The best of these moments by the selection split is kept; each is also a point to resume from."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the CPU has instructions for it, else fp32."""
    freeze_embeddings: bool = False


class PrepareConfig(TrainingConfig):
    """The dense baseline."""

    max_length: int = Field(default=128, ge=4)
    """Tokens a text is cut to, in every stage and in the package; refused for images, which aren't cut."""


class PruneConfig(Frozen):
    """Steps, in their order."""

    steps: tuple[Step, ...] = Field(min_length=1)
    schedule: Schedule = Schedule()
    """How the amounts grow over the pipeline's rounds."""


class DistillConfig(Frozen):
    """Weights of the loss terms; the teacher is the dense model."""

    temperature: PositiveFloat = 2.0
    logits: float = Field(default=1.0, ge=0)
    """Divergence from the teacher's outputs."""
    hidden: float = Field(default=10.0, ge=0)
    """Mean squared error to the teacher's hidden states, over layers and unpadded tokens."""
    labels: float = Field(default=0.3, ge=0)
    """The task's own loss; of no effect for a task without labels."""

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not self.logits + self.hidden + self.labels > 0:
            raise ValueError("logits, hidden and labels are all 0; at least one must be above")
        return self


class FinetuneConfig(TrainingConfig):
    """Recovery after pruning."""

    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    distill: DistillConfig = DistillConfig()
    augment: float = Field(default=0, ge=0, le=1)
    """Share of an epoch's texts that are put together from pieces of training texts, where the dense model alone teaches."""

    @model_validator(mode="after")
    def _taught(self) -> Self:
        if self.augment and not self.distill.logits + self.distill.hidden:
            raise ValueError("augment needs the dense model's answers, but distill.logits and distill.hidden are 0")
        return self


class ExportConfig(Frozen):
    """PyTorch to ONNX."""

    opset: int = Field(default=20, ge=18, le=23)
    tolerance: PositiveFloat = 1e-4
    """Largest difference of outputs, relative to max(1, largest output)."""


class RaceConfig(Frozen):
    """How the fastest variant of the graph is found on the target."""

    processes: PositiveInt = 6
    """Fresh processes in which the last few variants take turns."""
    samples: int = Field(default=30, ge=10)
    """Timed runs of each variant in each process; in the rounds before, as many times the round's number."""

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        turns = self.processes * -(-self.samples // BLOCK)
        if turns < FEWEST_TURNS:
            raise ValueError(
                f"{self.processes} process(es) of {self.samples} samples are {turns} turns of {BLOCK}; variants are told apart "
                f"by {FEWEST_TURNS} or more: raise samples or processes"
            )
        return self


class QuantizeConfig(Frozen):
    """Empty: the target decides."""


class BenchmarkConfig(Frozen):
    """How often the target is asked."""

    processes: PositiveInt = 8
    """Fresh processes; fewer than 7 allow no interval, and no verdict on a latency budget."""
    samples: int = Field(default=40, ge=16)
    """Timed runs of each model in each process."""
    warmup: int = Field(default=10, ge=1)


class PackageConfig(Frozen):
    """What the package carries beside the model."""

    goldens: PositiveInt = 8
    """Texts or images whose outputs are kept for `verify`."""


class Stages(Frozen):
    """One entry a stage; prune, finetune and race may be null."""

    prepare: PrepareConfig = PrepareConfig()
    prune: PruneConfig | None = None
    finetune: FinetuneConfig | None = None
    export: ExportConfig = ExportConfig()
    race: RaceConfig | None = RaceConfig()
    """null: the graph gets the rewrites that need no measurement."""
    quantize: QuantizeConfig = QuantizeConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    package: PackageConfig = PackageConfig()


class Pipeline(Frozen):
    """A pipeline definition."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    description: str
    seed: int = Field(default=0, ge=0, lt=2**32)
    rounds: PositiveInt = 1
    """Prune and finetune this often, by the prune stage's schedule."""
    stages: Stages

    @model_validator(mode="after")
    def _rounds_need_pruning(self) -> Self:
        if self.rounds > 1 and self.stages.prune is None:
            raise ValueError(f"rounds is {self.rounds}, but there is no prune stage to repeat")
        return self

    @model_validator(mode="after")
    def _steps_can_follow(self) -> Self:
        fault = order_fault(self.stages.prune.steps, self.rounds) if self.stages.prune else None
        if fault:
            raise ValueError(fault)
        return self


class Device(Frozen):
    """What the hardware is."""

    arch: Literal["x86_64", "aarch64"]
    isa: tuple[Isa, ...] = ()
    """Instruction-set features that the artifact may count on, under Linux's names."""
    cpu: str | None = None


class Runtime(Frozen):
    """How ONNX Runtime is used."""

    provider: Literal["CPUExecutionProvider", "CUDAExecutionProvider"] = "CPUExecutionProvider"
    threads: PositiveInt


class Precision(Frozen):
    """The deliverable's numbers; what is null follows from the instruction set."""

    mode: Mode
    weight_type: Literal["int8", "uint8"] | None = None
    """This and the next two are for int8-dynamic and int8-static."""
    reduce_range: bool | None = None
    per_channel: bool | None = None
    """null: a scale a channel."""
    embeddings: EmbeddingsType | None = None
    """null: int8, or int4 with int4-weights; refused in floating point."""

    @model_validator(mode="after")
    def _settings_fit_mode(self) -> Self:
        if self.embeddings is not None and not is_quantized(self.mode):
            raise ValueError(f"embeddings is {self.embeddings}, but {self.mode} leaves no weights as whole numbers")
        of_products = ("weight_type", "reduce_range", "per_channel")
        unread = [name for name in of_products if getattr(self, name) is not None]
        if unread and not has_int8_products(self.mode):
            raise ValueError(f"{' and '.join(unread)} are of int8-dynamic and int8-static, mode is {self.mode}")
        return self


class Workload(Frozen):
    """What is timed."""

    batch_size: PositiveInt = 1
    lengths: Literal["data"] | PositiveInt = "data"
    """`data`: the test texts' own lengths; a number: every text cut or repeated to so many tokens (images: `data`)."""
    text: bool = False
    """Also time the package from a text, or the bytes of an image's file, to its answer, one at a time, as `run.py` does it."""
    sessions: PositiveInt = 1
    """Above 1: also measure the throughput of so many sessions in parallel, each on `runtime.threads`."""


class Budget(Frozen):
    """What a build must keep; null is no limit. Megabytes are 10^6 bytes."""

    latency_p50_ms: PositiveFloat | None = None
    latency_p90_ms: PositiveFloat | None = None
    latency_text_p90_ms: PositiveFloat | None = None
    """From a text, or the bytes of an image's file, to its answer; what a user of the package waits for."""
    cold_start_ms: PositiveFloat | None = None
    """Opening the session and the first run."""
    peak_memory_mb: PositiveFloat | None = None
    size_mb: PositiveFloat | None = None
    """All files of the package, unpacked."""
    metric_drop: float | None = Field(default=None, ge=-1, le=1)
    """Dense PyTorch model minus the shipped ONNX model on the test split, absolute."""
    min_recall: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Label to the least share of its test rows that must be found; of single-label classification."""


LATENCY_BUDGETS = tuple(name for name in Budget.model_fields if name.startswith("latency_"))
"""Those that a machine is held to which the profile was written for."""


class Target(Frozen):
    """A device profile."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    description: str
    device: Device
    runtime: Runtime
    precision: Precision
    workload: Workload = Workload()
    budget: Budget = Budget()
    ort_format: bool = False
    """Also write the model in ORT format, for builds of ONNX Runtime that load nothing else."""
    runner: RunnerConfig | None
    """How the target is reached; null: not from here."""

    @property
    def times_answers(self) -> bool:
        """Whether the package is timed from an input to its answer."""
        return self.workload.text or self.budget.latency_text_p90_ms is not None

    @model_validator(mode="after")
    def _precision_fits_provider(self) -> Self:
        if self.runtime.provider == "CUDAExecutionProvider" and is_quantized(self.precision.mode):
            raise ValueError(f"precision.mode {self.precision.mode} falls back to the CPU under CUDA; use fp16 or fp32")
        return self

    @model_validator(mode="after")
    def _perf_test_can_tell(self) -> Self:
        if not isinstance(self.runner, RemoteConfig) or self.runner.perf_test is None:
            return self
        wanted = {
            "runtime.provider": self.runtime.provider != "CPUExecutionProvider",
            "workload.text": self.workload.text,
            "workload.sessions": self.workload.sessions > 1,
            "budget.latency_text_p90_ms": self.budget.latency_text_p90_ms is not None,
        }
        unmeasured = [name for name, is_wanted in wanted.items() if is_wanted]
        if unmeasured:
            raise ValueError(
                f"runner.perf_test times a model alone on the CPU, which is not what {' and '.join(unmeasured)} asks for; "
                f"name a Python in runner.python instead"
            )
        return self


_MODELS: dict[Kind, tuple[type[Pipeline] | type[Target], str]] = {
    "pipelines": (Pipeline, "pipeline"),
    "targets": (Target, "target profile"),
}


def load_pipeline(name: str, overrides: Sequence[str] = ()) -> Pipeline:
    """A shipped pipeline by name or the user's by path, with `--set` overrides that don't start with `target.`."""
    parsed = [parse_override(text) for text in overrides]
    return _load(Pipeline, "pipelines", name, [(path, value) for path, value in parsed if path[0] != "target"])


def load_target(name: str, overrides: Sequence[str] = ()) -> Target:
    """A shipped target by name or the user's by path, with the `--set target.…` overrides."""
    parsed = [parse_override(text) for text in overrides]
    return _load(Target, "targets", name, [(path[1:], value) for path, value in parsed if path[0] == "target"])


ModelT = TypeVar("ModelT", Pipeline, Target)


def _load(model: type[ModelT], kind: Kind, name: str, overrides: Iterable[tuple[list[str], JsonValue]]) -> ModelT:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") and "/" not in name:
        path = shipped(kind) / f"{name}.yaml"
        if not path.is_file():
            near = get_close_matches(name, shipped_names(kind), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(shipped_names(kind))}."
            raise ProfileError(f"no {_MODELS[kind][1]} {name!r}; {hint} The path of one of your own ends in .yaml")
    content = apply_overrides(read_yaml(path), overrides)
    return validate(model, content, source=str(path), kind=_MODELS[kind][1])


def shipped(kind: Kind) -> Path:
    """The folder of shipped definitions: inside the package when installed from a wheel, else beside it."""
    inside = Path(__file__).parent / "definitions" / kind
    return inside if inside.is_dir() else Path(__file__).parents[2] / kind


def shipped_names(kind: Kind) -> list[str]:
    """Names of the shipped definitions, sorted."""
    return sorted(path.stem for path in shipped(kind).glob("*.yaml"))


def schema(kind: Kind) -> str:
    """The JSON Schema of a kind of definition, for editors."""
    return json.dumps(_MODELS[kind][0].model_json_schema(), indent=2, sort_keys=True) + "\n"

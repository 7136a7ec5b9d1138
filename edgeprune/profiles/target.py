"""Describe a target: the device, its runtime, the precision and workload there, the budgets, and how it is reached."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, WithJsonSchema, model_validator

from edgeprune.base.strict_yaml import Frozen
from edgeprune.ondevice.agent import ISA_FLAGS
from edgeprune.profiles.precision import Precision, PrecisionSettings, is_quantized, resolve_precision
from edgeprune.profiles.runners import BrowserConfig, RemoteConfig, RunnerConfig

__all__ = ["LATENCY_BUDGETS", "WASM_FEATURES", "Budget", "Device", "Isa", "Runtime", "Target", "Workload"]

WASM_FEATURES = ("simd128", "relaxed-simd", "threads")
"""Features of WebAssembly that decide how a model is computed in a page."""

_FEATURES = (*ISA_FLAGS, *WASM_FEATURES)


def _known(feature: str) -> str:
    if feature not in _FEATURES:
        raise ValueError(f"expected one of {', '.join(_FEATURES)}")
    return feature


Isa = Annotated[str, AfterValidator(_known), WithJsonSchema({"enum": list(_FEATURES), "type": "string"})]
"""A feature of an instruction set, under Linux's name, or of WebAssembly. The agents look for the same names on a
device."""


class Device(Frozen):
    """Describe the hardware."""

    arch: Literal["x86_64", "aarch64", "wasm32"]
    """wasm32: a page in a browser, whatever the CPU."""
    isa: tuple[Isa, ...] = ()
    """Instruction-set features that the artifact may count on, under Linux's names, or those of WebAssembly."""
    cpu: str | None = None


class Runtime(Frozen):
    """Say how ONNX Runtime is used."""

    provider: Literal["CPUExecutionProvider", "CUDAExecutionProvider"] = "CPUExecutionProvider"
    threads: PositiveInt


class Workload(Frozen):
    """Say what is timed."""

    batch_size: PositiveInt = 1
    lengths: Literal["data"] | PositiveInt = "data"
    """`data`: the test texts keep their lengths; a number: every text is cut or repeated to this many tokens. Images
    take `data` only."""
    text: bool = False
    """Also time the way from a text, or the bytes of an image's file, to the answer, one at a time, as `run.py`
    computes it."""
    sessions: PositiveInt = 1
    """Above 1: also measure the throughput of this many parallel sessions, each on `runtime.threads` threads."""


class Budget(Frozen):
    """State the limits that a build must keep; null is no limit. Megabytes are 10^6 bytes."""

    latency_p50_ms: PositiveFloat | None = None
    latency_p90_ms: PositiveFloat | None = None
    latency_text_p90_ms: PositiveFloat | None = None
    """Time from a text, or the bytes of an image's file, to the answer: what a user of the package waits for."""
    cold_start_ms: PositiveFloat | None = None
    """Time to open the session and to do the first run."""
    peak_memory_mb: PositiveFloat | None = None
    size_mb: PositiveFloat | None = None
    """Size of all files of the package, unpacked."""
    download_mb: PositiveFloat | None = None
    """What a page fetches before its first answer, without compression: the graph, onnxruntime-web's own files, and the
    tokenizer. For the runner `browser` only."""
    metric_drop: float | None = Field(default=None, ge=-1, le=1)
    """The dense PyTorch model's metric minus the shipped ONNX model's, on the test split, absolute."""
    min_recall: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """For a label, the least share of its test rows that must be found. For single-label classification only."""


LATENCY_BUDGETS = tuple(name for name in Budget.model_fields if name.startswith("latency_"))
"""Latency budgets, which hold only on the machine the profile describes."""


class Target(Frozen):
    """Describe a target: the content of its profile."""

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
    """How the target is reached; null: it can't be reached from here."""

    @property
    def precision_settings(self) -> PrecisionSettings:
        """The precision with everything resolved that the profile leaves to the instruction set."""
        return resolve_precision(self.precision, arch=self.device.arch, isa=self.device.isa)

    @property
    def size_limit_bytes(self) -> float | None:
        """The size budget in bytes; None where there is none."""
        return None if self.budget.size_mb is None else self.budget.size_mb * 1e6

    @property
    def times_answers(self) -> bool:
        """Tell whether the package is timed from an input to its answer."""
        return self.workload.text or self.budget.latency_text_p90_ms is not None

    @model_validator(mode="after")
    def _precision_fits_provider(self) -> Self:
        if self.runtime.provider == "CUDAExecutionProvider" and is_quantized(self.precision.mode):
            raise ValueError(f"precision.mode {self.precision.mode} falls back to the CPU under CUDA; use fp16 or fp32")
        return self

    @model_validator(mode="after")
    def _arch_fits(self) -> Self:
        arch, is_page = self.device.arch, self.device.arch == "wasm32"
        if is_page and not isinstance(self.runner, BrowserConfig | None):
            raise ValueError(
                f"device.arch is wasm32, which is a page, but runner.type is {self.runner.type}; use the runner browser"
            )
        if not is_page and isinstance(self.runner, BrowserConfig):
            raise ValueError(f"device.arch is {arch}, but the runner browser runs a page's wasm; set it to wasm32")
        foreign = [feature for feature in self.device.isa if (feature in WASM_FEATURES) != is_page]
        if foreign:
            whose = "a CPU" if is_page else "WebAssembly"
            raise ValueError(f"device.isa has {', '.join(foreign)} of {whose}, but device.arch is {arch}; leave it out")
        return self

    @property
    def _more_than_a_model_alone(self) -> str:
        """Names of what is asked for that a runner can't tell which only times a model alone on the CPU."""
        wanted = {
            "runtime.provider": self.runtime.provider != "CPUExecutionProvider",
            "workload.text": self.workload.text,
            "workload.sessions": self.workload.sessions > 1,
            "budget.latency_text_p90_ms": self.budget.latency_text_p90_ms is not None,
        }
        return " and ".join(name for name, is_wanted in wanted.items() if is_wanted)

    @model_validator(mode="after")
    def _browser_can_tell(self) -> Self:
        if self.budget.download_mb is not None and not isinstance(self.runner, BrowserConfig | None):
            raise ValueError(
                f"budget.download_mb is what a page fetches, but runner.type is {self.runner.type}; use the runner browser"
            )
        if not isinstance(self.runner, BrowserConfig):
            return self
        if unmeasured := self._more_than_a_model_alone:
            raise ValueError(
                f"the runner browser times a model alone in one page's wasm, which is not what {unmeasured} asks "
                f"for; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _perf_test_can_tell(self) -> Self:
        if not isinstance(self.runner, RemoteConfig) or self.runner.perf_test is None:
            return self
        if unmeasured := self._more_than_a_model_alone:
            raise ValueError(
                f"runner.perf_test times a model alone on the CPU, which is not what {unmeasured} asks for; "
                f"name a Python in runner.python instead"
            )
        return self

"""Define what a device is asked and what it answers: requests and lines of `agent.py` as types. Light: no torch.

    request = LatencyRequest(
        provider="CPUExecutionProvider",
        sessions={"final": SessionOptions(threads=4)},
        batches={"final": [{"input_ids": [[101, 2204, 102]]}] * 40},
        warmup=5,
        block=10,
    )
    for answer in runner.run(request, {"final": Path("model.onnx")}):
        if isinstance(answer, ModelTimes):
            print(answer.name, answer.ms)

A request is one JSON object on the agent's standard input. An answer is one line of JSON on its standard output. The
fields here have the names and the order of the keys in the JSON. `agent_answer.py` reads the lines, and refuses what
isn't described here.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, FiniteFloat, JsonValue

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.session_options import SessionOptions

__all__ = [
    "AgentFault",
    "Answer",
    "AnswersRequest",
    "Batch",
    "Conditions",
    "DeviceFacts",
    "Download",
    "Drawn",
    "LatencyRequest",
    "LoadRequest",
    "Loaded",
    "MemoryRequest",
    "ModelTimes",
    "OfModel",
    "Outputs",
    "OutputsRequest",
    "PackageTimes",
    "ParallelRuns",
    "PeakMemory",
    "Placement",
    "ProbeRequest",
    "Request",
    "SessionStart",
    "ThroughputRequest",
    "of_type",
]


class Drawn(Frozen):
    """Describe an input that the agent draws itself: normally distributed float32 values."""

    seed: int
    shape: list[int]


Batch = dict[str, list[list[int]] | Drawn]
"""Inputs by name: whole numbers, [batch, tokens], or values that are drawn. A model is given the inputs that it
takes."""


class _Request(Frozen):
    """Ask a device something."""

    mode: str
    provider: str
    """ONNX Runtime's execution provider."""

    told: ClassVar[str | None] = None
    """The kind of the line that answers the request, one line for each model; None: the device's own line answers
    it."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Other kinds of lines about a model that the answer may have."""

    def as_json(self, paths: Mapping[str, str]) -> str:
        """Write the request as the JSON that the agent reads.

        Args:
            paths: Where each model lies on the device, in the order in which models take turns.
        """
        models = [{"name": name, "path": path} for name, path in paths.items()]
        return json.dumps({**self.model_dump(mode="json"), "models": models})


class ProbeRequest(_Request):
    """Ask what the device is, and whether its onnxruntime has the provider."""

    mode: Literal["probe"] = "probe"


class _ModelsRequest(_Request):
    """Ask something about models."""

    sessions: dict[str, SessionOptions]
    """Session options by model. They may include models that the request isn't about."""
    batches: dict[str, list[Batch]]
    """Batches by model; every model has equally many."""


class LoadRequest(_ModelsRequest):
    """Ask whether models can be opened, and whether they run on the provider."""

    mode: Literal["load"] = "load"

    told = "loaded"


class OutputsRequest(_ModelsRequest):
    """Ask what models compute."""

    mode: Literal["outputs"] = "outputs"

    told = "outputs"


class _WarmRequest(_ModelsRequest):
    """Ask for a measurement of models."""

    warmup: int
    """Runs before the first timed run."""


class LatencyRequest(_WarmRequest):
    """Ask how long each run takes while models take turns."""

    mode: Literal["latency"] = "latency"
    block: int
    """Runs in one turn."""

    told = "samples"
    beside = ("session",)


class AnswersRequest(_Request):
    """Ask how long packages take from a text or an image to its answer, while packages take turns.

    A package opens its session with its own options.
    """

    mode: Literal["answers"] = "answers"
    batches: dict[str, list[JsonValue]]
    """Inputs by package: texts, pairs of texts, or images in base64, as its `run.py` reads them; equally many for
    each."""
    warmup: int
    """Answers before the first timed answer."""
    block: int
    """Answers in one turn."""

    told = "answers"


class ThroughputRequest(_WarmRequest):
    """Ask how many runs parallel sessions of a model complete in a given time."""

    mode: Literal["throughput"] = "throughput"
    parallel: int
    """How many sessions run at once, each in its own thread."""
    seconds: float
    """How long the sessions run."""

    told = "throughput"


class MemoryRequest(_ModelsRequest):
    """Ask about the process of one model that runs one batch: its peak memory, its start's time, where each node ran.

    A page also tells what it fetched.
    """

    mode: Literal["memory"] = "memory"

    told = "memory"
    beside = ("session", "placement", "download")


Request = (
    ProbeRequest | LoadRequest | OutputsRequest | LatencyRequest | AnswersRequest | ThroughputRequest | MemoryRequest
)
"""What a runner is asked."""


_Count = Annotated[int, Field(ge=0, le=1 << 62)]
_Duration = Annotated[int, Field(ge=1, le=1 << 62)]
"""In ns: nothing takes no time."""
_Words = Annotated[str, Field(max_length=1000)]


class _Line(Frozen):
    """Say something in one line. Types are strict: no text is read as a number."""

    model_config = ConfigDict(strict=True)

    kind: str

    def record(self) -> dict[str, JsonValue]:
        """Give the line as the device wrote it. A key that the device left out is left out too."""
        return {"kind": self.kind, **self.model_dump(exclude_unset=True)}


class DeviceFacts(_Line):
    """Say what the device is. A fact is None if the device doesn't tell it."""

    kind: Literal["device"] = "device"
    onnxruntime: _Words | None = None
    """Version of onnxruntime; None: not known."""
    arch: _Words
    """The architecture, under the name that profiles use: x86_64, aarch64 or wasm32."""
    isa: list[_Words]
    """The features of `agent.ISA_FLAGS` that the CPU has; in a page, those of WebAssembly that the browser has."""
    cpu: _Words | None
    cores: Annotated[int, Field(ge=1, le=1 << 20)] | None
    """How many cores the process may use."""
    system: _Words
    python: _Words | None
    """Version of Python; None: the device was asked without a Python."""
    clock_ns: _Count | None = None
    """The smallest step of the clock that times were taken with, in ns; None: the device doesn't tell it. Pages have a
    coarse one."""


class Conditions(_Line):
    """Say what may change from run to run. A fact is None if the device doesn't tell it, and `reasons` says why."""

    kind: Literal["conditions"] = "conditions"
    moment: Literal["before", "after"]
    """Whether the conditions were read before or after the process's work."""
    governor: str | None
    frequency_mhz: FiniteFloat | None
    temperature_c: FiniteFloat | None
    throttle_events: _Count | None
    load_1min: FiniteFloat | None
    quota_cores: FiniteFloat | None
    """CPU time that a cgroup allows, in cores. None without an entry in `reasons`: there is no limit."""
    affinity: list[_Count] | None
    """Numbers of the cores that the process may use."""
    reasons: dict[str, str]
    """Why a fact is None, by the fact's name."""


class OfModel(_Line):
    """Say something about one model or one package."""

    name: str


class SessionStart(OfModel):
    """Say how long a model took to start."""

    kind: Literal["session"] = "session"
    create_ns: _Count
    first_run_ns: _Count


class _Times(OfModel):
    ns: list[_Duration]

    @property
    def ms(self) -> list[float]:
        """The times in ms."""
        return [one / 1e6 for one in self.ns]


class ModelTimes(_Times):
    """Say how long a model took, batch by batch."""

    kind: Literal["samples"] = "samples"
    in_order: bool = True
    """Whether the times are in the order in which they were taken."""


class PackageTimes(_Times):
    """Say how long a package took from each input to its answer."""

    kind: Literal["answers"] = "answers"


class ParallelRuns(OfModel):
    """Say how often each parallel session ran, and in how much time."""

    kind: Literal["throughput"] = "throughput"
    runs: list[_Count]
    """How often each session ran."""
    ns: list[_Duration]
    """How long each session took for all of its runs."""

    @property
    def per_s(self) -> float:
        """Runs per second of all sessions together."""
        return sum(1e3 * runs / (ns / 1e6) for runs, ns in zip(self.runs, self.ns, strict=True))


class PeakMemory(OfModel):
    """Say how large a model's process became."""

    kind: Literal["memory"] = "memory"
    peak_bytes: _Count | None
    """The largest resident size of the process; None: the system doesn't tell it."""


class Placement(OfModel):
    """Say where a model's nodes ran."""

    kind: Literal["placement"] = "placement"
    nodes: dict[str, _Count]
    """How many nodes each execution provider ran."""


class Download(OfModel):
    """Say what a page fetched before a model's first answer."""

    kind: Literal["download"] = "download"
    files: dict[str, _Count]
    """The size in bytes of each file, without compression."""
    gzip_bytes: _Count
    """The size of all files together if the server compresses them with gzip."""


class Loaded(OfModel):
    """Say whether a model could be opened and run."""

    kind: Literal["loaded"] = "loaded"
    error: str | None
    """Why the model couldn't be opened and run; None: it could."""


class Outputs(OfModel):
    """Say what a model computes. Several outputs are stacked along a new last axis.

    What is no finite number is an output all the same: the build then says that the model computes something else.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    kind: Literal["outputs"] = "outputs"
    values: list[list[float]]
    """The outputs of each batch, flattened."""
    shapes: list[list[_Count]]
    """The shape of each batch's outputs."""
    sha256: str
    """Digest of the bytes of all outputs."""


class AgentFault(_Line):
    """Say which exception ended the agent."""

    kind: Literal["error"] = "error"
    type: str
    """The exception's class."""
    message: str


Answer = (
    DeviceFacts
    | Conditions
    | SessionStart
    | ModelTimes
    | PackageTimes
    | ParallelRuns
    | PeakMemory
    | Placement
    | Download
    | Loaded
    | Outputs
)
"""One line that a runner gives back. `AgentFault` is not among them, because a runner raises it as a TargetError."""

AnswerT = TypeVar("AnswerT", bound=_Line)


def of_type(answers: Iterable[Answer], wanted: type[AnswerT]) -> list[AnswerT]:
    """Pick the answers of one type and keep their order."""
    return [one for one in answers if isinstance(one, wanted)]

"""What runs on a device is asked, and what it answers: the requests and lines of `agent.py` as types. Light: no torch.

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

A request is one JSON object on the agent's standard input, an answer one line of JSON on its standard output. The fields here
have the names of the keys there, and are in their order. `agent_answer.py` reads lines, and refuses what isn't described here.
"""

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal, TypeVar

from pydantic import ConfigDict, JsonValue

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.session_options import SessionOptions

__all__ = [
    "AgentFault",
    "Answer",
    "AnswersRequest",
    "Batch",
    "Conditions",
    "DeviceFacts",
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
    """Describe an input that the agent draws itself: normally distributed float32."""

    seed: int
    shape: list[int]


Batch = dict[str, list[list[int]] | Drawn]
"""Inputs by name: [batch, tokens], or drawn. A model is given those that it takes."""


class _Request(Frozen):
    """Ask a device something."""

    mode: str
    provider: str
    """ONNX Runtime's execution provider."""

    told: ClassVar[str | None] = None
    """The kind of the line that says what was asked for, one a model; None: the device's own says it."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Other kinds that are said of a model."""

    def as_json(self, paths: Mapping[str, str]) -> str:
        """Write what the agent reads.

        Args:
            paths: Where each model lies on the device, in the order in which they take turns.
        """
        models = [{"name": name, "path": path} for name, path in paths.items()]
        return json.dumps({**self.model_dump(mode="json"), "models": models})


class ProbeRequest(_Request):
    """Ask what the device is, and whether it has a provider."""

    mode: Literal["probe"] = "probe"


class _ModelsRequest(_Request):
    """Ask something of models."""

    sessions: dict[str, SessionOptions]
    """By model; of some that aren't asked about too."""
    batches: dict[str, list[Batch]]
    """By model; equally many for each."""


class LoadRequest(_ModelsRequest):
    """Ask whether models can be opened, and run where they should."""

    mode: Literal["load"] = "load"

    told = "loaded"


class OutputsRequest(_ModelsRequest):
    """Ask what models compute."""

    mode: Literal["outputs"] = "outputs"

    told = "outputs"


class _WarmRequest(_ModelsRequest):
    """Ask for a measurement of models."""

    warmup: int
    """Runs before the first timed one; where memory is asked for, none is made."""


class LatencyRequest(_WarmRequest):
    """Ask how long each run takes, models taking turns."""

    mode: Literal["latency"] = "latency"
    block: int
    """Runs in a turn."""

    told = "samples"
    beside = ("session",)


class AnswersRequest(_Request):
    """Ask how long packages take from a text or an image to its answer, taking turns."""

    mode: Literal["answers"] = "answers"
    sessions: dict[str, SessionOptions]
    """Of models; a package opens its own as it says itself."""
    batches: dict[str, list[JsonValue]]
    """By package: texts, pairs of texts, or images in base64, as its `run.py` reads them; equally many for each."""
    warmup: int
    """Answers before the first timed one."""
    block: int
    """Answers in a turn."""

    told = "answers"


class ThroughputRequest(_WarmRequest):
    """Ask how often sessions that run at once get done."""

    mode: Literal["throughput"] = "throughput"
    parallel: int
    """Sessions, each in a thread of its own."""
    seconds: float

    told = "throughput"


class MemoryRequest(_WarmRequest):
    """Ask what one model's process takes: its peak, its start, and where each node ran."""

    mode: Literal["memory"] = "memory"

    told = "memory"
    beside = ("session", "placement")


Request = (
    ProbeRequest | LoadRequest | OutputsRequest | LatencyRequest | AnswersRequest | ThroughputRequest | MemoryRequest
)
"""What a runner is asked."""


class _Line(Frozen):
    """Say something, in one line. Types are taken as they are: no text is read as a number."""

    model_config = ConfigDict(strict=True)

    kind: str

    def record(self) -> dict[str, JsonValue]:
        """Give the line as it was said: what it left out, and has a default here, is left out again."""
        return {"kind": self.kind, **self.model_dump(exclude_unset=True)}


class DeviceFacts(_Line):
    """Say what the device is; None where it doesn't tell."""

    kind: Literal["device"] = "device"
    onnxruntime: str | None = None
    """Its version; None: not known."""
    arch: str
    """As in profiles: x86_64, aarch64."""
    isa: list[str]
    """Of `agent.ISA_FLAGS`."""
    cpu: str | None
    cores: int | None
    """That the process may use."""
    system: str
    python: str | None
    """Its version; None: no Python was asked."""


class Conditions(_Line):
    """Say what may change from run to run; None where the device doesn't tell, and `reasons` says why."""

    kind: Literal["conditions"] = "conditions"
    moment: Literal["before", "after"]
    """Of the process's work."""
    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttle_events: int | None
    load_1min: float | None
    quota_cores: float | None
    """CPU time a cgroup allows; None without a reason: no limit."""
    affinity: list[int] | None
    reasons: dict[str, str]


class OfModel(_Line):
    """Say something of one model, or package."""

    name: str


class SessionStart(OfModel):
    """Say how long a model took to start."""

    kind: Literal["session"] = "session"
    create_ns: int
    first_run_ns: int


class ModelTimes(OfModel):
    """Say how long a model took, batch by batch."""

    kind: Literal["samples"] = "samples"
    ns: list[int]
    in_order: bool = True
    """Whether they stand in the order in which they were taken."""

    @property
    def ms(self) -> list[float]:
        """The same in ms."""
        return [one / 1e6 for one in self.ns]


class PackageTimes(OfModel):
    """Say how long a package took from an input to its answer, one by one."""

    kind: Literal["answers"] = "answers"
    ns: list[int]

    @property
    def ms(self) -> list[float]:
        """The same in ms."""
        return [one / 1e6 for one in self.ns]


class ParallelRuns(OfModel):
    """Say how often each of several sessions ran beside the others, and in which time."""

    kind: Literal["throughput"] = "throughput"
    runs: list[int]
    ns: list[int]

    @property
    def per_s(self) -> float:
        """Runs in a second of all sessions together."""
        return sum(1e3 * runs / (ns / 1e6) for runs, ns in zip(self.runs, self.ns, strict=True))


class PeakMemory(OfModel):
    """Say how large a model's process became."""

    kind: Literal["memory"] = "memory"
    peak_bytes: int | None
    """None where the system doesn't tell."""


class Placement(OfModel):
    """Say where a model's nodes ran."""

    kind: Literal["placement"] = "placement"
    nodes: dict[str, int]
    """How many each execution provider ran."""


class Loaded(OfModel):
    """Say whether a model could be opened and run."""

    kind: Literal["loaded"] = "loaded"
    error: str | None
    """Why it couldn't; None: it could."""


class Outputs(OfModel):
    """Say what a model computes; several outputs are stacked along a new last axis."""

    kind: Literal["outputs"] = "outputs"
    values: list[list[float]]
    """Of each batch, flattened."""
    shapes: list[list[int]]
    sha256: str
    """Of the bytes of all."""


class AgentFault(_Line):
    """Say what the agent ended with."""

    kind: Literal["error"] = "error"
    type: str
    """Of the exception."""
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
    | Loaded
    | Outputs
)
"""One line of what a runner gives back. `AgentFault` is none: a runner raises it."""

AnswerT = TypeVar("AnswerT", bound=_Line)


def of_type(answers: Iterable[Answer], wanted: type[AnswerT]) -> list[AnswerT]:
    """Pick the answers of one type, in their order."""
    return [one for one in answers if isinstance(one, wanted)]

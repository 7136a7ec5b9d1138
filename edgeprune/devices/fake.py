"""Stand in for a device: a second kind of runner beside the real ones, for tests of code that asks a runner.

    runner = FakeRunner(lambda name, process: 1.0 if name == "final" else 2.0)
    report = benchmark([new, old], target, runner, config=config)
    assert runner.asked(LatencyRequest)[0].warmup == config.warmup

Its answers have the same lines as the agent's answers, in the same order. No model is opened. Times, memory and
refusals are those that the test gives. Outputs, which only a model can compute, are given as a script.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from edgeprune.base.errors import EdgepruneError, TargetError
from edgeprune.devices.protocol import (
    Answer,
    AnswersRequest,
    Conditions,
    DeviceFacts,
    LatencyRequest,
    Loaded,
    LoadRequest,
    MemoryRequest,
    ModelTimes,
    OutputsRequest,
    PackageTimes,
    ParallelRuns,
    PeakMemory,
    Placement,
    ProbeRequest,
    Request,
    SessionStart,
    ThroughputRequest,
)

__all__ = ["CREATE_MS", "FAKE_DEVICE", "PEAK_BYTES", "FakeRunner"]

FAKE_DEVICE = DeviceFacts(
    onnxruntime="1.0", arch="x86_64", isa=[], cpu="fake", cores=2, system="Linux", python="3.11.0"
)
"""The device that a fake claims to be, unless the test gives another one."""

CREATE_MS = 10
"""Milliseconds that every model takes to be opened. The first run takes as long as the others."""

PEAK_BYTES = 10**8
"""Peak memory of every model's process, in bytes."""

_UNKNOWN = ("governor", "frequency_mhz", "temperature_c", "throttle_events", "load_1min", "quota_cores", "affinity")

RequestT = TypeVar("RequestT", bound=Request)


class FakeRunner:
    """Answer requests like a device on which models take as long as the test says. See `Runner`.

    Args:
        time_ms: How long a run of a model, or an answer of a package, takes in ms. It is called with the name of the
            model, and with how many requests of the same mode came before.
        device: What the fake device claims to be.
        refuses: Says for a model's name why the model can't be opened on the device; None: it can.
        script: The answers to the first requests, one by one, whatever the requests ask. An error in the script is
            raised. Later requests are answered by `time_ms`.
    """

    def __init__(
        self,
        time_ms: Callable[[str, int], float] = lambda _name, _process: 1.0,
        *,
        device: DeviceFacts = FAKE_DEVICE,
        refuses: Callable[[str], str | None] = lambda _name: None,
        script: Iterable[Sequence[Answer] | EdgepruneError] = (),
    ) -> None:
        self._time_ms = time_ms
        self._device = device
        self._refuses = refuses
        self._script = iter(script)
        self.runs: list[tuple[Request, dict[str, Path]]] = []
        """Every request, with its models in the order in which they were named."""
        self.closed = False
        """Whether the runner was closed and not asked again since then."""

    def asked(self, wanted: type[RequestT]) -> list[RequestT]:
        """Pick the requests of one type, in their order."""
        return [request for request, _ in self.runs if isinstance(request, wanted)]

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Answer a request by the script or by the given times. See `Runner.run`.

        Raises:
            TargetError: A model isn't there, or is a file where a folder is needed, or the other way around. A device
                couldn't open it either.
            EdgepruneError: The script has an error in this place.
            ValueError: Outputs are asked for, and the script has none.
        """
        process = len(self.asked(type(request)))
        self.runs.append((request, dict(models)))
        self.closed = False
        for path in models.values():
            if not (path.is_dir() if isinstance(request, AnswersRequest) else path.is_file()):
                raise TargetError(f"the benchmark failed on a fake: there is no {path} that it could open")
        match next(self._script, None):
            case None:
                said = self._said(request, list(models), process)
                return [self._device, _conditions("before"), *said, _conditions("after")]
            case EdgepruneError() as error:
                raise error
            case answers:
                return list(answers)

    def close(self) -> None:
        """Note that the runner was closed. See `Runner.close`."""
        self.closed = True

    def _said(self, request: Request, names: Sequence[str], process: int) -> list[Answer]:
        """Make the answers about each model."""
        taken_ns = {name: round(1e6 * self._time_ms(name, process)) for name in names}
        starts = [SessionStart(name=name, create_ns=CREATE_MS * 10**6, first_run_ns=taken_ns[name]) for name in names]
        match request:
            case ProbeRequest():
                return []
            case LoadRequest():
                return [Loaded(name=name, error=self._refuses(name)) for name in names]
            case LatencyRequest():
                times = [ModelTimes(name=name, ns=[taken_ns[name]] * len(request.batches[name])) for name in names]
                return [*starts, *times]
            case AnswersRequest():
                return [PackageTimes(name=name, ns=[taken_ns[name]] * len(request.batches[name])) for name in names]
            case ThroughputRequest():
                whole_ns = round(1e9 * request.seconds)
                counts = {name: max(1, whole_ns // taken_ns[name]) for name in names}
                return [
                    ParallelRuns(name=name, runs=[counts[name]] * request.parallel, ns=[whole_ns] * request.parallel)
                    for name in names
                ]
            case MemoryRequest():
                peaks = [PeakMemory(name=name, peak_bytes=PEAK_BYTES) for name in names]
                return [*starts, *peaks, *(Placement(name=name, nodes={request.provider: 1}) for name in names)]
            case OutputsRequest():
                raise ValueError("a fake runs no model; give it the outputs as a script")


def _conditions(moment: Literal["before", "after"]) -> Conditions:
    return Conditions.model_validate(
        {"moment": moment, **dict.fromkeys(_UNKNOWN), "reasons": dict.fromkeys(_UNKNOWN, "the device is a fake")}
    )

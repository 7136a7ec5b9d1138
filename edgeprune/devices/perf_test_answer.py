"""Read what `onnxruntime_perf_test` prints and writes: answers like the agent's, or a sentence that says what failed."""

import csv
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from subprocess import CompletedProcess

from pydantic import JsonValue

from edgeprune.base.errors import TargetError
from edgeprune.devices.agent_answer import ended_by, last_line, too_old
from edgeprune.devices.protocol import (
    Answer,
    Conditions,
    DeviceFacts,
    Loaded,
    LoadRequest,
    MemoryRequest,
    ModelTimes,
    PeakMemory,
    Request,
    SessionStart,
)
from edgeprune.ondevice.agent import describe_cpu

__all__ = ["CONDITIONS", "MARK", "Run", "read_answer"]

MARK = "edgeprune: "
"""The beginning of a line that names the section after it."""

CONDITIONS: dict[str, tuple[str, Callable[[str], JsonValue]]] = {
    "governor": (
        "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        lambda text: " ".join(sorted(set(text.split()))),
    ),
    "frequency_mhz": (
        "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq",
        lambda text: max(map(int, text.split())) / 1000,
    ),
    "temperature_c": ("cat /sys/class/thermal/thermal_zone*/temp", lambda text: max(map(int, text.split())) / 1000),
    "throttle_events": (
        "cat /sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count",
        lambda text: _events(map(int, text.split())),
    ),
    "load_1min": ("cat /proc/loadavg", lambda text: _load(text.split()[0])),
    "quota_cores": ("cat /sys/fs/cgroup/cpu.max", lambda text: _quota(*text.split())),
    "affinity": ("grep Cpus_allowed_list /proc/self/status", lambda text: _cores(text.split()[1])),
}
"""The conditions that `agent.conditions` tells, but for all cores: the command that prints each one, and how its output
is read."""


_MOST_CORES = 1 << 16
_MOST_EVENTS = 1 << 62


@dataclass(frozen=True)
class Run:
    """Describe one process of the benchmark: a model, and inputs of one shape."""

    model: str
    batches: Sequence[int]
    """Numbers of the batches that the process is given."""
    repeats: int
    """How many runs are timed. The last runs are kept, one for each batch."""


class _Told:
    """Tell what became of a run.

    Args:
        run: The run that was asked for.
        sections: Everything that the script wrote, by section.
        number: The run's number in the script.
    """

    def __init__(self, run: Run, sections: Mapping[str, str], number: int) -> None:
        self.run = run
        self._code = int(sections[f"code {number}"])
        self._said = sections[f"run {number}"]
        self._complaints = sections[f"complaints {number}"]
        rows = [_cost(row) for row in csv.reader(sections[f"result {number}"].splitlines()) if row]
        self._costs = [row for row in rows if row is not None]
        created, first = (_duration(what, self._said) for what in ("Session creation", "First inference"))
        self.start = None if created is None or first is None else (created, first)
        """How long opening the model and the first run took, in ns. The benchmark tells the first run in whole
        milliseconds."""

    @property
    def ns(self) -> list[int]:
        """Times in ns, one for each batch."""
        return [ns for ns, _ in self._costs[-len(self.run.batches) :]]

    @property
    def peak_bytes(self) -> int:
        """Peak memory of the process, in bytes."""
        return self._costs[0][1]

    def fault(self, version: str | None, place: str) -> str | None:
        """Say why the run has no times. None if it has."""
        if self._code == 0 and len(self._costs) == self.run.repeats and self.start is not None:
            return None
        if self._code == 0:
            return (
                f"onnxruntime_perf_test on {place} wrote {len(self._costs)} of {self.run.repeats} times, and "
                f"{'not' if self.start is None else 'also'} how long the start took; check that it is ONNX Runtime's "
                f"own program and that runner.folder has space"
            )
        *before, message = ["no message", *(line for line in self._explained().splitlines() if line.strip())]
        if message == "Run failed:failed to initialize.":
            message = before[-1]
        return (
            too_old(message, version, place)
            or ended_by(self._code, message, place)
            or f"onnxruntime_perf_test failed on {place}: {message}"
        )

    def _explained(self) -> str:
        """Pick the stream that says what is wrong.

        It is standard output if that says that a run failed, because standard error then has warnings only.
        """
        return self._said if "Run failed:" in self._said or not self._complaints.strip() else self._complaints


def _cost(row: Sequence[str]) -> tuple[int, int] | None:
    """Read a run's time in ns, and the process's peak memory in bytes, from a line of the result.

    A line has five fields: the model, seconds, peak memory in bytes, CPU usage, and the run's number. None if it has
    not.
    """
    try:
        _, seconds, peak, _, _ = row
        return round(float(seconds) * 1e9), int(peak)
    except (OverflowError, ValueError):
        return None


def _duration(what: str, said: str) -> int | None:
    """Read a duration in ns from what the benchmark printed. None if it printed none."""
    found = re.search(rf"{what} time cost: *([0-9.e+-]+) (m?)s", said)
    return round(float(found[1]) * (1e6 if found[2] else 1e9)) if found else None


def read_answer(
    done: CompletedProcess[str], request: Request, runs: Sequence[Run], *, place: str, command: str
) -> list[Answer]:
    """Answer a request as the agent would, from the output of the script.

    Args:
        done: The process of the script that made the runs.
        request: What was asked.
        runs: The runs, in the order in which the script made them.
        place: The device's name, for messages.
        command: The benchmark's command on the device, for messages.

    Raises:
        TargetError: The device has no such benchmark, or the benchmark failed.
    """
    sections = _sections(done.stdout)
    try:
        return _read(done, sections, request, runs, place=place, command=command)
    except (ArithmeticError, KeyError, ValueError) as error:
        raise TargetError(
            f"the benchmark's shell on {place} answered what can't be read ({type(error).__name__}: {str(error)[:80]!r}); is "
            f"runner.perf_test ONNX Runtime's own, and its shell a POSIX one?"
        ) from error


def _read(
    done: CompletedProcess[str],
    sections: Mapping[str, str],
    request: Request,
    runs: Sequence[Run],
    *,
    place: str,
    command: str,
) -> list[Answer]:
    if "starts" in sections:
        code, *said = sections["starts"].split("\n", 1)
        _require_start(int(code), last_line("".join(said)), place, command)
    if done.returncode != 0 or "end" not in sections:
        raise TargetError(
            f"the benchmark's shell ended with {done.returncode} on {place}: {last_line(done.stderr or done.stdout)}"
        )
    version = sections["version"].strip().removeprefix("VERS_") or None
    told = [_Told(run, sections, number) for number, run in enumerate(runs)]
    cores = sections["cores"].strip()
    device = DeviceFacts(
        onnxruntime=version,
        **describe_cpu(sections["machine"].strip(), sections["cpuinfo"]),
        cores=int(cores) if cores.isdigit() else None,
        system=sections["system"].strip(),
        python=None,
    )
    before, after = (_conditions(sections, moment) for moment in ("before", "after"))
    if isinstance(request, LoadRequest):
        loaded = [Loaded(name=one.run.model, error=one.fault(version, place)) for one in told]
        return [device, before, *loaded, after]
    fault = next((fault for one in told if (fault := one.fault(version, place))), None)
    if fault is not None:
        raise TargetError(fault)
    return [device, before, *(_memory(told) if isinstance(request, MemoryRequest) else _times(told)), after]


def _require_start(code: int, said: str, place: str, command: str) -> None:
    """Raise TargetError unless the benchmark starts. Without arguments it prints its usage and ends with 255."""
    if code in (126, 127):
        raise TargetError(
            f"there is no {command} on {place} that can be run ({said}); copy one that was built for it there, with its "
            f"libonnxruntime.so beside it, or name one in runner.perf_test"
        )
    if (signalled := ended_by(code, said, place)) is not None:
        raise TargetError(signalled)


def _sections(text: str) -> dict[str, str]:
    """Cut a text at its marked lines into sections, by what each marked line names."""
    _, *parts = f"\n{text}".split(f"\n{MARK}")
    return {head: rest for head, _, rest in (part.partition("\n") for part in parts)}


def _times(told: Sequence[_Told]) -> list[ModelTimes]:
    samples: dict[str, dict[int, int]] = defaultdict(dict)
    for one in told:
        samples[one.run.model] |= dict(zip(one.run.batches, one.ns, strict=True))
    return [
        ModelTimes(name=name, ns=[taken[batch] for batch in sorted(taken)], in_order=False)
        for name, taken in samples.items()
    ]


def _memory(told: Sequence[_Told]) -> list[SessionStart | PeakMemory]:
    answers: list[SessionStart | PeakMemory] = []
    for one in told:
        assert one.start is not None  # noqa: S101 (else it is a fault)
        created, first = one.start
        answers.append(SessionStart(name=one.run.model, create_ns=created, first_run_ns=first))
        answers.append(PeakMemory(name=one.run.model, peak_bytes=one.peak_bytes))
    return answers


def _conditions(sections: Mapping[str, str], moment: str) -> Conditions:
    """Read the conditions of one moment, in the form that `agent.conditions` has."""
    facts: dict[str, JsonValue] = {}
    reasons: dict[str, str] = {}
    for name, (command, read) in CONDITIONS.items():
        text = sections[f"{name} {moment}"].strip()
        try:
            facts[name] = read(text) if text else None
        except (ArithmeticError, ValueError, IndexError, TypeError):
            facts[name] = None
            text = ""
        if not text:
            reasons[name] = f"{command}: nothing to be read"
    return Conditions.model_validate({"moment": moment, **facts, "reasons": reasons})


def _events(counts: Iterable[int]) -> int:
    if not 0 <= (events := sum(counts)) < _MOST_EVENTS:
        raise ValueError("no machine counts so many events")
    return events


def _load(text: str) -> float:
    if not 0 <= (load := float(text)) < math.inf:
        raise ValueError("no machine has such a load")
    return load


def _quota(limit: str, period: str) -> float | None:
    return None if limit == "max" else int(limit) / int(period)


def _cores(ranges: str) -> list[JsonValue]:
    """List the cores in a text of ranges: 0-2,5 → 0, 1, 2, 5."""
    ends = [(int(first), int(last or first)) for first, _, last in (part.partition("-") for part in ranges.split(","))]
    if sum(last - first for first, last in ends) > _MOST_CORES:
        raise ValueError("no machine has so many cores")
    return [core for first, last in ends for core in range(first, last + 1)]

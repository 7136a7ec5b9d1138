"""Collect a device's answers, from processes in which models took turns and from processes that ran one model alone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeprune.devices.protocol import (
    Answer,
    Conditions,
    DeviceFacts,
    Download,
    ModelTimes,
    PackageTimes,
    ParallelRuns,
    PeakMemory,
    Placement,
    SessionStart,
)

__all__ = ["Alone", "Turns", "collect_alone", "collect_turns"]


@dataclass
class Turns:
    """Hold the answers of processes in which models took turns, or in which a model ran in several sessions at once."""

    samples_ms: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    """Times of runs by model, one list for each process."""
    answers_ms: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    """Times from an input to its answer by model, one list for each process."""
    rates_per_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Runs per second of all parallel sessions by model, one number for each process."""
    in_order: bool = True
    """Whether samples are in the order in which they were taken."""
    device: DeviceFacts | None = None
    before: Conditions | None = None
    """Conditions before the first process."""
    after: Conditions | None = None
    """Conditions after the last process."""


@dataclass
class Alone:
    """Hold the answers of processes that ran one model alone."""

    cold_starts_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Times of opening the session and of the first run together, by model, one number for each process."""
    memory_mb: dict[str, float | None] = field(default_factory=dict)
    """The largest peak memory of a model's processes, by model; None: the system doesn't tell it."""
    nodes: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many nodes each execution provider ran, by model."""
    downloads: dict[str, Download] = field(default_factory=dict)
    """What a page fetched before the first answer, by model."""


def collect_turns(answers: Iterable[Answer]) -> Turns:
    """Collect the answers of processes in which models took turns, in the order of the processes.

    Start times are left out, because other models were loaded in the same process.
    """
    turns = Turns()
    for answer in answers:
        match answer:
            case DeviceFacts():
                turns.device = answer
            case Conditions(moment="before"):
                turns.before = turns.before or answer
            case Conditions():
                turns.after = answer
            case ModelTimes():
                turns.samples_ms[answer.name].append(answer.ms)
                turns.in_order = turns.in_order and answer.in_order
            case PackageTimes():
                turns.answers_ms[answer.name].append(answer.ms)
            case ParallelRuns():
                turns.rates_per_s[answer.name].append(answer.per_s)
            case _:
                pass
    return turns


def collect_alone(answers: Iterable[Answer]) -> Alone:
    """Collect the answers of processes that ran one model alone."""
    alone = Alone()
    for answer in answers:
        match answer:
            case SessionStart():
                alone.cold_starts_ms[answer.name].append((answer.create_ns + answer.first_run_ns) / 1e6)
            case PeakMemory(peak_bytes=None):
                alone.memory_mb[answer.name] = None
            case PeakMemory(peak_bytes=int(peak)):
                before, now = alone.memory_mb.get(answer.name), round(peak / 1e6, 1)
                alone.memory_mb[answer.name] = now if before is None else max(now, before)
            case Placement():
                alone.nodes[answer.name] = answer.nodes
            case Download():
                alone.downloads[answer.name] = answer
            case _:
                pass
    return alone

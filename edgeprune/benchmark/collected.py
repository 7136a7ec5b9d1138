"""Collect what a device answered: from processes in which models took turns, and from those that a model had alone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeprune.devices.protocol import (
    Answer,
    Conditions,
    DeviceFacts,
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
    """Hold what processes told in which models took turns, or several sessions of each ran at once; by model."""

    samples_ms: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    """One list a process."""
    answers_ms: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    """From an input to its answer; one list a process."""
    rates_per_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Runs in a second of all parallel sessions, one a process."""
    in_order: bool = True
    """Whether samples stand in the order in which they were taken."""
    device: DeviceFacts | None = None
    before: Conditions | None = None
    """Of the first process; the next of the last one."""
    after: Conditions | None = None


@dataclass
class Alone:
    """Hold what processes told that a model had for itself; by model."""

    cold_starts_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Opening the session and the first run; one a process."""
    memory_mb: dict[str, float | None] = field(default_factory=dict)
    """The largest peak of its processes; None: the system doesn't tell."""
    nodes: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many each execution provider ran."""


def collect_turns(answers: Iterable[Answer]) -> Turns:
    """Collect what processes told in which models took turns, in the order of the processes.

    A start is none that a model had alone, and is left out.
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
    """Collect what processes told that a model had for itself."""
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
            case _:
                pass
    return alone

"""Models timed by turns, in fresh processes on the target."""

from collections.abc import Callable, Mapping
from pathlib import Path

from edgeprune.runners import Record, Runner

__all__ = ["BLOCK", "time_by_turns"]

BLOCK = 10
"""Runs of one model before the next one's turn; short enough to share disturbances, long enough for warm caches."""


def time_by_turns(
    runner: Runner, request: Record, models: Mapping[str, Path], *, processes: int, keep: Callable[[Record], object]
) -> dict[str, list[list[float]]]:
    """Samples of each model, in ms, one list a process.

    Args:
        runner: How the target is reached.
        request: As in `agent.py`, without `mode`, `block` and `models`.
        models: Name to file.
        processes: How many; each model takes each place in turn.
        keep: Is handed every line of the agent, with the process's number.
    """
    names = list(models)
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    for process in range(processes):
        order = [*names[process % len(names) :], *names[: process % len(names)]]
        for record in runner.run(
            {**request, "mode": "latency", "block": BLOCK}, {name: models[name] for name in order}
        ):
            keep({"process": process, **record})
            if record["kind"] == "samples":
                samples[str(record["name"])].append([ns / 1e6 for ns in record["ns"]])  # type: ignore[operator, union-attr]
    return samples

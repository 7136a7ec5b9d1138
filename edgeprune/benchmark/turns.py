"""Models timed by turns, in fresh processes on the target."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from edgeprune.devices import Record, Runner
from edgeprune.profiles.pipeline import BLOCK

__all__ = ["time_by_turns"]


def time_by_turns(
    runner: Runner,
    request: Record,
    models: Mapping[str, Path],
    *,
    processes: range,
    keep: Callable[[Record], object],
    mode: Literal["latency", "answers"] = "latency",
) -> None:
    """Have models take turns in fresh processes, each model in each place in turn.

    Args:
        runner: How the target is reached.
        request: As in `agent.py`, without `mode`, `block` and `models`.
        models: Name to file, or to a package's folder where answers are timed.
        processes: Their numbers.
        keep: Is handed every line of the agent, with the process's number.
        mode: Of the agent: whether models are timed, or packages from an input to its answer.
    """
    names = list(models)
    for process in processes:
        order = [*names[process % len(names) :], *names[: process % len(names)]]
        asked = {**request, "mode": mode, "block": BLOCK, "batches": _in_turn(request["batches"], process)}
        for record in runner.run(asked, {name: models[name] for name in order}):
            keep({"process": process, **record})


def _in_turn(batches: JsonValue, process: int) -> JsonValue:
    """Batches by model as they are, in every second process backwards: time doesn't hang together with the inputs."""
    assert isinstance(batches, dict)  # noqa: S101 (the request's form)
    return {name: each[::-1] if process % 2 else each for name, each in batches.items() if isinstance(each, list)}

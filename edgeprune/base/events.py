"""Define what a build says while it runs: typed events, handed to one callable.

The library never prints. A caller passes `emit`, a function of one event. The command line renders events as progress
bars. `--events FILE` keeps events as JSON lines: one object per event, with `event` and `time_s` (seconds since 1970).

    build(model, data=..., emit=print)
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeprune.base.errors import UsageError, storage_error, storage_errors

__all__ = [
    "Emit",
    "Event",
    "EventLog",
    "Note",
    "Progress",
    "RungFinished",
    "StageFinished",
    "StageStarted",
    "StageWaiting",
    "ignore",
]


@dataclass(frozen=True)
class Event:
    """Serve as the base of all events."""


@dataclass(frozen=True)
class StageStarted(Event):
    """Tell that a stage begins to work. A stage whose artifact is already in the store emits no such event."""

    stage: str
    round: int
    key: str


@dataclass(frozen=True)
class StageWaiting(Event):
    """Tell that this process waits for an artifact that another process is making."""

    stage: str
    round: int
    key: str


@dataclass(frozen=True)
class StageFinished(Event):
    """Tell that a stage's artifact is in the store: made just now, or found there (`cached`)."""

    stage: str
    round: int
    key: str
    cached: bool
    duration_s: float


@dataclass(frozen=True)
class Progress(Event):
    """Tell how much of the running stage is done, in `unit`s."""

    stage: str
    round: int
    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class RungFinished(Event):
    """Tell what a search found of one of its models."""

    rung: str
    """`dense`, or how many times as fast it should be: `3x`."""
    predicted_p50_ms: float | None
    """None: nothing predicts it."""
    p50_ms: float | None
    """None: the target can't be measured."""
    metric_name: str
    metric: float
    """The metric on the selection split."""
    drop: float
    """The dense PyTorch model's metric minus this one."""
    left: str
    """What is left of the model, in words."""
    why: str
    """Whether the rung keeps what the search holds fixed, in words."""
    rungs_left: int
    """How many rungs are still to be made, by what is known; more if predictions miss."""
    left_s: float | None
    """The time that these take at the pace so far; None: there is no pace yet."""


@dataclass(frozen=True)
class Note(Event):
    """Tell the user something that they should know; `level` is info or warning."""

    message: str
    level: str = "warning"


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Drop the event. This is the `Emit` of a caller that wants no events."""


class EventLog:
    """Append every event to a JSON Lines file, then pass the event on.

    Args:
        path: The file, created if it is not there.
        emit: The callable that every event is passed on to.

    Raises:
        StorageError: The file can't be written.
        UsageError: The path can't be opened as a file.
    """

    def __init__(self, path: Path, emit: Emit) -> None:
        self._path = path
        self._emit = emit
        try:
            path.open("a", encoding="utf-8").close()
        except OSError as error:
            raise storage_error(error, path) or UsageError(
                f"the event log {path} can't be opened: {error.strerror}"
            ) from error

    def __call__(self, event: Event) -> None:
        """Log one event and pass it on."""
        record = {"event": type(event).__name__, "time_s": round(time.time(), 3), **asdict(event)}
        with storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._emit(event)

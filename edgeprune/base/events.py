"""What a build says while it runs: typed events handed to one callable.

The library never prints. A caller passes `emit`, a function of one event; the command line renders events as progress
bars, and `--events FILE` keeps them as JSON lines (one object an event, with `event` and `time_s`, seconds since 1970).

    build(model, data=..., emit=print)
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeprune.base.errors import UsageError, storage_error

__all__ = [
    "Emit",
    "Event",
    "EventLog",
    "Note",
    "Progress",
    "StageFinished",
    "StageStarted",
    "StageWaiting",
    "ignore",
]


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage begins to work; not emitted when its artifact is already in the store."""

    stage: str
    round: int
    key: str


@dataclass(frozen=True)
class StageWaiting(Event):
    """Another process is making this artifact; this one waits for it."""

    stage: str
    round: int
    key: str


@dataclass(frozen=True)
class StageFinished(Event):
    """A stage's artifact is in the store: made just now, or found there (`cached`)."""

    stage: str
    round: int
    key: str
    cached: bool
    duration_s: float


@dataclass(frozen=True)
class Progress(Event):
    """Work done so far in the running stage, in `unit`s."""

    stage: str
    round: int
    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class Note(Event):
    """Something the user should know; `level` is info or warning."""

    message: str
    level: str = "warning"


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An `Emit` that drops every event."""


class EventLog:
    """Appends every event to a JSON Lines file, then passes it on.

    Args:
        path: The file, created if it is not there.
        emit: Where events go next.

    Raises:
        StorageError: The file can't be written.
        UsageError: The path is no file's.
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
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._emit(event)

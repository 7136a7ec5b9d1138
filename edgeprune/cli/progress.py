"""Show a build's events on standard error while it runs."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgeprune.base import events
from edgeprune.base.metric_words import change_words

__all__ = ["EventRenderer"]


_PACE_SECONDS = 30


class EventRenderer:
    """Show a build on standard error. This class is an `Emit`.

    On a terminal, the running stage has a bar with the elapsed and the estimated remaining time. Elsewhere, every stage
    has a line when it starts, a line when it ends, and every half minute a line with the time that is left at the pace
    so far. A search has a line for every model that it made.

    Args:
        console: The console of standard error.
        stages: How many stages there are; None: a search decides it as it goes.
    """

    def __init__(self, console: Console, *, stages: int | None) -> None:
        self._console = console
        self._stages = stages
        self._done = 0
        self._started = self._spoke = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("starting", total=None, unit="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: events.Event) -> None:
        """Show one event."""
        match event:
            case events.StageStarted(stage, round_number):
                self._started = self._spoke = time.monotonic()
                self._progress.reset(self._bar, description=self._title(stage, round_number), total=None, unit="")
                if not self._console.is_terminal:
                    self._say(f"{self._title(stage, round_number)} …")
            case events.Progress(done=done, total=total, unit=unit):
                self._progress.update(self._bar, completed=done, total=total, unit=unit)
                self._say_pace(event)
            case events.StageWaiting(stage, round_number):
                self._say(f"{self._title(stage, round_number)}: another build is making it; waiting")
            case events.StageFinished(stage, round_number, _, cached, duration_s):
                how = "from the store" if cached else f"{duration_s:.1f} s"
                self._say(f"{self._title(stage, round_number)}: {how}")
                self._done += 1
            case events.RungFinished():
                self._say(_rung_words(event), style="bold")
            case events.Note(message, level):
                self._say(f"{level}: {message}", style="yellow" if level == "warning" else "")
            case _:
                pass

    def _say_pace(self, event: events.Progress) -> None:
        now = time.monotonic()
        if self._console.is_terminal or now - self._spoke < _PACE_SECONDS or event.done == 0:
            return
        self._spoke = now
        left_s = (now - self._started) / event.done * (event.total - event.done)
        title = self._title(event.stage, event.round)
        self._say(f"{title}: {event.done} of {event.total} {event.unit}, about {left_s:.0f} s left")

    def _say(self, line: str, *, style: str = "") -> None:
        self._console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    def _title(self, stage: str, round_number: int) -> str:
        which = f" {round_number}" if round_number else ""
        of = "" if self._stages is None else f"/{self._stages}"
        return f"[{self._done + 1}{of}] {stage}{which}"


def _rung_words(rung: events.RungFinished) -> str:
    """Say in one line what a search found of a model, and how long the rest takes."""
    time_words = ""
    if rung.p50_ms is not None:
        predicted = "" if rung.predicted_p50_ms is None else f" ({rung.predicted_p50_ms:.2f} predicted)"
        time_words = f"{rung.p50_ms:.2f} ms{predicted}, "
    line = (
        f"{rung.rung}: {time_words}{rung.metric_name} {rung.metric:.4f} on selection ({change_words(rung.metric_name, -rung.drop)}), "
        f"{rung.left}: {rung.why}"
    )
    if not rung.rungs_left:
        return f"{line}; the search is decided"
    pace = "" if rung.left_s is None else f", about {max(1, rung.left_s / 60):.0f} min"
    return f"{line}; up to {rung.rungs_left} more model{'s' if rung.rungs_left > 1 else ''}{pace}"

"""What an agent's process left behind: its lines, or why there are none."""

import json
from typing import TYPE_CHECKING

from edgeprune.errors import TargetError
from edgeprune.runners import Record

if TYPE_CHECKING:
    from subprocess import CompletedProcess

__all__ = ["require_success", "spoken_lines"]


def spoken_lines(done: "CompletedProcess[str]") -> list[Record]:
    """The lines, whatever else was printed."""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def require_success(done: "CompletedProcess[str]", place: str) -> list[Record]:
    """The lines of an agent that ended well.

    Args:
        done: The process.
        place: Where it ran, as in "on this machine".

    Raises:
        TargetError: It did not.
    """
    records = spoken_lines(done)
    fault = next((record for record in records if record["kind"] == "error"), None)
    if fault is not None:
        raise TargetError(f"the benchmark failed {place}: {fault['message']}")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TargetError(f"the benchmark's process ended with {done.returncode} {place}: {last}")
    return records

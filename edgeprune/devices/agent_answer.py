"""What the agent answered: its lines, or one sentence on why there is no answer."""

import json
import re
import signal
from subprocess import CompletedProcess

from edgeprune.base.errors import TargetError
from edgeprune.devices import Record

__all__ = ["ended_by", "last_line", "read_answer", "too_old"]

_CAUSES = {
    signal.SIGILL: "its onnxruntime or numpy uses instructions that this CPU lacks; install a build for it",
    signal.SIGKILL: "most likely it is out of memory; take a smaller model or batch, or free some there",
}


def read_answer(done: CompletedProcess[str], place: str, python: str) -> list[Record]:
    """The lines of an agent that has ended.

    Args:
        done: With its exit code: the signal's negative number, or 128 above it, where one ended it.
        place: What it ran on, for the message.
        python: What ran it, for the message.

    Raises:
        TargetError: It failed, or this is no answer of an agent's.
    """
    records = [_record(line, place) for line in done.stdout.splitlines() if line.startswith("{")]
    fault = next((record for record in records if record.get("kind") == "error"), None)
    if fault is not None:
        raise TargetError(_fault(fault, records, place, python))
    if done.returncode != 0:
        raise TargetError(_ending(done, place, python))
    if not all("kind" in record for record in records) or not records:
        raise TargetError(_no_answer(done.stdout, place))
    return records


def last_line(text: str) -> str:
    """Where programs say what is wrong."""
    return (text.strip().splitlines() or ["no message"])[-1]


def _record(line: str, place: str) -> Record:
    try:
        record: Record = json.loads(line)
    except ValueError as error:
        raise TargetError(_no_answer(line, place)) from error
    return record


def _no_answer(text: str, place: str) -> str:
    said = repr(last_line(text)[:80]) if text.strip() else "nothing"
    return (
        f"the benchmark on {place} answered {said} instead of JSON; is runner.python a Python, and nothing around it?"
    )


def _fault(fault: Record, records: list[Record], place: str, python: str) -> str:
    message = str(fault["message"]).strip().partition("\n")[0]
    if fault["type"] in ("ModuleNotFoundError", "ImportError"):
        return (
            f"{python} on {place} can't import what the benchmark needs: {message}; install onnxruntime and numpy for it (and, "
            f"where answers are timed, what the package's card requires), or name a Python that has them in runner.python"
        )
    version = next((str(record["onnxruntime"]) for record in records if record["kind"] == "device"), None)
    return too_old(message, version, place) or f"the benchmark failed on {place}: {message}"


def too_old(message: str, version: str | None, place: str) -> str | None:
    """The sentence for an onnxruntime that doesn't know what a model is made of; None: the message is of something else."""
    if not re.search(r"opset|IR version|INVALID_GRAPH|not a registered function", message, re.IGNORECASE):
        return None
    return (
        f"onnxruntime{f' {version}' if version else ''} on {place} is too old for the model: {message}; install a newer one "
        f"there, or export for it with a lower stages.export.opset"
    )


def _ending(done: CompletedProcess[str], place: str, python: str) -> str:
    if done.returncode in (126, 127):
        return (
            f"there is no {python} on {place} that can be run; install Python 3.9 or newer there, or name one in "
            f"runner.python (for a device without a Python there is runner.perf_test)"
        )
    return (
        ended_by(done.returncode, last_line(done.stderr), place)
        or f"the benchmark's process ended with {done.returncode} on {place}: {last_line(done.stderr)}"
    )


def ended_by(code: int, said: str, place: str) -> str | None:
    """The sentence for a process that a signal ended; None: none did.

    Args:
        code: The signal's negative number, or 128 above it.
        said: By the process, in the end.
        place: What it ran on.
    """
    try:
        ended = signal.Signals(code - 128 if code > 128 else -code)
    except ValueError:
        return None
    return f"the benchmark's process was ended by {ended.name} on {place}: {_CAUSES.get(ended, said)}"

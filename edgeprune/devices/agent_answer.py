"""Read what the agent answered: typed answers, or one sentence that says why there is no answer."""

import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from math import prod
from subprocess import CompletedProcess
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from edgeprune.base.errors import TargetError
from edgeprune.devices.protocol import (
    AgentFault,
    Answer,
    DeviceFacts,
    ModelTimes,
    OfModel,
    Outputs,
    PackageTimes,
    ParallelRuns,
    ProbeRequest,
    Request,
    ThroughputRequest,
    of_type,
)

__all__ = ["ended_by", "last_line", "read_answer", "too_old"]

_KILLED = 9
"""signal.SIGKILL, by which Linux ends a process that takes too much memory. Windows has no name for it."""

_CAUSES: dict[int, str] = {
    signal.SIGILL: "its onnxruntime or numpy uses instructions that this CPU lacks; install a build for it",
    _KILLED: "most likely the device is out of memory; take a smaller model or batch, or free memory there",
}

_LINE: TypeAdapter[Answer | AgentFault] = TypeAdapter(Annotated[Answer | AgentFault, Field(discriminator="kind")])

_WHAT_TO_DO = "check that runner.python names a Python itself, not a script around one"


def read_answer(
    done: CompletedProcess[str], request: Request, models: Iterable[str], *, place: str, python: str
) -> list[Answer]:
    """Read the lines of an agent that has ended. Lines that don't begin as JSON are a login shell's and are left out.

    Args:
        done: The agent's process. If a signal ended it, the exit code is the signal's negative number, or 128 plus the
            number.
        request: What the agent was asked.
        models: Names of the models in the request.
        place: The device's name, for messages.
        python: The Python that ran the agent, for messages.

    Raises:
        TargetError: The agent failed, or its lines don't answer the request.
    """
    models = list(models)
    answers: list[Answer] = []
    faults: list[AgentFault] = []
    wrong: list[str] = []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            try:
                said = _LINE.validate_json(line)
            except ValidationError as error:
                wrong.append(_wrong(line, error.errors(include_url=False)[0]))
                continue
            if isinstance(said, AgentFault):
                faults.append(said)
            else:
                answers.append(said)
    if faults:
        raise TargetError(_fault(faults[0], answers, place, python))
    if done.returncode != 0:
        raise TargetError(_ending(done, place, python))
    if not (answers or wrong):
        wrong.append(f"{repr(_shown(last_line(done.stdout))) if done.stdout.strip() else 'nothing'} instead of JSON")
    wrong += _unasked(answers, request)
    wrong += _unanswered(answers, request, models)
    wrong += _miscounted(answers, request, models)
    if wrong:
        raise TargetError(f"the benchmark on {place} answered {wrong[0]}; {_WHAT_TO_DO}")
    return answers


def last_line(text: str) -> str:
    """Pick the last line of a text, where programs say what is wrong."""
    return _sayable((text.strip().splitlines() or ["no message"])[-1])


def _sayable(text: str, most: int = 500) -> str:
    """Cut a device's words to what a message can hold, without what a terminal would take as a command."""
    return "".join(one if one.isprintable() else "?" for one in text[:most])


def _shown(text: str) -> str:
    return _sayable(text, 80)


def _wrong(line: str, error: ErrorDetails) -> str:
    """Say what is wrong with a line, by the first error that pydantic found."""
    kind, *place = map(str, error["loc"]) if error["loc"] else [""]
    path = _shown(".".join(place))
    match error["type"]:
        case "json_invalid":
            return f"{_shown(line)!r} instead of JSON"
        case "union_tag_not_found":
            return f"{_shown(line)!r} instead of a line with its kind"
        case "union_tag_invalid":
            return (
                f"a line of kind {_shown(str(error['ctx']['tag']))!r}, which no agent of this version of edgeprune says"
            )
        case "missing":
            return f"a line of kind {kind!r} that lacks {path}"
        case "extra_forbidden":
            return f"a line of kind {kind!r} with the unknown key {path}"
        case _:
            wanted = re.sub(r"^Input should ", "should ", error["msg"])
            return f"a line of kind {kind!r} whose {path} {wanted}, not {_shown(repr(error['input']))}"


def _unasked(answers: Sequence[Answer], request: Request) -> list[str]:
    """List the lines that answer a question which the request didn't ask."""
    return [
        f"a line of kind {one.kind!r} to a request of mode {request.mode!r}"
        for one in answers
        if isinstance(one, OfModel) and one.kind not in (request.told, *request.beside)
    ]


def _unanswered(answers: Sequence[Answer], request: Request, models: Iterable[str]) -> list[str]:
    """List the lines that are missing from the answer."""
    told = {one.name for one in answers if isinstance(one, OfModel) and one.kind == request.told}
    lacking = [] if of_type(answers, DeviceFacts) else ["no line of kind 'device'"]
    if request.told is not None:
        lacking += [f"no line of kind {request.told!r} for {name!r}" for name in models if name not in told]
    return lacking


def _miscounted(answers: Sequence[Answer], request: Request, models: Sequence[str]) -> list[str]:
    """Say which lines are there twice, or tell of more or less than was asked."""
    heads = Counter((one.kind, one.name if isinstance(one, OfModel) else getattr(one, "moment", "")) for one in answers)
    wrong = [f"{count} lines of kind {kind!r} where one belongs" for (kind, _), count in heads.items() if count > 1]
    wrong += [
        f"a line of kind {one.kind!r} for {_shown(one.name)!r}, which it wasn't asked about"
        for one in answers
        if isinstance(one, OfModel) and one.name not in models
    ]
    for one in answers:
        wrong += [
            f"a line of kind {one.kind!r} that tells of {count} where {wanted} were asked"
            for count, wanted in zip(_counts(one), _wanted(one, request), strict=False)
            if count != wanted
        ]
        if isinstance(one, Outputs) and [len(values) for values in one.values] != [prod(shape) for shape in one.shapes]:
            wrong.append(f"a line of kind {one.kind!r} whose values don't have its shapes")
    return wrong


def _counts(answer: Answer) -> list[int]:
    """Count what each list of a line tells of."""
    match answer:
        case ModelTimes() | PackageTimes():
            return [len(answer.ns)]
        case ParallelRuns():
            return [len(answer.runs), len(answer.ns)]
        case Outputs():
            return [len(answer.values), len(answer.shapes)]
        case _:
            return []


def _wanted(answer: Answer, request: Request) -> Iterator[int]:
    """Say how much was asked for of a line's model."""
    if isinstance(request, ThroughputRequest):
        return repeat(request.parallel)
    if isinstance(request, ProbeRequest) or not isinstance(answer, OfModel):
        return iter(())
    return repeat(len(request.batches.get(answer.name, ())))


def _fault(fault: AgentFault, answers: Sequence[Answer], place: str, python: str) -> str:
    message = _sayable(fault.message.strip().partition("\n")[0])
    if fault.type in ("ModuleNotFoundError", "ImportError"):
        return (
            f"{python} on {place} can't import what the benchmark needs: {message}; install onnxruntime and numpy for it (and, "
            f"where answers are timed, what the package's card requires), or name a Python that has them in runner.python"
        )
    version = next((device.onnxruntime for device in of_type(answers, DeviceFacts)), None)
    return too_old(message, version, place) or f"the benchmark failed on {place}: {message}"


def too_old(message: str, version: str | None, place: str) -> str | None:
    """Say that a device's onnxruntime is too old for a model. None if the message is about something else.

    Args:
        message: What onnxruntime complained about.
        version: The device's onnxruntime; None: not known.
        place: The device's name, for the message.
    """
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
    """Say which signal ended a process. None if no signal did.

    Args:
        code: The process's exit code. For a signal it is the signal's negative number, or 128 plus the number.
        said: The last line that the process wrote.
        place: The device's name, for the message.
    """
    try:
        ended = signal.Signals(code - 128 if code > 128 else -code)
    except ValueError:
        return None
    return f"the benchmark's process was ended by {ended.name} on {place}: {_CAUSES.get(ended, said)}"

"""Time models by turns, in fresh processes on the target."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.devices import Runner
from edgeprune.devices.protocol import Answer, AnswersRequest, LatencyRequest

__all__ = ["Said", "time_by_turns"]


@dataclass(frozen=True)
class Said:
    """Keep an answer with the process that gave it."""

    answer: Answer
    process: int | None
    """The number of a process in which models took turns or sessions ran at once; None: the process ran one model
    alone."""

    @property
    def line(self) -> str:
        """The answer as a line of `samples.jsonl`."""
        number = {} if self.process is None else {"process": self.process}
        return json.dumps({**number, **self.answer.record()}) + "\n"


def time_by_turns(
    runner: Runner, request: LatencyRequest | AnswersRequest, models: Mapping[str, Path], *, processes: range
) -> Iterator[Said]:
    """Let models take turns in fresh processes. The order of the models rotates from process to process.

    Every second process takes the inputs backwards, so that an input isn't always timed at the same moment of a
    process.

    Args:
        runner: How the target is reached.
        request: The request, with batches in the order of the first process.
        models: The file of each model by name, or the folder of each package where answers are timed.
        processes: Numbers of the processes.

    Yields:
        Every answer, process by process. A process begins when its first answer is asked for.
    """
    names = list(models)
    backwards = request.model_copy(update={"batches": {name: each[::-1] for name, each in request.batches.items()}})
    for process in processes:
        order = [*names[process % len(names) :], *names[: process % len(names)]]
        for answer in runner.run(backwards if process % 2 else request, {name: models[name] for name in order}):
            yield Said(answer, process)

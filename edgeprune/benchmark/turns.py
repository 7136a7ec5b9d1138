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
    """Its number, of those in which models took turns or ran at once; None: one that a model had alone."""

    @property
    def line(self) -> str:
        """The line of `samples.jsonl`."""
        number = {} if self.process is None else {"process": self.process}
        return json.dumps({**number, **self.answer.record()}) + "\n"


def time_by_turns(
    runner: Runner, request: LatencyRequest | AnswersRequest, models: Mapping[str, Path], *, processes: range
) -> Iterator[Said]:
    """Have models take turns in fresh processes, each model in each place in turn; a process begins when it is asked for.

    In every second process inputs are taken backwards, so that time doesn't hang together with them.

    Args:
        runner: How the target is reached.
        request: With batches as the first process takes them.
        models: Name to file, or to a package's folder where answers are timed.
        processes: Their numbers.

    Yields:
        Every answer, process by process.
    """
    names = list(models)
    backwards = request.model_copy(update={"batches": {name: each[::-1] for name, each in request.batches.items()}})
    for process in processes:
        order = [*names[process % len(names) :], *names[: process % len(names)]]
        for answer in runner.run(backwards if process % 2 else request, {name: models[name] for name in order}):
            yield Said(answer, process)

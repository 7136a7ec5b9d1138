"""Competitors by turns: a process each, one of them at work at a time, this one asleep.

A round starts every competitor in a fresh process, warms it up on all texts of a workload and then goes through them block
by block, the competitors in a drawn order: whatever disturbs the machine for a while disturbs all of them.
"""

import json
import random
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from artifacts import Artifact
from inputs import SEED, Ids

WORKER = Path(__file__).with_name("worker.py")
BLOCK = 10
Samples = dict[str, dict[str, list[list[int]]]]
"""Artifact → workload → ns, a list a round."""


class Worker:
    """A process that serves one artifact."""

    def __init__(self, artifact: Artifact, process: subprocess.Popen) -> None:
        self._name = artifact.name
        self._process = process

    def ask(self, **request: object) -> dict:
        """Its answer; this process sleeps until it is there.

        Raises:
            RuntimeError: The worker has ended instead.
        """
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name}'s worker ended with {self._process.wait()}; what it said stands above")
        return json.loads(line)


@contextmanager
def working(artifact: Artifact, cpu: int, workloads: Mapping[str, Ids]) -> Iterator[tuple[Worker, dict]]:
    """A loaded worker and what it said of itself; it ends with the block."""
    with artifact.environment.start(WORKER, stdout=subprocess.PIPE) as process:
        worker = Worker(artifact, process)
        ready = worker.ask(
            do="load",
            runtime=artifact.runtime,
            path=str(artifact.path),
            cpu=cpu,
            session=artifact.session,
            workloads=workloads,
        )
        yield worker, ready


def time_by_turns(workloads: Mapping[Artifact, Mapping[str, Ids]], *, cpu: int, rounds: int) -> Samples:
    """Every artifact on every workload, interleaved. The workloads of all artifacts are the same texts in the same order."""
    order = random.Random(SEED)  # noqa: S311 (an order, no secret)
    samples: Samples = {artifact.name: {name: [] for name in own} for artifact, own in workloads.items()}
    counts = {name: len(texts) for own in workloads.values() for name, texts in own.items()}
    for _ in range(rounds):
        with ExitStack() as stack:
            workers = {one.name: stack.enter_context(working(one, cpu, own))[0] for one, own in workloads.items()}
            for workload, count in counts.items():
                for name, worker in workers.items():
                    worker.ask(do="turn", workload=workload, start=0, stop=count)
                    samples[name][workload].append([])
                for start in range(0, count, BLOCK):
                    for name in order.sample(list(workers), len(workers)):
                        answer = workers[name].ask(do="turn", workload=workload, start=start, stop=start + BLOCK)
                        samples[name][workload][-1] += answer["ns"]
    return samples


def judge(artifact: Artifact, texts: Ids, *, cpu: int) -> tuple[list[list[float]], dict]:
    """An artifact's logits, one text at a time, and what its worker said of itself."""
    with working(artifact, cpu, {}) as (worker, ready):
        return worker.ask(do="predict", texts=texts)["logits"], ready

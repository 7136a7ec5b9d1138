"""Answer requests by worker threads. Requests that wait at the same time may share a batch.

A worker takes the request that has waited longest, and those behind it that fit into the same batch. It waits for more
only where a window is set. A request of more inputs than a batch is answered in several batches, and shares none.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from edgeprune.base.errors import EdgepruneError
from edgeprune.pipeline.package_model import Content

__all__ = ["Answer", "Batcher"]

Answer = dict[str, Any]
"""What the model says of one input: the keys of `run.py`, without the input itself."""


@dataclass(frozen=True)
class _Job:
    contents: Sequence[Content]
    answers: "Future[list[Answer]]" = field(default_factory=Future)


class Batcher:
    """Own the worker threads of one model. They start at once, and end with `close`.

    Args:
        answer: Answers a list of inputs. Several threads call it where there are several workers.
        batch_size: Most inputs that share a batch.
        window_s: Seconds that a worker waits for a batch to fill up; 0: it takes what is there.
        workers: Number of threads.
        ran: Told the number of inputs of each run of the model.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Content]], list[Answer]],
        *,
        batch_size: int,
        window_s: float,
        workers: int,
        ran: Callable[[int], None],
    ) -> None:
        self._answer = answer
        self._batch_size = batch_size
        self._window_s = window_s
        self._ran = ran
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._gathering = threading.Lock()
        self._closed = False
        # Daemons: a second Ctrl-C ends the process although they are at work.
        self._workers = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Number of requests that no worker has taken yet."""
        return len(self._waiting)

    def submit(self, contents: Sequence[Content]) -> "Future[list[Answer]]":
        """Put a request behind those that wait. The future has its answers, or the EdgepruneError that says what is wrong."""
        job = _Job(contents)
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        return job.answers

    def close(self) -> None:
        """Answer what waits, and end the threads. Nothing may be submitted afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while jobs := self._next():
            wanted = [job for job in jobs if job.answers.set_running_or_notify_cancel()]
            if wanted:
                self._run(wanted)

    def _next(self) -> list[_Job]:
        """Wait for the jobs of the next batch; none: there will be no more."""
        # One worker gathers at a time, so that two of them don't share out what would fill one batch.
        with self._gathering, self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            jobs = [self._waiting.popleft()]
            until = time.monotonic() + self._window_s
            while (room := self._batch_size - sum(len(job.contents) for job in jobs)) > 0:
                if self._waiting:
                    if len(self._waiting[0].contents) > room:
                        break
                    jobs.append(self._waiting.popleft())
                elif self._closed or (left := until - time.monotonic()) <= 0:
                    break
                else:
                    self._changed.wait(left)
            return jobs

    def _run(self, jobs: list[_Job]) -> None:
        contents = [content for job in jobs for content in job.contents]
        try:
            answers = iter(self._answer(contents))
        except EdgepruneError as error:
            if len(jobs) == 1:
                jobs[0].answers.set_exception(error)
            else:  # one of them is at fault; the others have their answers all the same
                for job in jobs:
                    self._run([job])
            return
        except BaseException as error:  # noqa: BLE001 (a fault ends the request, not the thread)
            for job in jobs:
                job.answers.set_exception(_fault(error))
            return
        for first in range(0, len(contents), self._batch_size):
            self._ran(min(self._batch_size, len(contents) - first))
        for job in jobs:
            job.answers.set_result([next(answers) for _ in job.contents])


def _fault(error: BaseException) -> Exception:
    """Give an Exception, which ends one request. A panic in Rust is none, and would end the server's task unanswered."""
    if isinstance(error, Exception):
        return error
    fault = RuntimeError(f"{type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault

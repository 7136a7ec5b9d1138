"""edgeprune/server/batcher.py: who shares a batch with whom, and that each request has its own answers."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.base.errors import UsageError
from edgeprune.server.batcher import Batcher


class Model:
    """Answers a text with itself, when it is let; "bad" is refused, as a package's model refuses all of a list."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.began = threading.Event()
        self.calls: list[list[Any]] = []
        self.runs: list[int] = []

    def __call__(self, contents: Sequence[Any]) -> list[dict[str, Any]]:
        self.began.set()
        assert self.let.wait(30)
        self.calls.append(list(contents))
        if "bad" in contents:
            raise UsageError("it is bad")
        return [{"said": content} for content in contents]


@contextmanager
def busy(batch_size: int, window_s: float = 0, workers: int = 1) -> Iterator[tuple[Model, Callable[[list[Any]], Any]]]:
    """A model whose one worker is at work on "first"; what is submitted waits until it is let."""
    model = Model()
    batcher = Batcher(model, batch_size=batch_size, window_s=window_s, workers=workers, ran=model.runs.append)
    batcher.submit(["first"])
    assert model.began.wait(30)
    yield model, batcher.submit
    model.let.set()
    batcher.close()


def test_what_waits_shares_batches_in_its_order() -> None:
    with busy(3) as (model, submit):
        futures = [submit(list(texts)) for texts in ("a", "bc", "de", "fghi", "j")]
    assert model.calls[1:] == [["a", "b", "c"], ["d", "e"], ["f", "g", "h", "i"], ["j"]]
    assert model.runs == [1, 3, 2, 3, 1, 1], "what is longer than a batch takes several runs"
    assert ["".join(answer["said"] for answer in future.result(0)) for future in futures] == [
        "a",
        "bc",
        "de",
        "fghi",
        "j",
    ]


def test_a_batch_of_one_is_nobody_else_s() -> None:
    with busy(1) as (model, submit):
        for text in "abc":
            submit([text])
    assert model.calls[1:] == [["a"], ["b"], ["c"]]


def test_one_bad_request_spoils_no_other() -> None:
    with busy(4) as (_, submit):
        good, bad, other = submit(["a"]), submit(["bad"]), submit(["b"])
    assert (good.result(0), other.result(0)) == ([{"said": "a"}], [{"said": "b"}])
    with pytest.raises(UsageError, match="it is bad"):
        bad.result(0)


def test_a_window_waits_for_a_batch_to_fill_up() -> None:
    """Of several workers, the one that has begun to gather a batch gets what comes next: the others would begin one each."""
    model = Model()
    model.let.set()
    batcher = Batcher(model, batch_size=2, window_s=30, workers=4, ran=model.runs.append)
    pairs = [[f"{number}a", f"{number}b"] for number in range(8)]
    for one, other in pairs:
        first = batcher.submit([one])
        while batcher.waiting:
            time.sleep(0.001)
        assert batcher.submit([other]).result(5) == [{"said": other}]
        assert first.result(0) == [{"said": one}]
    assert model.calls == pairs
    last = batcher.submit(["last"])
    batcher.close()  # nothing more will come: the window ends
    assert last.result(0) == [{"said": "last"}]


def test_a_request_that_is_cancelled_is_not_run() -> None:
    """A stop that has waited long enough cancels what it waits for. A client that leaves cancels nothing."""
    with busy(1) as (model, submit):
        assert submit(["a"]).cancel()
        submit(["b"])
    assert model.calls[1:] == [["b"]]


def test_several_workers_run_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def answer(contents: Sequence[Any]) -> list[dict[str, Any]]:
        both.wait(30)
        return [{} for _ in contents]

    batcher = Batcher(answer, batch_size=1, window_s=0, workers=2, ran=lambda _: None)
    futures = [batcher.submit([text]) for text in "ab"]
    batcher.close()
    assert [future.result(0) for future in futures] == [[{}], [{}]]


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=7), max_size=20), st.integers(1, 5), st.integers(1, 3))
def test_every_request_has_its_own_answers(requests: list[list[int]], batch_size: int, workers: int) -> None:
    model = Model()
    model.let.set()
    batcher = Batcher(model, batch_size=batch_size, window_s=0, workers=workers, ran=model.runs.append)
    futures = [batcher.submit(contents) for contents in requests]
    batcher.close()
    assert [[answer["said"] for answer in future.result(0)] for future in futures] == requests
    assert sum(model.runs) == sum(map(len, requests))
    assert max(model.runs, default=0) <= batch_size

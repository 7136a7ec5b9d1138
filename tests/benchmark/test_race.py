"""edgeprune/benchmark/race.py: verdicts over made-up times."""

from collections.abc import Sequence

import numpy as np
import pytest

from edgeprune.benchmark.race import Candidate, RaceRow, race

BLOCK = 10


class Course:
    """Times candidates: a true time each, multiplied by what the machine does to a turn and by noise of each run."""

    def __init__(self, times_ms: dict[str, float], *, noise: float = 0.05, seed: int = 0) -> None:
        self._times_ms = times_ms
        self._noise = noise
        self._generator = np.random.default_rng(seed)
        self.asked: list[tuple[int, int, int]] = []

    def __call__(self, names: Sequence[str], processes: int, samples: int) -> dict[str, list[list[float]]]:
        self.asked.append((len(names), processes, samples))
        found: dict[str, list[list[float]]] = {name: [] for name in names}
        for _ in range(processes):
            turns = np.repeat(self._generator.uniform(1, 2, -(-samples // BLOCK)), BLOCK)[:samples]
            for name in names:
                runs = 1 + self._noise * self._generator.exponential(size=samples)
                found[name].append(list(self._times_ms[name] * turns * runs))
        return found


def named(name: str, *complexity: int) -> Candidate[str]:
    return Candidate(name, name, complexity)


def run(
    times_ms: dict[str, float], complexity: dict[str, int] | None = None, *, seed: int = 0, reverse: bool = False
) -> tuple[str, dict[str, RaceRow], Course]:
    course = Course(times_ms, seed=seed)
    names = sorted(times_ms, reverse=reverse)
    candidates = [named(name, (complexity or {}).get(name, 0)) for name in names]
    found = race(candidates, course, processes=3, samples=30, block=BLOCK)
    assert list(found.rows) == names
    return found.winner, dict(found.rows), course


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_variant_slowed_down_on_purpose_loses(seed: int, reverse: bool):
    winner, rows, _ = run({"a": 1.0, "b": 1.1}, {"a": 3, "b": 0}, seed=seed, reverse=reverse)
    assert winner == "a"
    assert rows["a"].why == "won"
    assert rows["a"].ratio == 1
    assert rows["b"].ratio_interval is not None
    low, high = rows["b"].ratio_interval
    assert 1.01 < low <= rows["b"].ratio <= high < 1.2
    assert rows["b"].why.endswith("% slower than a")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_an_identical_twin_ties_and_the_simpler_wins(seed: int, reverse: bool):
    winner, rows, _ = run({"a": 1.0, "b": 1.0, "slow": 1.3}, {"a": 2, "b": 1}, seed=seed, reverse=reverse)
    assert winner == "b"
    assert rows["b"].why == "won: the plainest of those that can't be told apart"
    assert rows["a"].why == "can't be told from b, which is plainer (by precision, by what it changes, by name)"
    assert rows["slow"].why.endswith("% slower than b")


@pytest.mark.parametrize("count", [5, 9, 16])
def test_of_many_twins_the_simplest_wins(count: int):
    names = [f"v{number:02}" for number in range(count)]
    for seed in range(10):
        generator = np.random.default_rng(seed)
        candidates = [named(names[place], place) for place in generator.permutation(count)]
        found = race(candidates, Course(dict.fromkeys(names, 1.0), seed=seed), processes=3, samples=30, block=BLOCK)
        assert found.winner == "v00", seed
        assert all(row.why for row in found.rows.values())


def test_what_seems_slower_is_not_taken_for_being_simpler():
    """Noise that hides 5% from the intervals of a few turns."""
    candidates = [named("simple", 0), named("fast", 1), named("as fast", 2)]
    winners = [
        race(
            candidates, Course({"simple": 1.05, "fast": 1.0, "as fast": 1.0}, noise=0.15, seed=seed), processes=6, samples=30,
            block=BLOCK,
        ).winner
        for seed in range(20)
    ]  # fmt: skip
    assert winners.count("simple") <= 2, winners


def test_what_a_rewrite_gains_is_told_among_many_that_gain_nothing():
    """As of a first heat: one thing gains 12%, another 10%, a third 3%, three more nothing."""
    times, complexity = {}, {}
    for fusion, gain in (("", 1.0), (" unfused", 0.9)):
        for base, time_ms in (("", 1.0), ("narrow", 0.88), ("narrow unpadded", 0.88 * 0.97)):
            for more in ("", " packed", " fused", " packed fused") if "unpadded" in base else ("",):
                name = f"{base}{more}{fusion}"
                times[name] = time_ms * gain
                complexity[name] = len(name.split())
    winners = [run(times, complexity, seed=seed)[0] for seed in range(20)]
    assert winners.count("narrow unpadded unfused") >= 18, winners


def test_a_simpler_one_that_is_clearly_slower_is_left_out_before_the_final():
    times = {f"v{number:02}": 1.0 for number in range(12)} | {"plain": 1.5}
    winner, rows, _ = run(times, {name: 1 for name in times if name != "plain"})
    assert winner == "v00"
    assert rows["plain"].why.startswith("left out after round 2: ")


def test_the_first_number_of_complexity_counts_most():
    candidates = [named("other precision", 1, 0), named("own precision", 0, 5)]
    times = {one.name: 1.0 for one in candidates}
    for seed in range(5):
        found = race(candidates, Course(times, seed=seed), processes=3, samples=30, block=BLOCK)
        assert found.winner == "own precision"


def test_twins_that_are_equally_simple_are_told_apart_by_name():
    assert {run({"a": 1.0, "b": 1.0}, seed=seed, reverse=seed % 2 == 1)[0] for seed in range(10)} == {"a"}


def test_the_slower_half_is_left_out_until_a_few_are_left():
    times = {f"v{number:02}": 1 + 0.2 * number for number in range(16)}
    winner, rows, course = run(times, dict.fromkeys(times, 0))
    assert winner == "v00"
    assert course.asked == [(16, 1, 30), (8, 1, 60), (4, 1, 90), (3, 3, 30)]
    assert rows["v15"].why.startswith("left out after round 1: ")
    assert rows["v05"].why.startswith("left out after round 2: ")
    assert (rows["v15"].samples, rows["v05"].samples, rows["v02"].samples) == (30, 60, 90)


def test_one_candidate_wins():
    winner, rows, _ = run({"a": 1.0})
    assert winner == "a"
    assert rows["a"].why == "won"


def test_a_name_is_for_people_and_no_identity():
    candidates = [Candidate(number, "the same", (0,)) for number in range(3)]
    times = {0: 1.2, 1: 1.0, 2: 1.3}

    def measure(variants: Sequence[int], processes: int, samples: int) -> dict[int, list[list[float]]]:
        return {one: [[times[one]] * samples] * processes for one in variants}

    found = race(candidates, measure, processes=3, samples=30, block=BLOCK)
    assert found.winner == 1
    assert [(row.variant, row.p50_ms) for row in found.rows.values()] == [("the same", time) for time in times.values()]

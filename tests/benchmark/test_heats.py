"""edgeprune/benchmark/heats.py: sequences of heats over made-up times."""

from collections.abc import Mapping, Sequence

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.benchmark.heats import local_search, run_heat
from edgeprune.benchmark.race import Candidate, RaceResult, RaceRow
from edgeprune.profiles.pipeline import RaceConfig


class Scripted:
    """A timer that gives each variant the time that the test says; the target refuses some."""

    def __init__(self, times_ms: Mapping[str, float], refuses: Mapping[str, str] | None = None) -> None:
        self._times_ms = times_ms
        self._refuses = refuses or {}
        self.heats: list[list[str]] = []
        """The variants of each heat, in their order."""
        self.timed: list[list[str]] = []

    def refused(self, variants: Sequence[str]) -> dict[str, str]:
        self.heats.append(list(variants))
        return {one: self._refuses[one] for one in variants if one in self._refuses}

    def measure(self, variants: Sequence[str], processes: int, samples: int) -> dict[str, list[list[float]]]:
        self.timed.append(list(variants))
        return {one: [[self._times_ms[one]] * samples] * processes for one in variants}

    def heat(self, variants: Sequence[str]) -> RaceResult[str]:
        return run_heat([Candidate(one, one, (len(one),)) for one in variants], self, RaceConfig())


def search(
    timer: Scripted,
    first: Sequence[str],
    *,
    others: Sequence[str] = (),
    neighbours: Mapping[str, Sequence[str]] | None = None,
    most: int = 4,
) -> list[RaceResult[str]]:
    start = timer.heat(first)
    return [
        start,
        *local_search(start, others, neighbours=lambda one: (neighbours or {}).get(one, ()), heat=timer.heat, most=most),
    ]  # fmt: skip


def test_a_refused_candidate_is_not_timed_and_its_row_says_why():
    timer = Scripted({"a": 2.0, "c": 1.0}, {"b": "no such operator"})
    found = timer.heat(["a", "b", "c"])
    assert found.winner == "c"
    assert timer.timed == [["a", "c"]]
    assert list(found.rows) == ["a", "c", "b"]
    assert found.rows["b"] == RaceRow.untimed("b", "the target refuses it: no such operator")


def test_a_target_that_refuses_every_candidate_is_an_error():
    timer = Scripted({}, {"a": "no such operator", "b": "no memory"})
    with pytest.raises(TargetError, match="the target refuses every graph: no such operator"):
        timer.heat(["a", "b"])
    assert not timer.timed


def test_the_winner_meets_other_precisions_once_and_its_neighbours_until_it_wins_again():
    times_ms = {"a": 4.0, "b": 5.0, "fp32": 6.0, "a1": 3.0, "a2": 4.5, "a11": 2.0, "a12": 3.5, "a111": 2.5}
    timer = Scripted(times_ms)
    neighbours = {"a": ["a1", "a2"], "a1": ["a11", "a12"], "a11": ["a111"]}
    found = search(timer, ["a", "b"], others=["fp32"], neighbours=neighbours)
    assert timer.heats == [["a", "b"], ["a", "fp32", "a1", "a2"], ["a1", "a11", "a12"], ["a11", "a111"]]
    assert [one.winner for one in found] == ["a", "a1", "a11", "a11"]
    assert [list(one.rows) for one in found] == timer.heats


def test_a_variant_that_lost_or_was_refused_is_not_raced_again():
    timer = Scripted({"a": 4.0, "b": 3.0, "d": 2.0}, {"c": "no such operator"})
    neighbours = {"b": ["a", "d", "c"], "d": ["b", "c", "a"]}
    found = search(timer, ["a", "b", "c"], others=["d"], neighbours=neighbours)
    assert timer.heats == [["a", "b", "c"], ["b", "d"], ["d"]]
    assert found[-1].winner == "d"


def test_a_winner_without_neighbours_is_timed_once_more_and_wins():
    timer = Scripted({"a": 1.0, "b": 2.0})
    assert [one.winner for one in search(timer, ["a", "b"])] == ["a", "a"]
    assert timer.heats == [["a", "b"], ["a"]]


def test_the_search_ends_after_so_many_heats_though_each_has_a_new_winner():
    times_ms = {str(number): 100.0 - 10 * number for number in range(10)}
    timer = Scripted(times_ms)
    found = search(timer, ["0"], neighbours={one: [str(int(one) + 1)] for one in list(times_ms)[:-1]}, most=4)
    assert timer.heats == [["0"], ["0", "1"], ["1", "2"], ["2", "3"], ["3", "4"]]
    assert found[-1].winner == "4"

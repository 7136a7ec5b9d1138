import pytest

from edgeprune.base.errors import UsageError
from edgeprune.profiles.search import Objective
from edgeprune.search.choice import Asked, asked_rung, best_rung, faster_than, more_accurate_than
from edgeprune.search.frontier import RungRow
from tests.support.reports import rung


def rung_row(
    name: str, *, speedup: float, p50_ms: float | None, metric: float, keeps: bool = True, size_mb: float = 10.0
) -> RungRow:
    return rung(
        name, speedup, 0.9 - metric, p50_ms, metric=metric, keeps=keeps, size_mb=size_mb, dense_p50_ms=4.0, why="reason"
    )


DENSE = rung_row("dense", speedup=1, p50_ms=4.0, metric=0.90, size_mb=22)
TWICE = rung_row("2x", speedup=2, p50_ms=2.1, metric=0.91, size_mb=17)
THRICE = rung_row("3x", speedup=3, p50_ms=1.4, metric=0.895, size_mb=15)
FOUR = rung_row("4x", speedup=4, p50_ms=1.0, metric=0.87, keeps=False, size_mb=14)
ALL = [DENSE, TWICE, THRICE, FOUR]


@pytest.mark.parametrize(("objective", "name"), [("latency", "3x"), ("metric", "2x"), ("size", "3x")])
def test_the_best_rung_keeps_the_limit(objective: Objective, name: str):
    assert best_rung(objective, ALL).rung.name == name


@pytest.mark.parametrize(("objective", "name"), [("latency", "2x"), ("metric", "4x"), ("size", "2x")])
def test_where_no_rung_keeps_the_limit_the_nearest_is_shipped_and_the_reason_says_so(objective: Objective, name: str):
    choice = best_rung(objective, [one.model_copy(update={"keeps": False}) for one in ALL])
    assert choice.rung.name == name
    assert choice.reason.startswith("no model keeps the limit")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (Asked(kind="ms", value=2.5), "2x"),
        (Asked(kind="ms", value=1.5), "3x"),
        (Asked(kind="times", value=4), "4x"),
        (Asked(kind="times", value=2.5), "3x"),
        (Asked(kind="times", value=100), "4x"),
        (Asked(kind="drop", value=0.005), "3x"),
        (Asked(kind="drop", value=0.0), "2x"),
        (Asked(kind="drop", value=-0.01), "2x"),
    ],
)
def test_another_rung_can_be_asked_for(asked: Asked, name: str):
    assert asked_rung(asked, ALL, "accuracy").rung.name == name


def test_what_no_rung_reaches_is_refused_with_what_is_reached():
    with pytest.raises(
        UsageError, match=r"the fastest model of this search, 4x, takes 1\.000 ms; give --at 1ms or more"
    ):
        asked_rung(Asked(kind="ms", value=0.5), ALL, "accuracy")
    with pytest.raises(
        UsageError, match=r"the most accurate model of this search, 2x, drops -1\.0 points; give --at-drop -1% or more"
    ):
        asked_rung(Asked(kind="drop", value=-0.05), ALL, "accuracy")
    unmeasured = [one.model_copy(update={"p50_ms": None}) for one in ALL]
    with pytest.raises(UsageError, match="can't be measured from here; give --at 4x"):
        asked_rung(Asked(kind="ms", value=5), unmeasured, "accuracy")
    assert asked_rung(Asked(kind="times", value=3.1), unmeasured, "accuracy").rung.name == "3x"


def test_the_neighbours_say_what_they_cost():
    assert faster_than(THRICE, ALL, "accuracy") == (
        "the next faster, 4x, takes 29% less time, -2.5 points on the selection split: reason"
    )
    assert more_accurate_than(THRICE, ALL, "accuracy") == (
        "the next more accurate, dense, takes 186% more time, +0.5 points on the selection split: reason"
    )
    assert faster_than(FOUR, ALL, "accuracy") is None
    assert more_accurate_than(TWICE, ALL, "accuracy") is None


def test_what_a_refusal_suggests_is_not_refused():
    slow = [one.model_copy(update={"p50_ms": 1.004, "drop": 0.0123}) for one in ALL]
    with pytest.raises(UsageError, match=r"give --at 1\.01ms or more"):
        asked_rung(Asked(kind="ms", value=1.0), slow, "accuracy")
    assert asked_rung(Asked(kind="ms", value=1.01), slow, "accuracy")
    with pytest.raises(UsageError, match=r"give --at-drop 1\.3% or more"):
        asked_rung(Asked(kind="drop", value=0.012), slow, "accuracy")
    assert asked_rung(Asked(kind="drop", value=0.013), slow, "accuracy")

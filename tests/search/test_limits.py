from statistics import NormalDist

import pytest

from edgeprune.benchmark.records import LatencyRow
from edgeprune.profiles.search import Objective
from edgeprune.profiles.target import Budget
from edgeprune.search.limits import drop_bound, held, lacking_budget
from edgeprune.store.records import Metric
from tests.support.reports import latency


def latency_row(p50_ms: float, interval_ms: tuple[float, float] | None = None) -> LatencyRow:
    return latency("rung", p50_ms, p50_interval_ms=interval_ms)


def metric(drop: float, half: float = 0.0196) -> Metric:
    return Metric(name="accuracy", value=0.9 - drop, samples=500, drop=drop, drop_interval=(drop - half, drop + half))


def test_the_bound_of_a_drop_is_a_normal_quantile():
    assert drop_bound(metric(0.01), 0.5) == pytest.approx(0.01)
    assert drop_bound(metric(0.01), 0.8) == pytest.approx(0.01 + 0.01 * NormalDist().inv_cdf(0.8), rel=1e-3)


@pytest.mark.parametrize("objective", ["latency", "size"])
def test_a_rung_keeps_the_metrics_budget_with_a_margin(objective: Objective):
    def judged(drop: float) -> tuple[bool, bool]:
        budget = Budget(metric_drop=0.01)
        found = held(objective, budget, confidence=0.8, metric=metric(drop), size_mb=1, latency=None)
        return found.keeps, found.beyond

    assert judged(0.0015) == (True, False)
    assert judged(0.0019) == (False, False)  # 0.0019 + 0.84 · 0.01 is above 0.01
    assert judged(0.0099) == (False, False)
    assert judged(0.0101) == (False, True)


def test_a_recall_below_its_floor_is_not_kept():
    found = metric(-0.05).model_copy(update={"others": {"recall of bad": 0.6}})
    budget = Budget(metric_drop=0.01, min_recall={"bad": 0.7})
    judged = held("latency", budget, confidence=0.8, metric=found, size_mb=1, latency=None)
    assert not judged.keeps
    assert "min_recall.bad is 0.6" in judged.why


def test_other_budgets_are_judged_by_the_whole_interval_and_tell_how_much_is_used():
    budget = Budget(latency_p50_ms=2.0, size_mb=10)
    inside = held(
        "metric", budget, confidence=0.8, metric=metric(0.3), size_mb=4, latency=latency_row(1.8, (1.7, 1.95))
    )
    assert inside.keeps
    assert inside.used == pytest.approx(0.9)
    across = held("metric", budget, confidence=0.8, metric=metric(0.0), size_mb=4, latency=latency_row(1.9, (1.8, 2.1)))
    assert not across.keeps
    assert across.why == "latency_p50_ms is between 1.8 and 2.1, too close to the budget of 2"
    above = held("metric", budget, confidence=0.8, metric=metric(0.0), size_mb=4, latency=latency_row(2.3, (2.2, 2.4)))
    assert above.why == "latency_p50_ms is 2.3, but the budget is 2"
    unsure = held("metric", budget, confidence=0.8, metric=metric(0.0), size_mb=4, latency=latency_row(1.0))
    assert unsure.why == "latency_p50_ms is 1, but too little was measured to judge it"


def test_a_size_alone_needs_no_measurement():
    judged = held("metric", Budget(size_mb=3), confidence=0.8, metric=metric(0.0), size_mb=4, latency=None)
    assert (judged.keeps, judged.used) == (False, pytest.approx(4 / 3))


@pytest.mark.parametrize(
    ("objective", "budget", "is_measured", "lacks"),
    [
        ("latency", Budget(latency_p90_ms=3), True, True),
        ("latency", Budget(metric_drop=0.01), False, False),
        ("size", Budget(size_mb=3), True, True),
        ("metric", Budget(metric_drop=0.01), True, True),
        ("metric", Budget(latency_text_p90_ms=4), True, True),
        ("metric", Budget(latency_p90_ms=3), True, False),
        ("metric", Budget(latency_p90_ms=3), False, True),
        ("metric", Budget(size_mb=3), False, False),
    ],
)
def test_an_objective_needs_a_budget(objective: Objective, budget: Budget, is_measured: bool, lacks: bool):
    assert (lacking_budget(objective, budget, is_measured=is_measured) is not None) is lacks

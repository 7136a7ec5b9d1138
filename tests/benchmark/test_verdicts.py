import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.benchmark.records import LatencyRow
from edgeprune.benchmark.verdicts import BudgetRow, Verdict, exit_code, judge, overall, undecided
from edgeprune.profiles.target import Budget
from edgeprune.store.records import Metric

ALL = Budget(latency_p50_ms=5, latency_p90_ms=10, peak_memory_mb=200, size_mb=25, metric_drop=0.01)
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "inconclusive", "not_measured")


def metric(drop: float | None = 0.0) -> Metric:
    return Metric(name="accuracy", value=0.9, samples=100, drop=drop, drop_interval=(-0.02, 0.03))


def latency(p50: float | None = 4.0, p90: float | None = 9.0, memory: float | None = 150.0) -> LatencyRow:
    return LatencyRow(
        artifact="final",
        provider="CPUExecutionProvider",
        threads=1,
        batch_size=1,
        lengths="data",
        samples=100,
        p50_ms=p50,
        p90_ms=p90,
        p50_interval_ms=None if p50 is None else (p50 - 0.5, p50),
        p90_interval_ms=None if p90 is None else (p90 - 0.5, p90),
        peak_memory_mb=memory,
    )


def row(name: str, verdict: Verdict) -> BudgetRow:
    return BudgetRow(name=name, limit=1, value=None, interval=None, verdict=verdict)


def test_no_limits_no_rows():
    assert judge(Budget(), size_mb=1e6, metric=metric(0.9), latency=latency()) == []
    assert overall([]) == "pass"
    assert exit_code([]) == 0


def test_every_limit_has_its_row_with_value_and_interval():
    rows = judge(ALL, size_mb=20, metric=metric(), latency=latency())
    assert [(row.name, row.limit, row.value, row.interval, row.verdict) for row in rows] == [
        ("size_mb", 25, 20, None, "pass"),
        ("metric_drop", 0.01, 0, (-0.02, 0.03), "pass"),
        ("latency_p50_ms", 5, 4, (3.5, 4), "pass"),
        ("latency_p90_ms", 10, 9, (8.5, 9), "pass"),
        ("peak_memory_mb", 200, 150, None, "pass"),
    ]


def test_answers_have_a_limit_of_their_own() -> None:
    budget = Budget(latency_text_p90_ms=12)
    (row,) = judge(budget, size_mb=1, metric=None, latency=latency())
    assert (row.name, row.verdict, undecided([row])) == ("latency_text_p90_ms", "inconclusive", False)
    timed = latency().model_copy(update={"text_p90_ms": 11.9, "text_p90_interval_ms": (11.5, 12.5)})
    (row,) = judge(budget, size_mb=1, metric=None, latency=timed)
    assert (row.value, row.verdict, undecided([row])) == (11.9, "inconclusive", True)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((3.0, 5.0), "pass"),
        ((4.9, 5.1), "inconclusive"),
        ((5.0, 5.1), "inconclusive"),
        ((5.01, 5.1), "fail"),
        (None, "inconclusive"),
    ],
)
def test_a_latency_is_judged_by_its_whole_interval(interval: tuple[float, float] | None, verdict: Verdict):
    found = latency(p50=4.0).model_copy(update={"p50_interval_ms": interval})
    (judged,) = judge(Budget(latency_p50_ms=5), size_mb=1, metric=metric(), latency=found)
    assert judged.verdict == verdict
    assert exit_code([judged]) == {"pass": 0, "fail": 3, "inconclusive": 7}[verdict]


@pytest.mark.parametrize(("least", "verdict", "code"), [(0.8, "pass", 0), (0.81, "fail", 4)])
def test_a_label_has_a_floor(least: float, verdict: Verdict, code: int):
    found = metric().model_copy(update={"others": {"recall of pos": 0.8, "recall of neg": 0.1}})
    (judged,) = judge(Budget(min_recall={"pos": least}), size_mb=1, metric=found, latency=None)
    assert (judged.name, judged.limit, judged.value, judged.verdict) == ("min_recall.pos", least, 0.8, verdict)
    assert exit_code([judged]) == code


def test_a_cold_start_has_a_budget():
    found = latency().model_copy(update={"cold_start_ms": 80.0})
    (judged,) = judge(Budget(cold_start_ms=79), size_mb=1, metric=metric(), latency=found)
    assert (judged.name, judged.value, judged.verdict) == ("cold_start_ms", 80, "fail")


@pytest.mark.parametrize(("limit", "verdict", "code"), [(30, "pass", 0), (29.9, "fail", 3)])
def test_a_download_has_a_budget(limit: float, verdict: Verdict, code: int):
    found = latency().model_copy(update={"download_mb": 30.0})
    (judged,) = judge(Budget(download_mb=limit), size_mb=1, metric=metric(), latency=found)
    assert (judged.name, judged.value, judged.verdict) == ("download_mb", 30, verdict)
    assert exit_code([judged]) == code
    (judged,) = judge(Budget(download_mb=limit), size_mb=1, metric=metric(), latency=None)
    assert judged.verdict == "not_measured"


@pytest.mark.parametrize(
    ("size", "drop", "p50", "p90", "memory", "failed", "code"),
    [
        (25, 0.01, 5, 10, 200, set(), 0),
        (25.1, 0.0, 1, 1, 1, {"size_mb"}, 3),
        (1, 0.011, 1, 1, 1, {"metric_drop"}, 4),
        (1, -0.5, 5.6, 1, 1, {"latency_p50_ms"}, 3),
        (1, 0.0, 1, 10.6, 1, {"latency_p90_ms"}, 3),
        (1, 0.0, 1, 1, 201, {"peak_memory_mb"}, 3),
        (26, 0.5, 9, 99, 999, {row.name for row in judge(ALL, size_mb=0, metric=metric(), latency=None)}, 4),
    ],
)
def test_a_limit_is_missed_only_above_it(
    size: float, drop: float, p50: float, p90: float, memory: float, failed: set[str], code: int
):
    rows = judge(ALL, size_mb=size, metric=metric(drop), latency=latency(p50, p90, memory))
    assert {row.name for row in rows if row.verdict == "fail"} == failed
    assert exit_code(rows) == code
    assert overall(rows) == ("fail" if failed else "pass")


def test_an_unmeasured_target_is_not_measured_where_it_would_have_to_be():
    rows = judge(ALL, size_mb=20, metric=metric(), latency=None)
    assert [row.verdict for row in rows] == ["pass", "pass", "not_measured", "not_measured", "not_measured"]
    assert overall(rows) == "inconclusive"
    assert exit_code(rows) == 7


def test_too_few_samples_are_inconclusive():
    rows = judge(ALL, size_mb=20, metric=metric(), latency=latency(p90=None, memory=None))
    assert [row.verdict for row in rows] == ["pass", "pass", "pass", "inconclusive", "inconclusive"]
    assert exit_code(rows) == 7


def test_an_unmeasured_target_may_still_fail_what_was_measured():
    rows = judge(ALL, size_mb=30, metric=metric(), latency=None)
    assert (overall(rows), exit_code(rows)) == ("fail", 3)


@given(
    st.lists(st.builds(row, st.sampled_from(["size_mb", "metric_drop", "latency_p90_ms"]), st.sampled_from(VERDICTS)))
)
def test_exit_code_and_verdict_agree(rows: list[BudgetRow]):
    expected = {0: "pass", 3: "fail", 4: "fail", 7: "inconclusive"}
    assert overall(rows) == expected[exit_code(rows)]

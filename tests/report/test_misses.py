from edgeprune.report.misses import misses
from tests.support.reports import budget


def test_a_budget_inside_its_interval_is_a_sentence_with_both_ends() -> None:
    (row,) = [budget("latency_p90_ms", "inconclusive", 25.0)]
    (sentence,) = misses([row.model_copy(update={"interval": (24.5, 25.5)})], "cpu-x86-avx2")
    assert sentence == (
        "latency_p90_ms is between 24.5 and 25.5 ms, which is too close to the budget of cpu-x86-avx2, 25 ms; measure on a quieter "
        "machine or with more processes"
    )


def test_every_missed_budget_is_a_sentence() -> None:
    rows = [
        budget("size_mb", "fail", 30.0),
        budget("metric_drop", "pass", 0.0),
        budget("latency_p50_ms", "inconclusive", None),
        budget("latency_p90_ms", "not_measured", None),
    ]
    assert misses(rows, "cpu-x86-avx2") == [
        "size_mb is 30 MB, but the budget of cpu-x86-avx2 is 25 MB",
        "latency_p50_ms could not be judged: an interval needs at least 7 processes and enough samples; take more of both",
        "latency_p90_ms was not measured; the budget of cpu-x86-avx2 is 25 ms",
    ]

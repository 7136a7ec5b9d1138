import json
from typing import Any

from edgeprune.report.benchmark_action import benchmark_action
from edgeprune.report.records import BuildReport
from edgeprune.store.records import Metric
from tests.support.reports import latency, report, stage


def figures(*reports: BuildReport) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(benchmark_action(reports))}


def test_it_is_what_custom_smaller_is_better_reads() -> None:
    """Its reader takes name, unit and value, and shows range and extra: all but the value are texts."""
    others = {"p99_ms": 5.0, "text_p90_ms": 4.5, "cold_start_ms": 300.0, "download_mb": 30.0}
    final = latency("final", 2.0, p50_interval_ms=(1.95, 2.07), mean_ms=2.2, **others)
    found = figures(report(latency=[latency("dense-fp32", 8.0), final]))
    assert {
        name.removeprefix("reviews for cpu-x86-avx2: "): (one["value"], one["unit"]) for name, one in found.items()
    } == {
        "package size": (11.25, "MB"),
        "distance of accuracy from 1": (10.5, "points"),
        "latency mean": (2.2, "ms"),
        "latency p50": (2.0, "ms"),
        "latency p90": (4.0, "ms"),
        "latency p99": (5.0, "ms"),
        "latency p90 from input to answer": (4.5, "ms"),
        "cold start": (300.0, "ms"),
        "peak memory": (120.0, "MB"),
        "download": (30.0, "MB"),
    }
    assert found["reviews for cpu-x86-avx2: latency p50"]["range"] == "[1.95, 2.07]"
    assert "range" not in found["reviews for cpu-x86-avx2: latency p90"]
    for one in found.values():
        assert one.keys() <= {"name", "unit", "value", "range", "extra"}
        assert all(isinstance(value, float if name == "value" else str) for name, value in one.items())
        assert one["extra"].startswith("reviews 1.4.0: 4 times as fast")


def test_names_stay_the_same_in_the_next_release_and_tell_targets_apart() -> None:
    first, second, other = report(), report(release="1.5.0"), report(target="web")
    assert [*figures(first)] == [*figures(second)]
    assert len(figures(first, other)) == 2 * len(figures(first))


def test_what_was_not_measured_is_left_out_and_another_metric_has_its_own_unit() -> None:
    metric = Metric(name="spearman", value=0.8, samples=100)
    found = figures(report(latency=[], stages=[stage("package", 1, metric=metric)]))
    assert [*found] == [
        "reviews for cpu-x86-avx2: package size",
        "reviews for cpu-x86-avx2: distance of Spearman's rho from 1",
    ]
    assert found["reviews for cpu-x86-avx2: distance of Spearman's rho from 1"]["unit"] == "of 1"

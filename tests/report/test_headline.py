from typing import Any

import pytest

from edgeprune.cascade.records import CascadeRow, PromiseRow, SplitRow
from edgeprune.report.headline import build_labels, headline, try_commands
from edgeprune.report.records import BuildReport
from edgeprune.store.records import Metric
from tests.support.reports import full_report, latency, report, stage


def package(made: BuildReport, **changes: Any) -> dict[str, Any]:
    return {"package": made.package.model_copy(update=changes)}


def test_it_says_what_was_gained_what_it_cost_and_where() -> None:
    assert headline(full_report()) == (
        "6.7 times as fast (8.3 → 1.24 ms), 5 times as small (90.9 → 18.2 MB), accuracy -0.8 points [-1.8, +0.2], on Some CPU"
    )


@pytest.mark.parametrize(
    ("final", "words"),
    [
        (10.8, "slower: it takes 1.3 times as long (8.3 → 10.8 ms)"),
        (8.2, "as fast as before (8.3 → 8.2 ms)"),
        (7.9, "1.05 times as fast (8.3 → 7.9 ms)"),
    ],
)
def test_a_package_that_is_slower_or_the_same_is_said_to_be(final: float, words: str) -> None:
    assert headline(report(latency=[latency("dense-fp32", 8.3), latency("final", final)])).startswith(f"{words}, ")


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (99_000_000, "1.1 times as large (90 → 99 MB)"),
        (90_900_000, "as large as before (90 → 90.9 MB)"),
    ],
)
def test_a_package_that_is_larger_or_the_same_is_said_to_be(size_bytes: int, words: str) -> None:
    assert f", {words}, " in headline(report(**package(report(), size_bytes=size_bytes)))


def test_what_was_not_measured_is_left_out() -> None:
    nothing = report(latency=[], device=None, stages=[stage("package", 0, 0.9)])
    assert headline(nothing) == "for cpu-x86-avx2 (no time was measured)"
    unknown = latency("final", None)
    assert headline(report(latency=[latency("dense-fp32", 8.0), unknown])).startswith("8 times as small")


def test_with_a_first_stage_the_mean_and_p90_are_said_before_the_median() -> None:
    rows = [
        latency("dense-fp32", 8.0).model_copy(update={"mean_ms": 10.0, "p90_ms": 20.0}),
        latency("final", 0.1).model_copy(update={"mean_ms": 1.0, "p90_ms": 4.0}),
    ]
    split = SplitRow(rows=100, answered=0.7, lost=0.0)
    promise = PromiseRow(limit=0.005, confidence=0.95)
    row = CascadeRow(than_encoder=promise, than_dense=None, threshold=1.0, selection=split, test=split)
    said = (
        "10 times as fast (10 → 1 ms) on the mean, 5 times as fast (20 → 4 ms) at p90, 80 times as fast (8 → 0.1 ms) at the "
        "median, "
    )
    assert headline(report(latency=rows, cascade=row)).startswith(said)
    half = row.model_copy(update={"test": split.model_copy(update={"answered": 0.55})})
    assert headline(report(latency=rows, cascade=half)).startswith(
        said.removesuffix(", 80 times as fast (8 → 0.1 ms) at the median, ") + ", 8 times as small"
    )
    idle = row.model_copy(update={"threshold": None, "test": split.model_copy(update={"answered": 0.0})})
    assert headline(report(latency=rows, cascade=idle)).startswith("80 times as fast (8 → 0.1 ms), ")


def test_a_metric_that_is_no_share_has_no_points() -> None:
    metric = Metric(name="cosine_to_dense", value=0.98, samples=100, drop=0.02, drop_interval=(0.0195, 0.0215))
    assert "cosine to the dense model -0.0200 [-0.0215, -0.0195]" in headline(
        report(stages=[stage("package", 1, 0.98, metric=metric)])
    )


def test_the_commands_can_be_typed_as_they_are() -> None:
    made = report(**package(report(), path="dist/my model", try_with=("What is it?", "It's a cat.")))
    assert try_commands(made) == (
        "python 'dist/my model'/run.py 'What is it?' 'It'\"'\"'s a cat.'",
        "edgeprune verify 'dist/my model'",
    )


def test_builds_of_one_target_are_told_apart() -> None:
    assert build_labels([report(), report(target="web")]) == ["cpu-x86-avx2", "web"]
    again = report(release="2")
    assert build_labels([report(), again]) == ["reviews 1.4.0, cpu-x86-avx2", "reviews 2, cpu-x86-avx2"]
    assert build_labels([again, again]) == ["(1) reviews 2, cpu-x86-avx2", "(2) reviews 2, cpu-x86-avx2"]

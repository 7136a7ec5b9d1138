from typing import Any

import pytest

from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.report.step_summary import step_summary, step_summary_of_error
from tests.support.reports import budget, latency, report, stage

HOSTILE = "a|b\n## <img src=x> [link](y) `code`"
SHOWN = r"a\|b \#\# \<img src=x\> \[link\](y) \`code\`"


def regression(**changes: Any) -> BudgetRow:
    row = BudgetRow(name="regression", limit=1.05, value=0.97, interval=(0.95, 0.99), verdict="pass")
    return row.model_copy(update=changes)


def test_it_has_the_headline_the_budgets_and_the_figures() -> None:
    final = latency("final", 2.0, p50_interval_ms=(1.95, 2.07))
    lines = step_summary(report(latency=[latency("dense-fp32", 8.0), final])).splitlines()
    assert lines[0] == "## reviews 1.4.0 for cpu-x86-avx2: ✗ fail"
    assert lines[2].startswith("4 times as fast (8 → 2 ms), 8 times as small (90 → 11.2 MB), accuracy -1.5 points")
    assert "- latency_p90_ms is 26 ms, but the budget of cpu-x86-avx2 is 25 ms" in lines
    assert "| latency_p90_ms | 25 ms | 26 ms |  | ✗ fail |" in lines
    assert "| size_mb | 25 MB | 11.25 MB |  | ✓ pass |" in lines
    assert [line for line in lines if line.startswith(("|  |", "| p50", "| p90", "| size |", "| accuracy"))] == [
        "|  | dense model | package |",
        "| p50 ms | 8 | 2 [1.95, 2.07] |",
        "| p90 ms | 16 | 4 |",
        "| size | 90.0 MB | 11.2 MB |",
        "| accuracy | 91.0% | 89.5% |",
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (regression(), "the package is faster. The package takes 0.97 times as long [0.95, 0.99]."),
        (
            regression(value=1.2, interval=(1.1, 1.3)),
            "the package is slower. The package takes 1.2 times as long [1.1, 1.3].",
        ),
        (
            regression(interval=(0.9, 1.1)),
            "it can’t be told which is faster. The package takes 0.97 times as long [0.9, 1.1].",
        ),
        (regression(interval=None), "it can’t be told which is faster. The package takes 0.97 times as long."),
    ],
)
def test_the_change_against_a_baseline_is_that_of_runs_by_turns(row: BudgetRow, words: str) -> None:
    assert f"\n\nAgainst the baseline, timed by turns: {words}\n" in step_summary(report(budget=[row]))


def test_without_a_measured_baseline_there_is_no_change() -> None:
    assert "Against" not in step_summary(report())
    assert "Against" not in step_summary(report(budget=[regression(value=None, interval=None, verdict="not_measured")]))


def test_the_baselines_own_build_has_a_column_but_for_times_of_another_day() -> None:
    old = report(release="1.3.0", stages=[stage("package", 1, 0.88, 0.03)])
    lines = step_summary(report(budget=[regression()]), old).splitlines()
    assert "|  | dense model | package | baseline (1.3.0) |" in lines
    assert "| p50 ms | 8 | 2 | – |" in lines
    assert "| accuracy | 91.0% | 89.5% | 88.0% |" in lines


def test_what_was_not_measured_is_left_out() -> None:
    nothing = step_summary(report(latency=[], device=None, budget=[], stages=[stage("package", 0, 0.9)]))
    assert "| budget |" not in nothing
    assert "p50" not in nothing
    assert "No time was measured on cpu-x86-avx2." in nothing


def test_names_and_notes_are_shown_as_they_are() -> None:
    rows = [budget(f"min_recall.{HOSTILE}", "fail", 0.1)]
    text = step_summary(report(budget=rows, notes=[HOSTILE]))
    assert f"| min_recall.{SHOWN} | 25 | 0.1 |  | ✗ fail |" in text.splitlines()
    assert f"- {SHOWN}" in text.splitlines()
    assert HOSTILE not in text
    assert step_summary_of_error(HOSTILE) == f"## edgeprune: ✗ no package\n\n{SHOWN}\n"

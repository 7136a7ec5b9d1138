import dataclasses
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from edgeprune.base import events
from edgeprune.benchmark.records import EmulationRow
from edgeprune.cli.budgets import print_budgets
from edgeprune.cli.progress import EventRenderer
from edgeprune.cli.render import print_comparison, print_inspection, print_report
from edgeprune.models.sizes import Inspection, PartRow
from tests.support.reports import budget, frontier, full_report, narrowed_frontier, report


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200, highlight=False, color_system=None)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def rendered(*sequence: events.Event, stages: int = 8, terminal: bool = False) -> str:
    shown = console(terminal=terminal)
    with EventRenderer(shown, stages=stages) as renderer:
        for event in sequence:
            renderer(event)
    return text_of(shown)


STARTED = events.StageStarted("prune", 1, "abc")
FINISHED = events.StageFinished("prune", 1, "abc", cached=False, duration_s=1.54)


def test_without_a_terminal_a_stage_gives_a_line_when_it_starts_and_one_when_it_ends():
    shown = rendered(
        events.StageStarted("prepare", 0, "abc"),
        events.Progress("prepare", 0, 1, 10, "steps"),
        events.Progress("prepare", 0, 2, 10, "steps"),
        events.StageFinished("prepare", 0, "abc", cached=False, duration_s=1.54),
        STARTED,
        FINISHED,
    )
    assert shown.splitlines() == [
        "[1/8] prepare …",
        "[1/8] prepare: 1.5 s",
        "[2/8] prune 1 …",
        "[2/8] prune 1: 1.5 s",
    ]


def test_without_a_terminal_nothing_but_text_is_written():
    shown = rendered(STARTED, events.Progress("prune", 1, 1, 2, "batches"), FINISHED, events.Note("careful"))
    assert "\x1b" not in shown
    assert "\r" not in shown


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.StageFinished("prune", 1, "abc", cached=True, duration_s=9.0), "[1/8] prune 1: from the store"),
        (events.StageWaiting("prune", 1, "abc"), "[1/8] prune 1: another build is making it; waiting"),
        (events.Note("careful"), "warning: careful"),
        (events.Note("by the way", level="info"), "info: by the way"),
        (events.Note("see [a, b] and [/tmp/x]"), "warning: see [a, b] and [/tmp/x]"),
    ],
)
def test_an_event_is_one_line(event: events.Event, line: str):
    assert rendered(event).splitlines() == [line]


def test_a_terminal_has_a_bar_that_leaves_the_results():
    shown = rendered(STARTED, events.Progress("prune", 1, 3, 10, "batches"), FINISHED, terminal=True)
    assert "batches" in shown
    assert "[1/8] prune 1: 1.5 s" in shown


def test_the_report_has_a_row_a_stage():
    shown = console()
    print_report(shown, report())
    lines = text_of(shown).splitlines()
    assert lines[0].strip() == "reviews 1.4.0 for cpu-x86-avx2 (structured)"
    rows = {line.split("  ")[0]: line.split() for line in lines[1:]}
    assert rows["prepare (dense)"][2:] == ["22.71", "M", "90.0", "0.9100", "store", "512"]
    assert rows["export (dense)"][2:] == ["22.71", "M", "90.0", "8.00", "16.00", "12.3", "512"]
    assert rows["finetune 1"][5:] == ["0.9000", "+0.0100", "[+0.000,", "+0.020]", "12.3", "512"]
    assert rows["quantize 1"][5:] == ["0.8950", "+0.0150", "[+0.005,", "+0.025]", "2.00", "4.00", "12.3", "512"]
    assert rows["TF-IDF + linear model"][-1] == "0.7100"
    assert rows["size_mb"] == ["size_mb", "25", "MB", "11.25", "MB", "pass"]
    assert rows["latency_p90_ms"] == ["latency_p90_ms", "25", "ms", "26", "ms", "fail"]
    last = next(place for place, line in enumerate(lines) if line.startswith("TF-IDF"))
    assert lines[last + 1 : last + 6] == [
        "",
        "4 times as fast (8 → 2 ms), 8 times as small (90 → 11.2 MB), accuracy -1.5 points [-2.5, -0.5], on Some CPU",
        "dist/reviews  11.2 MB",
        "python dist/reviews/run.py",
        "edgeprune verify dist/reviews",
    ]


def test_the_page_is_named_last_where_there_is_one():
    for show in (print_report, lambda shown, made, page: print_comparison(shown, [made], page)):
        shown = console()
        show(shown, report(), Path("dist/reviews.report.html"))
        assert text_of(shown).splitlines()[-1] == "dist/reviews.report.html  what was found, as a page to read"


def test_a_report_without_measurement_linear_model_or_budget_is_shown_too():
    shown = console()
    print_report(shown, report(device=None, latency=[], linear=None, budget=[]))
    assert "budget" not in text_of(shown)
    assert "TF-IDF" not in text_of(shown)
    assert "quantize 1" in text_of(shown)


def test_a_packages_path_is_shown_as_it_is():
    shown = console()
    path = "dist [new]/[/b]" + "x" * 300
    print_report(shown, report(package=report().package.model_copy(update={"path": path})))
    assert f"{path}  11.2 MB" in text_of(shown)


def test_targets_stand_side_by_side():
    shown = console()
    unmeasured = report(target="raspberry-pi-4", device=None, latency=[], verdict="inconclusive", exit_code=7)
    print_comparison(shown, [report(), unmeasured])
    header, first, second = text_of(shown).splitlines()
    assert header.split()[:4] == ["target", "metric", "drop", "MB"]
    assert first.split() == [
        "cpu-x86-avx2",
        "0.8950",
        "+0.0150",
        "11.2",
        "2.00",
        "4.00",
        "4.0x",
        "fail",
        "3",
        "Some",
        "CPU",
    ]
    assert second.split() == [
        *("raspberry-pi-4", "0.8950", "+0.0150", "11.2", "not", "measured", "not", "measured", "inconclusive", "7"),
    ]


def test_budgets_have_units_and_verdicts_have_colours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    rows = [
        budget("latency_p90_ms", "fail", 30.123456),
        budget("metric_drop", "pass", 0.001),
        budget("size_mb", "not_measured", None),
    ]

    def shown(*, terminal: bool) -> str:
        console = Console(file=io.StringIO(), force_terminal=terminal, color_system="standard" if terminal else "auto")
        print_budgets(console, rows)
        return text_of(console)

    plain, coloured = shown(terminal=False), shown(terminal=True)
    assert "\x1b" not in plain
    assert plain.splitlines()[1].split() == ["latency_p90_ms", "25", "ms", "30.12", "ms", "fail"]
    assert plain.splitlines()[3].split() == ["size_mb", "25", "MB", "–", "not_measured"]
    verdicts = {word: code for code, word in re.findall(r"\x1b\[([\d;]+)m(pass|fail|not_measured)", coloured)}
    assert verdicts == {"fail": "1;31", "pass": "32", "not_measured": "33"}
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.findall(r"\x1b\[[\d;]*3\d", shown(terminal=True))


@pytest.mark.parametrize("pruned", [True, False])
def test_an_inspection_has_a_row_a_part(pruned: bool):
    part = PartRow(
        part="layer 0 attention",
        heads=6,
        dense_heads=12,
        parameters=1_000,
        dense_parameters=2_000,
        multiply_adds=3_000_000,
        dense_multiply_adds=6_000_000,
    )
    total = part.model_copy(update={"part": "all", "heads": None, "dense_heads": None})
    shown = console()
    found = Inspection(
        model="m", architecture="bert", tokens=128, pruned=pruned, hidden_size=256 if pruned else 384, dense_hidden_size=384,
        embedding_rank=128 if pruned else None, parts=[part], total=total,
    )  # fmt: skip
    print_inspection(shown, found)
    lines = text_of(shown).splitlines()
    left = ", hidden size 256 of 384, token embedding of rank 128" if pruned else ""
    assert lines[0].strip() == f"m: bert, one text of 128 tokens{left}"
    units = ["6", "of", "12", "heads"] if pruned else ["6", "heads"]
    dense = ["2,000", "6.0"] if pruned else []
    assert lines[2].split() == ["layer", "0", "attention", *units, "1,000", "3.0", *dense]
    assert lines[3].split() == ["all", "1,000", "3.0", *dense]


def test_on_a_narrow_terminal_the_columns_that_do_not_fit_stand_below_with_the_first_again():
    shown = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    print_report(shown, report())
    lines = text_of(shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    cells = " ".join(lines).split()
    for row in ("12.3", "512", "[+0.005,", "+0.025]", "2.00", "4.00"):
        assert row in cells
    assert sum(line.startswith("quantize") for line in lines) == 2


def test_notes_stand_below_the_table():
    shown = console()
    print_report(shown, report(notes=["half of the weights are zero: no latency gain on dense kernels"]))
    assert "note: half of the weights are zero: no latency gain on dense kernels" in text_of(shown).splitlines()


def test_an_emulated_core_has_a_line_and_no_latency():
    shown = console()
    found = EmulationRow(
        core="cortex-a72",
        onnxruntime="1.31.1",
        max_error=0.00123,
        mean_error=0.0004,
        same_answers=0.875,
        rows=8,
        seconds=4.2,
    )
    print_report(shown, report(emulation=found))
    line = "emulated cortex-a72: 88% of 8 answers the same, largest difference 1.2e-03; not timed"
    assert line in text_of(shown).splitlines()


def test_a_search_is_shown_with_the_rung_that_is_shipped_and_its_stages_alone():
    made = full_report(frontier=frontier())
    others = [row.model_copy(update={"rung": "6x", "stage": "losses"}) for row in made.stages[:1]]
    ours = [row.model_copy(update={"rung": "4x", "stage": "shrink"}) for row in made.stages[:1]]
    made = made.model_copy(update={"stages": [*made.stages, *others, *ours]})
    shown = console()
    print_report(shown, made)
    text = text_of(shown)
    assert "shrink" in text
    assert "losses" not in text
    found = made.frontier
    assert found is not None
    for words in (found.reason, found.faster, found.more_accurate, "4x *"):
        assert words is not None
        assert words in text
    shown = console()
    print_comparison(shown, [made, report(target="web")])
    assert "4x: 3 layers, 36 heads, 1,536 neurons" in text_of(shown)
    assert found.reason in text_of(shown)


def test_hidden_sizes_of_a_search_are_shown_where_they_differ():
    shown = console()
    print_report(shown, full_report(frontier=narrowed_frontier()))
    rows = [line.split() for line in text_of(shown).splitlines() if line.strip().endswith(("yes", "no"))]
    assert [row[-2] for row in rows] == ["384"] * 4 + ["256"] * 4
    shown = console()
    print_comparison(shown, [full_report(frontier=narrowed_frontier())])
    assert "4x: 3 layers, 36 heads, 1,536 neurons, hidden size 256" in text_of(shown)
    shown = console()
    print_report(shown, full_report(frontier=frontier()))
    assert "hidden size" not in text_of(shown)


@pytest.mark.parametrize(("metric", "change"), [("accuracy", "(+0.5 points)"), ("cosine_to_dense", "(+0.0050)")])
def test_a_rung_has_a_line_with_what_is_left_to_do(metric: str, change: str):
    rung = events.RungFinished(
        rung="3x", predicted_p50_ms=0.42, p50_ms=0.4, metric_name=metric, metric=0.91, drop=-0.005, left="9 of 12 heads",
        why="kept", rungs_left=2, left_s=300,
    )  # fmt: skip
    assert rendered(rung).rstrip() == (
        f"3x: 0.40 ms (0.42 predicted), {metric} 0.9100 on selection {change}, 9 of 12 heads: kept; up to 2 more models, about "
        f"5 min"
    )
    last = dataclasses.replace(rung, rungs_left=0, p50_ms=None)
    assert rendered(last).rstrip().endswith("9 of 12 heads: kept; the search is decided")

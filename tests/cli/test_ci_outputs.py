"""What a build writes for CI systems, and where."""

import json
from pathlib import Path

import pytest
from junitparser import JUnitXml

from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.cli.ci_outputs import CiOutputs
from tests.support.e2e import Built, call
from tests.support.reports import report

MISS = "latency_p90_ms is 26 ms, but the budget of cpu-x86-avx2 is 25 ms"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in GitHub Actions themselves."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GitHub Actions runs the command; its summary's file."""
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


@pytest.fixture
def missed(tmp_path: Path) -> Path:
    """The build.json of a build that missed a budget."""
    path = tmp_path / "reviews.build.json"
    path.write_text(report().model_dump_json(), encoding="utf-8")
    return path


def test_a_miss_is_an_annotation_beside_a_whole_document(missed: Path, actions: Path) -> None:
    done = call("compare", missed, "--no-report", "--json")
    assert (done.code, done.document[0]["exit_code"]) == (3, 3)
    assert f"::error title=edgeprune%3A reviews for cpu-x86-avx2::{MISS}" in done.err.splitlines()
    assert done.complaints == [f"edgeprune: {MISS}"]
    assert "::error" not in done.out
    assert "## reviews 1.4.0 for cpu-x86-avx2: ✗ fail" in actions.read_text(encoding="utf-8").splitlines()


def test_outside_of_github_there_is_neither_annotation_nor_summary(missed: Path, tmp_path: Path) -> None:
    assert "::error" not in call("compare", missed, "--no-report").err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reviews.build.json"]


def test_a_summary_is_added_to_what_is_there(missed: Path, actions: Path) -> None:
    actions.write_text("from another command", encoding="utf-8")
    call("compare", missed, missed, "--no-report")
    text = actions.read_text(encoding="utf-8")
    assert text.startswith("from another command\n## reviews")
    assert text.count("\n## reviews") == 2


def test_a_summary_without_a_place_is_a_warning(missed: Path, actions: Path) -> None:
    actions.mkdir()
    done = call("compare", missed, "--no-report", "--json")
    assert (done.code, len(done.document)) == (3, 1)
    assert "warning: the step's summary could not be written to " in done.err


def test_files_are_written_into_folders_that_are_made(missed: Path, tmp_path: Path) -> None:
    junit, figures = tmp_path / "new" / "junit.xml", tmp_path / "other" / "figures.json"
    done = call("compare", missed, "--no-report", "--junit", junit, "--benchmark-json", figures)
    assert done.code == 3
    assert [suite.failures for suite in JUnitXml.fromfile(str(junit))] == [1]
    assert "reviews for cpu-x86-avx2: latency p50" in [
        one["name"] for one in json.loads(figures.read_text(encoding="utf-8"))
    ]


def test_a_build_that_ends_without_a_report_says_why_everywhere(tmp_path: Path, actions: Path) -> None:
    junit = tmp_path / "junit.xml"
    done = call("build", "./nowhere", "--data", "d.jsonl", "--junit", junit, "--json")
    why = "there is no folder ./nowhere; give a local folder, a hub id with @revision, or package:NAME/FOLDER"
    assert (done.code, done.document["error"]) == (2, why)
    (suite,) = JUnitXml.fromfile(str(junit))
    assert [case.result[0].message for case in suite] == [why]
    assert f"::error title=edgeprune::{why}" in done.err.splitlines()
    assert "there is no folder ./nowhere" in actions.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--junit", "."), 2, "--junit is a file to write, but . is a folder"),
        (("--junit", "x", "--benchmark-json", "x"), 2, "--junit and --benchmark-json are both x"),
        (("--benchmark-json", "/dev/null/x"), 2, "--benchmark-json is /dev/null/x, but /dev/null is no folder"),
        (
            ("--benchmark-json", "/proc/new/x"),
            8,
            "could not write /proc/new/x: No such file or directory; choose another",
        ),
        (("--junit", "x", "--plan"), 2, "--plan runs nothing, so there is nothing for --junit"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_built(
    flags: tuple[str, ...], code: int, message: str
) -> None:
    done = call("build", "./nowhere", "--data", "d.jsonl", *flags)
    assert done.code == code
    (complaint,) = done.complaints
    assert complaint.startswith(f"edgeprune: {message}")


@pytest.mark.parametrize("name", ["old", "old.tar.gz"])
def test_the_report_beside_a_baseline_is_shown(tmp_path: Path, actions: Path, name: str) -> None:
    row = BudgetRow(name="regression", limit=1.05, value=0.97, interval=(0.95, 0.99), verdict="pass")
    beside = tmp_path / "old.build.json"
    beside.write_text(report(release="1.3.0").model_dump_json(), encoding="utf-8")
    outputs = CiOutputs(None, None)
    outputs.read_baselines([tmp_path / name, None])
    beside.unlink()  # the new build took its place
    outputs.write([report(budget=[row]), report(target="web")])
    text = actions.read_text(encoding="utf-8")
    assert text.count("| baseline (1.3.0) |") == 1
    assert "the package is faster" in text


def test_a_report_beside_a_baseline_that_cannot_be_read_is_left_out(
    tmp_path: Path, actions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.build.json").write_text("{}", encoding="utf-8")
    outputs = CiOutputs(None, None)
    outputs.read_baselines([tmp_path / "old"])
    outputs.write([report()])
    assert "baseline" not in actions.read_text(encoding="utf-8")
    assert "warning: the step's summary has no column of the baseline: " in capsys.readouterr().err


def test_a_build_writes_all_of_it(built: Built, tmp_path: Path, actions: Path) -> None:
    junit, figures = tmp_path / "junit.xml", tmp_path / "figures.json"
    flags = ("--set", "target.budget.size_mb=0.001", "--junit", junit, "--benchmark-json", figures, "--json")
    done = built.again(*flags, output=tmp_path / "dist")
    assert (done.code, done.document["exit_code"]) == (3, 3)
    (suite,) = JUnitXml.fromfile(str(junit))
    verdicts = {row["name"]: row["verdict"] for row in done.document["budget"]}
    assert {case.name: "pass" if case.is_passed else case.result[0].type for case in suite} == verdicts
    assert verdicts["size_mb"] == "fail"
    sizes = [
        one["value"] for one in json.loads(figures.read_text(encoding="utf-8")) if one["name"].endswith("package size")
    ]
    assert sizes == [done.document["package"]["size_bytes"] / 1e6]
    assert "| size_mb | 0.001 MB |" in actions.read_text(encoding="utf-8")

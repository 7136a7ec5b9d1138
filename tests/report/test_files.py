import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.report.files import page_beside, read_build
from edgeprune.report.records import BuildReport
from tests.support.e2e import call
from tests.support.reports import full_report, report, samples_of

NAME = "reviews-1.4.0-cpu-x86-avx2"


def written(folder: Path, made: BuildReport | None = None, *, samples: bool = True, name: str = NAME) -> Path:
    """A build.json with its samples beside it, in a folder that is made."""
    folder.mkdir(exist_ok=True)
    made = made or full_report()
    path = folder / f"{name}.build.json"
    path.write_text(made.model_dump_json(), encoding="utf-8")
    if samples:
        lines = [
            json.dumps({"process": number, "kind": "samples", "name": artifact, "ns": [round(1e6 * ms) for ms in runs]})
            for artifact, processes in samples_of(made).items()
            for number, runs in enumerate(processes)
        ]
        other = json.dumps({"kind": "conditions", "moment": "before"})
        (folder / f"{name}.benchmark.jsonl").write_text("\n".join([other, *lines]) + "\n", encoding="utf-8")
    return path


def test_the_samples_beside_a_build_are_read_with_it(tmp_path: Path) -> None:
    build = read_build(written(tmp_path))
    assert build.report == full_report()
    assert {name: sum(map(len, processes)) for name, processes in build.samples.items()} == {
        "dense-fp32": 100, "dense": 100, "final": 100,
    }  # fmt: skip
    assert build.samples["final"][0][0] == pytest.approx(0.8 * 1.24, abs=1e-5)
    assert read_build(written(tmp_path / "alone", samples=False)).samples == {}


def test_the_samples_of_another_build_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    path = written(tmp_path)
    beside = path.with_name(f"{NAME}.benchmark.jsonl")
    beside.write_text("".join(beside.read_text().splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert read_build(path).samples == {}


def test_a_page_goes_beside_the_first_build(tmp_path: Path) -> None:
    one, other = tmp_path / "a-0-x.build.json", Path("elsewhere") / "b-0-y.build.json"
    assert page_beside([one]) == tmp_path / "a-0-x.report.html"
    assert page_beside([Path("saved.json")]) == Path("saved.report.html")
    assert page_beside([other, one]) == Path("elsewhere") / "comparison.report.html"


def test_report_writes_a_page_and_names_it(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one"), written(tmp_path / "other", report(target="web"), name="web")
    done = call("report", one)
    page = one.with_name(f"{NAME}.report.html")
    assert (done.code, done.out, done.err) == (0, f"{page}\n", "")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    asked = tmp_path / "new" / "both.html"
    assert call("report", one, other, "--output", asked).code == 0
    assert "2 builds side by side" in asked.read_text(encoding="utf-8")


def test_compare_writes_the_page_about_all_unless_told_not_to(tmp_path: Path) -> None:
    builds = written(tmp_path, full_report()), written(tmp_path, report(target="web"), name="web")
    page = tmp_path / "comparison.report.html"
    assert call("compare", *builds, "--no-report").code == 3
    assert not page.exists()
    done = call("compare", *builds)
    assert done.out.splitlines()[-1].startswith(str(page))
    assert "2 builds side by side" in page.read_text(encoding="utf-8")
    assert json.loads(call("compare", *builds, "--json").out)


def no_build(folder: Path) -> tuple[list[object], str]:
    path = folder / "x.build.json"
    path.write_text('{"schema_version": 1}', encoding="utf-8")
    return [path], "is not a build.json: name: Field required"


def no_json(folder: Path) -> tuple[list[object], str]:
    path = folder / "x.build.json"
    path.write_bytes(b"\xff\xfe\x00")
    return [path], "x.build.json can't be read"


def another_schema(folder: Path) -> tuple[list[object], str]:
    path = written(folder)
    path.write_text(path.read_text().replace('"schema_version":1', '"schema_version":2', 1), encoding="utf-8")
    return [path], "has another schema_version than 1; read it with the version of edgeprune that wrote it"


def no_rung_shipped(folder: Path) -> tuple[list[object], str]:
    path = written(folder)
    path.write_text(path.read_text().replace('"shipped":"4x"', '"shipped":"5x"'), encoding="utf-8")
    return [path], "shipped should name one of the rungs, whose names differ; it is '5x'"


def no_samples(folder: Path) -> tuple[list[object], str]:
    path = written(folder)
    path.with_name(f"{NAME}.benchmark.jsonl").write_text('{"kind": "samples", "name": "final"}\n', encoding="utf-8")
    return [path], "benchmark.jsonl doesn't hold a benchmark's samples; move it away"


def a_folder(folder: Path) -> tuple[list[object], str]:
    return [written(folder), "--output", folder], "is a folder; give the file that the page is written to"


def the_build_itself(folder: Path) -> tuple[list[object], str]:
    path = written(folder)
    return [path, "--output", path], "the page is HTML, so its file should end in .html, got "


@pytest.mark.parametrize(
    "case", [no_build, no_json, another_schema, no_rung_shipped, no_samples, a_folder, the_build_itself]
)
def test_what_is_no_build_or_no_place_for_a_page_is_one_sentence(
    tmp_path: Path, case: Callable[[Path], tuple[list[object], str]]
) -> None:
    arguments, sentence = case(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = call("report", *arguments)
    assert done.code == 2
    (complaint,) = done.complaints
    assert sentence in complaint
    assert len(done.err.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_that_is_not_there_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    missing = call("report", tmp_path / "x.build.json")
    assert (missing.code, len(missing.complaints)) == (2, 1)
    assert "can't be read" in missing.complaints[0]
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    blocked = call("report", written(tmp_path), "--output", tmp_path / "file" / "page.html")
    assert blocked.code == 8
    assert blocked.complaints[0].startswith("edgeprune: could not write the page ")
    assert blocked.complaints[0].endswith("or leave the page out (--no-report)")

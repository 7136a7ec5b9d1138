"""action.yml: linted, and its scripts run here with stand-ins."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.e2e import call
from tests.support.workflows import calls, fits_schema, lint, repository, run_script, write_stand_in

CHECKOUT = Path(__file__).parent.parent
TEXT = (CHECKOUT / "action.yml").read_text(encoding="utf-8")
ACTION: dict[str, Any] = yaml.safe_load(TEXT)
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
SHA = "0123456789abcdef"


def script(name: str) -> str:
    (found,) = (step["run"] for step in STEPS if step.get("name") == name)
    return str(found)


def workflow(**given: str) -> dict[str, Any]:
    uses = {"uses": "./", "id": "package", "with": given}
    shown = {"run": 'echo "$VERDICT"', "env": {"VERDICT": "${{ steps.package.outputs.verdict }}"}}
    return {"on": "push", "jobs": {"package": {"runs-on": "ubuntu-24.04-arm", "steps": [uses, shown]}}}


def test_it_is_an_action_that_workflows_can_use(tmp_path: Path) -> None:
    assert fits_schema(CHECKOUT / "action.yml", "vendor.github-actions") == ""
    given = {"model": "./m", "data": "d.jsonl", "target": "neoverse-n2", "args": "--set seed=1"}
    assert lint(repository(tmp_path / "right", workflow(**given), action_yml=TEXT)) == ""
    assert 'input "targte" is not defined' in lint(
        repository(tmp_path / "wrong", workflow(targte="x"), action_yml=TEXT)
    )


def test_its_steps_would_be_right_in_a_workflow(tmp_path: Path) -> None:
    """actionlint reads scripts and expressions of workflows alone, so that they are put into one."""
    inputs = {name: {**one, "type": "string"} for name, one in ACTION["inputs"].items()}
    outputs = {name: one["value"] for name, one in ACTION["outputs"].items()}
    jobs = {"package": {"runs-on": "ubuntu-24.04", "outputs": outputs, "steps": STEPS}}
    found = repository(tmp_path, {"on": {"workflow_call": {"inputs": inputs}}, "jobs": jobs})
    assert lint(found) == ""
    found.write_text(
        found.read_text(encoding="utf-8").replace("inputs.cache-key", "inputs.cache-kye"), encoding="utf-8"
    )
    assert "cache-kye" in lint(found)


def test_no_input_is_part_of_a_script() -> None:
    """It would be run as code."""
    assert all("${{" not in step.get("run", "") for step in STEPS)


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A folder with an edgeprune that notes how it is called, and the Python of the installed one."""
    write_stand_in(tmp_path / "bin" / "edgeprune")
    (tmp_path / "edgeprune" / "bin").mkdir(parents=True)
    (tmp_path / "edgeprune" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def build(runner: Path, **given: str) -> "tuple[int, dict[str, str]]":
    """Run the step that builds; its exit code and outputs."""
    inputs = dict.fromkeys(("MODEL", "DATA", "TEST_DATA", "PIPELINE", "TARGET", "RELEASE", "BASELINE", "ARGS"), "")
    (runner / "output").touch()
    done = run_script(
        script("Build"), runner, RUNNER_TEMP=str(runner), GITHUB_OUTPUT=str(runner / "output"), GITHUB_SHA=SHA,
        **{"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main", **inputs, **given},
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, dict(line.split("=", 1) for line in (runner / "output").read_text().splitlines())


def document(verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "package": {"path": "dist/m-1-host"}}


FILES = ["--output", "dist", "--junit", "dist/junit.xml", "--benchmark-json", "dist/benchmark.json"]


def test_a_build_without_inputs_is_that_of_the_project_file(runner: Path) -> None:
    assert build(runner, SAYS=json.dumps(document("pass"))) == (0, {"verdict": "pass", "package": "dist/m-1-host"})
    assert calls(runner) == [["edgeprune", "build", "--json", "--release", "01234567", *FILES]]


def test_every_input_is_given_as_it_was_written(runner: Path) -> None:
    given = {
        "MODEL": "./my model", "DATA": "a $(touch x).jsonl", "TEST_DATA": "t", "PIPELINE": "fit", "TARGET": "host", "BASELINE": "old",
        "RELEASE": "2.0", "ARGS": "--set 'target.budget={size_mb: 3}' --no-report\n--seed \"$HOME\"",
    }  # fmt: skip
    assert build(runner, SAYS=json.dumps(document("fail")), ENDS="3", **given)[0] == 3
    assert calls(runner) == [
        [
            "edgeprune", "build", "--json", "--release", "2.0", *FILES, "--data", "a $(touch x).jsonl", "--test-data", "t",
            "--pipeline", "fit", "--target", "host", "--baseline", "old",
            "--set", "target.budget={size_mb: 3}", "--no-report", "--seed", "$HOME", "--", "./my model",
        ]
    ]  # fmt: skip
    assert not (runner / "x").exists()


def test_a_tag_is_a_release(runner: Path) -> None:
    build(runner, SAYS=json.dumps(document("pass")), GITHUB_REF_TYPE="tag", GITHUB_REF_NAME="v1.4.0")
    assert calls(runner)[0][3:5] == ["--release", "1.4.0"]


@pytest.mark.parametrize(
    ("said", "verdict", "package"),
    [
        ([document("pass"), document("inconclusive")], "inconclusive", "dist/m-1-host"),
        ([document("inconclusive"), document("fail")], "fail", "dist/m-1-host"),
        ({"schema_version": 1, "exit_code": 2, "error": "there is no folder ./m"}, "", ""),
    ],
)
def test_the_outputs_are_those_of_the_document(runner: Path, said: Any, verdict: str, package: str) -> None:
    assert build(runner, SAYS=json.dumps(said), ENDS="7") == (7, {"verdict": verdict, "package": package})


def test_arguments_that_are_not_quoted_right_stop_the_step(runner: Path) -> None:
    done = run_script(script("Build"), runner, RUNNER_TEMP=str(runner), ARGS="--set 'x", RELEASE="1", DATA="", TEST_DATA="",
                      PIPELINE="", TARGET="", BASELINE="", MODEL="")  # fmt: skip
    assert done.returncode != 0
    assert "No closing quotation" in done.stderr
    assert not (runner / "calls").exists()


def test_a_real_edgeprune_takes_what_it_is_given(runner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(runner, MODEL="./nowhere", DATA="d.jsonl", TARGET="neoverse-n2", SAYS=json.dumps(document("pass")))
    monkeypatch.chdir(runner)
    done = call(*calls(runner)[0][1:])
    assert (done.code, done.document["error"][:29]) == (2, "there is no folder ./nowhere;")
    assert (runner / "dist" / "junit.xml").is_file()


def test_it_installs_itself_with_pinned_versions_and_is_found_later(tmp_path: Path) -> None:
    write_stand_in(tmp_path / "bin" / "python")
    write_stand_in(tmp_path / "edgeprune" / "bin" / "python")
    (tmp_path / "path").touch()
    done = run_script(
        script("Install edgeprune"), tmp_path, PYTHON=str(tmp_path / "bin" / "python"), RUNNER_TEMP=str(tmp_path),
        GITHUB_ACTION_PATH=str(CHECKOUT), GITHUB_PATH=str(tmp_path / "path"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path) == [
        ["python", "-m", "venv", str(tmp_path / "edgeprune")],
        ["python", "-m", "pip", "install", "-q", "-c", str(CHECKOUT / "constraints.txt"), str(CHECKOUT)],
    ]
    assert Path(calls(tmp_path)[1][6]).is_file()
    assert (tmp_path / "path").read_text(encoding="utf-8") == f"{tmp_path / 'edgeprune' / 'bin'}{os.linesep}"


def test_the_store_is_tidied_by_a_command_that_there_is(runner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_script(script("Tidy the store"), runner).returncode == 0
    monkeypatch.chdir(runner)
    assert call(*calls(runner)[0][1:]).code == 0

"""edgeprune ci init: workflows that the systems' linters accept, and whose scripts run."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.e2e import call
from tests.support.workflows import calls, fits_schema, lint, run_script, write_stand_in

PROJECT = {
    "schema_version": 1,
    "model": "./model",
    "data": {"train": "data.jsonl"},
    "targets": ["cpu-x86-avx2", "neoverse-n2"],
}
GITHUB, GITLAB = Path(".github/workflows/edgeprune.yml"), Path(".gitlab-ci.yml")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project of two targets."""
    monkeypatch.chdir(tmp_path)
    write(PROJECT)
    return tmp_path


def write(content: dict[str, Any]) -> None:
    Path("edgeprune.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML


def init(*arguments: str) -> Any:
    done = call("ci", "init", *arguments)
    assert done.code == 0, done.err
    return yaml.safe_load(Path(done.out.strip()).read_text(encoding="utf-8"))


def test_github_has_a_job_for_each_target_on_a_machine_of_its_kind(project: Path) -> None:
    Path(".git").mkdir()
    content = init("github")
    job = content["jobs"]["package"]
    assert job["strategy"]["matrix"]["include"] == [
        {"name": "cpu-x86-avx2", "target": "cpu-x86-avx2", "runs-on": "ubuntu-24.04"},
        {"name": "neoverse-n2", "target": "neoverse-n2", "runs-on": "ubuntu-24.04-arm"},
    ]
    assert lint(project / GITHUB) == ""
    assert fits_schema(GITHUB, "vendor.github-workflows") == ""


def test_gitlab_has_a_job_for_each_target_on_a_machine_of_its_kind() -> None:
    content = init("gitlab")
    assert fits_schema(GITLAB, "vendor.gitlab-ci") == ""
    assert content["edgeprune-cpu-x86-avx2"] == {"extends": ".edgeprune", "variables": {"TARGET": "cpu-x86-avx2"}}
    assert content["edgeprune-neoverse-n2"]["tags"] == ["saas-linux-small-arm64"]
    assert content[".edgeprune"]["artifacts"]["reports"] == {"junit": "dist/junit.xml"}


def test_gitlab_would_read_every_key() -> None:
    """The schema looks into visible jobs alone, so that what they extend is put into them, as GitLab does."""
    content = init("gitlab")
    template = content.pop(".edgeprune")
    whole = {
        name: {**template, **job, "variables": template["variables"] | job["variables"]}
        for name, job in content.items()
    }
    for job in whole.values():
        del job["extends"]
    GITLAB.write_text(yaml.safe_dump(whole), encoding="utf-8")
    assert fits_schema(GITLAB, "vendor.gitlab-ci") == ""
    GITLAB.write_text(yaml.safe_dump(whole).replace("when: always", "when: sometimes"), encoding="utf-8")
    assert "sometimes" in fits_schema(GITLAB, "vendor.gitlab-ci")


def github_scripts() -> tuple[list[str], tuple[str, ...]]:
    """The scripts, and the shell that GitHub runs them with where the workflow names none."""
    steps = init("github")["jobs"]["package"]["steps"]
    return [step["run"] for step in steps if "run" in step], ("bash", "-e")


def gitlab_scripts() -> tuple[list[str], tuple[str, ...]]:
    job = init("gitlab")[".edgeprune"]
    return ["\n".join([*job["script"], *job["after_script"]])], ("bash", "-eo", "pipefail")


@pytest.mark.parametrize(
    ("scripts", "facts", "release"),
    [
        (
            github_scripts,
            {"GITHUB_SHA": "0123456789", "GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main"},
            "01234567",
        ),
        (github_scripts, {"GITHUB_SHA": "0123456789", "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1.4.0"}, "1.4.0"),
        (gitlab_scripts, {"CI_COMMIT_SHORT_SHA": "01234567"}, "01234567"),
        (gitlab_scripts, {"CI_COMMIT_SHORT_SHA": "01234567", "CI_COMMIT_TAG": "v1.4.0"}, "1.4.0"),
    ],
)
def test_the_scripts_install_and_build_and_edgeprune_takes_their_arguments(
    project: Path, scripts: Any, facts: dict[str, str], release: str
) -> None:
    for program in ("python", "edgeprune"):
        write_stand_in(project / "bin" / program)
    found, shell = scripts()
    for one in found:
        done = run_script(one, project, shell=shell, TARGET="neoverse-n2", INSTALL="edgeprune==1", **facts)
        assert done.returncode == 0, done.stderr
    install, build, tidy = calls(project)
    assert install == ["python", "-m", "pip", "install", "edgeprune==1"]
    assert build[1:6] == ["build", "--target", "neoverse-n2", "--release", release]
    ran = call(*build[1:])
    assert (ran.code, "there is no folder ./model" in ran.err) == (2, True)
    assert Path("dist/junit.xml").is_file()
    assert call(*tidy[1:]).code == 0


def test_what_pip_installs_can_be_named() -> None:
    content = init("github", "--install", "./vendor/edgeprune")
    (step,) = (one for one in content["jobs"]["package"]["steps"] if one.get("name") == "Install edgeprune")
    assert step["env"]["INSTALL"] == "./vendor/edgeprune"


@pytest.mark.parametrize(
    ("system", "place", "hint"), [("github", GITHUB, "another.yml"), ("gitlab", GITLAB, "include that file")]
)
def test_a_file_that_is_there_stays_unless_force_is_given(system: str, place: Path, hint: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine", encoding="utf-8")
    done = call("ci", "init", system)
    assert (done.code, place.read_text(encoding="utf-8")) == (2, "mine")
    assert f"{place} exists; write the workflow elsewhere" in done.complaints[0]
    assert hint in done.complaints[0]
    init(system, "--output", "new/other.yml")
    init(system, "--force")
    assert place.read_text(encoding="utf-8") == Path("new/other.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "/home/me/model"}, "edgeprune.yaml names /home/me/model, which CI doesn't have"),
        ({"data": {"train": "~/data.jsonl"}}, "edgeprune.yaml names ~/data.jsonl, which CI doesn't have"),
        ({"targets": ["nonsense"]}, "there is no target profile 'nonsense'"),
        ({"targets": ["host", "host"]}, "several targets are called host"),
        ({"targets": []}, "targets"),
    ],
)
def test_a_project_that_ci_cannot_build_is_refused(changes: dict[str, Any], message: str) -> None:
    write({**PROJECT, **changes})
    done = call("ci", "init", "github")
    assert done.code == 2
    assert message in done.err
    assert not GITHUB.exists()


def test_without_a_project_file_the_next_command_is_named() -> None:
    Path("edgeprune.yaml").unlink()
    done = call("ci", "init", "github")
    assert done.code == 2
    assert (
        "there is no edgeprune.yaml in this folder, which says what is built; write it with edgeprune init" in done.err
    )


@pytest.mark.parametrize("install", ["${{ secrets.X }}", "a\nb"])
def test_what_a_system_would_replace_is_refused(install: str) -> None:
    done = call("ci", "init", "github", "--install", install)
    assert done.code == 2
    assert "which CI systems replace" in done.err
    assert not GITHUB.exists()

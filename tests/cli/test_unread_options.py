"""Every option of every command does something, or is refused by its name where it would not be read."""

from pathlib import Path
from typing import Any

import pytest
import typer.main

from edgeprune.cli.main import app
from tests.support.e2e import Built, call

VALUES = {
    "--max-rows": "50",
    "--max-regression": "5%",
    "--at-drop": "1%",
    "--output": "somewhere",
    "--set": "stages.race=null",
}
"""What an option is given where not any text will do."""


def options_of(command: str) -> list[Any]:
    """The options of a command, `--help` aside."""
    found = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    return [one for one in found if one.param_type_name == "option" and "--help" not in one.opts]


def typed(option: Any) -> list[str]:
    flag = option.opts[0]
    return [flag] if option.is_flag else [flag, VALUES.get(flag, "nonsense")]


FILES = ("--junit", "--benchmark-json")
"""Written about reports too; tried in test_ci_outputs.py."""


@pytest.mark.parametrize(
    "option", [one for one in options_of("compare") if one.opts[0] not in FILES], ids=lambda one: one.opts[0]
)
def test_compare_of_reports_alone_reads_nothing_else(built: Built, tmp_path: Path, option: Any) -> None:
    report = tmp_path / "x.build.json"
    report.write_text(built.stdout, encoding="utf-8")
    done = call("compare", report, *typed(option))
    if option.opts[0] == "--json":
        assert (done.code, done.document[0]["target"]) == (0, "here")
    elif option.opts[0] == "--report":  # its --no-report is tried in tests/report/test_files.py
        assert (done.code, (tmp_path / "x.report.html").is_file()) == (0, True)
    else:
        assert done.code == 2
        (complaint,) = done.complaints
        assert complaint.startswith(f"edgeprune: {option.opts[0]} would not be read: ")
        assert done.out == ""


READ_BY_INSPECT = {
    (): {"--tokens", "--store", "--offline", "--json", "--importance", "--attention"},
    ("--importance",): {
        "--tokens",
        "--store",
        "--offline",
        "--json",
        "--importance",
        "--attention",
        "--output",
        "--data",
    },
    ("--attention", "good"): {"--tokens", "--store", "--offline", "--json", "--importance", "--attention", "--output"},
}
"""What else is typed, to the options that are read then."""


@pytest.mark.parametrize(
    ("beside", "option"),
    [
        (beside, one)
        for beside, read in READ_BY_INSPECT.items()
        for one in options_of("inspect")
        if one.opts[0] not in read
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else one.opts[0],
)
def test_inspect_refuses_what_it_would_not_read(built: Built, option: Any, beside: tuple[str, ...]) -> None:
    done = call("inspect", built.artifact("prune").path, *beside, *typed(option))
    assert done.code == 2
    (complaint,) = done.complaints
    assert complaint.startswith(f"edgeprune: {option.opts[0]} would not be read: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "m", "--data", "d", "--max-regression", "5%"), "--max-regression says how much slower than a baseline"),
        (("benchmark", "m", "--max-regression", "5%"), "--max-regression says how much slower than another package"),
        (("benchmark", "m", "--set", "stages.race=null"), "--set stages.race=null has no effect here"),
        (("benchmark", "m", "--targets", "host,host", "--output", "x"), "--output is one file"),
        (("targets", "probe", "--python", "python3"), "--python is for a device that is reached by ssh or adb"),
    ],
)  # fmt: skip
def test_an_option_that_belongs_to_another_is_refused_without_it(arguments: tuple[str, ...], message: str) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert message in done.complaints[0]

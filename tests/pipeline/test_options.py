"""edgeprune/pipeline/options.py and request.py: one definition for flags, keywords, and the command for a device."""

import inspect
import shlex
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import typer.main

import edgeprune
from edgeprune.base.errors import UsageError
from edgeprune.cli.main import app
from edgeprune.pipeline.options import BuildOptions, option_fields
from edgeprune.pipeline.request import command_on_device, read_request

OF_THE_COMMAND_LINE = {"--track", "--junit", "--benchmark-json", "--events", "--plan", "--json"}


def test_flags_and_keywords_are_the_fields_with_their_defaults() -> None:
    command = typer.main.get_command(app).commands["build"]  # type: ignore[attr-defined]
    flags = {name for one in command.params if one.param_type_name == "option" for name in one.opts} - {"--help"}
    assert flags == {name.split("/")[0] for one in option_fields()[1:] for name in one.names} | OF_THE_COMMAND_LINE
    keywords = inspect.signature(edgeprune.build).parameters
    assert list(keywords) == [*(one.name for one in fields(BuildOptions)), "emit"]
    defaults = {one.name: one.default for one in option_fields()}
    assert {
        name: MISSING if one.default is one.empty else one.default for name, one in keywords.items() if name != "emit"
    } == defaults


def test_every_option_has_a_sentence() -> None:
    assert all(one.help.endswith((".", "]")) for one in option_fields())


def test_how_much_slower_needs_something_to_be_slower_than() -> None:
    with pytest.raises(UsageError, match="--max-regression says how much slower than a baseline the new"):
        edgeprune.build("m", data="d", max_regression=0.1)


def test_the_command_for_a_device_asks_for_the_same_build() -> None:
    asked = BuildOptions(
        "./my-model", data="a b.jsonl", target="raspberry-pi-4", pipeline="structured-oneshot", test_data="t.csv",
        text_column="body", max_rows=100, task="text-classification", release="1.4.0", offline=True, output="elsewhere",
        store=Path("kept"), set_=["stages.race=null", "target.budget.size_mb=30"], baseline="old", max_regression=0.1,
        report=False,
    )  # fmt: skip
    words = shlex.split(command_on_device(read_request(asked)))
    assert words == [
        "edgeprune", "build", "./my-model", "--data", "a b.jsonl", "--target", "raspberry-pi-4",
        "--pipeline", "structured-oneshot", "--test-data", "t.csv", "--text-column", "body", "--max-rows", "100",
        "--task", "text-classification", "--release", "1.4.0",
        "--set", "stages.race=null", "--set", "target.budget.size_mb=30", "--set", "target.runner={type: local}",
        "--offline", "--baseline", "old", "--max-regression", "0.1", "--no-report",
    ]  # fmt: skip

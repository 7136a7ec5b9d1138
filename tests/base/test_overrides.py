from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, model_validator

from edgeprune.base.errors import ProfileError
from edgeprune.base.overrides import Override, apply_overrides, parse_override, validate_overridden
from edgeprune.base.strict_yaml import Frozen


class Stage(Frozen):
    epochs: int = Field(default=1, lt=100)
    rows: int = 0


class Plan(Frozen):
    name: str
    stage: Stage = Stage()

    @model_validator(mode="after")
    def _enough(self) -> "Plan":
        if self.stage.rows > self.stage.epochs:
            raise ValueError("there are more rows than epochs")
        return self


def refusal(tmp_path: Path, content: dict[str, Any], *overrides: str) -> str:
    """What is said of overrides of a file with this content."""
    path = tmp_path / "mine.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in content.items()), encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        validate_overridden(Plan, content, [parse_override(one) for one in overrides], file=path, kind="plan")
    return str(caught.value).replace(str(path), "mine.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage.epoch=1"], "--set stage.epoch=1: unknown key; did you mean 'epochs'?"),
        (["stage.epochs=100"], "--set stage.epochs=100: 100 is not below 100"),
        (["stage={epoch: 1}"], "--set stage={epoch: 1}: stage.epoch: unknown key; did you mean 'epochs'?"),
        (["name=b", "stage.epoch=1"], "--set stage.epoch=1: unknown key; did you mean 'epochs'?"),
        (["stage.rows=2"], "--set stage.rows=2: there are more rows than epochs"),
        (["name=b", "stage={rows: 2}"], "--set stage={rows: 2}: there are more rows than epochs"),
        (
            ["stage.rows=2", "stage={rows: 2}"],
            "--set stage.rows=2 --set stage={rows: 2}: there are more rows than epochs",
        ),
        (
            ["stage.rows=5", "stage.epochs=4"],
            "--set stage.rows=5: there are more rows than epochs",
        ),
    ],
)
def test_a_fault_of_an_override_names_what_was_typed(tmp_path: Path, overrides: list[str], message: str):
    assert refusal(tmp_path, {"name": "a"}, *overrides) == message


def test_a_fault_of_the_file_is_not_blamed_on_an_override(tmp_path: Path):
    found = refusal(tmp_path, {"name": "a", "nam": "b"}, "stage.epochs=2")
    assert found == "mine.yaml is not a valid plan:\n  line 2, nam: unknown key; did you mean 'name'?"
    both = refusal(tmp_path, {"name": "a", "nam": "b"}, "stage.epochs=true", "stage.epochs=100")
    assert both.splitlines()[2:] == ["--set stage.epochs=100: 100 is not below 100"]


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a=1", ["a"], 1),
        ("a.b.0.c=0.4", ["a", "b", "0", "c"], 0.4),
        ("a=null", ["a"], None),
        ("a=", ["a"], None),
        ("a={b: [1, x]}", ["a"], {"b": [1, "x"]}),
        ("a=b=c", ["a"], "b=c"),
        ("a='1'", ["a"], "1"),
    ],
)
def test_an_override_is_a_path_and_a_yaml_value(text: str, path: list[str], value: object):
    assert parse_override(text) == Override(f"--set {text}", tuple(path), value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "--set needs path.to.key=value, got 'a.b'"),
        ("=1", "--set needs path.to.key=value"),
        ("a..b=1", "--set needs path.to.key=value"),
        (".a=1", "--set needs path.to.key=value"),
        ("a=[1", "--set a: '[1' is not a YAML value"),
        ("a={b: 1, b: 2}", "--set a: '{b: 1, b: 2}' is not a YAML value"),
        ("a=2024-13-45", "--set a: '2024-13-45' is not a YAML value"),
        ("a=!!int ''", "is not a YAML value: the tag 'tag:yaml.org,2002:int' has no meaning here"),
        ("a=" + "[" * 100_000, "(100,000 characters) is not a YAML value: lists and mappings lie more than 32 deep"),
        ("a" + ".b" * 100_000 + "=1", "b.b… lies too deep; a path has at most 33 parts"),
    ],
)
def test_a_malformed_override_is_refused(text: str, message: str):
    with pytest.raises(ProfileError) as caught:
        parse_override(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=2", {"a": {"b": 2, "c": [1, {"d": 4}]}, "e": None}),
        ("a.c.0=9", {"a": {"b": 1, "c": [9, {"d": 4}]}, "e": None}),
        ("a.c.1.d=5", {"a": {"b": 1, "c": [1, {"d": 5}]}, "e": None}),
        ("a.new=6", {"a": {"b": 1, "c": [1, {"d": 4}], "new": 6}, "e": None}),
        ("e.f.g=7", {"a": {"b": 1, "c": [1, {"d": 4}]}, "e": {"f": {"g": 7}}}),
        ("a=null", {"a": None, "e": None}),
    ],
)
def test_an_override_changes_its_place_in_a_copy(override: str, expected: dict[str, Any]):
    content: dict[str, Any] = {"a": {"b": 1, "c": [1, {"d": 4}]}, "e": None}
    assert apply_overrides(content, [parse_override(override)]) == expected
    assert content == {"a": {"b": 1, "c": [1, {"d": 4}]}, "e": None}


def test_later_overrides_win():
    overrides = [parse_override("a=1"), parse_override("a={b: 2}"), parse_override("a.b=3")]
    assert apply_overrides({}, overrides) == {"a": {"b": 3}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a.c.2=1", "a.c is a list of 2 and has no item '2'"),
        ("a.c.-1=1", "a.c is a list of 2 and has no item '-1'"),
        ("a.c.x=1", "a.c is a list of 2 and has no item 'x'"),
        ("a.c.²=1", "a.c is a list of 2 and has no item '²'"),
        ("a.b.x=1", "a.b is a value and has no key 'x'"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(override: str, message: str):
    with pytest.raises(ProfileError) as caught:
        apply_overrides({"a": {"b": 1, "c": [1, 2]}}, [parse_override(override)])
    assert message in str(caught.value)


def test_an_override_cannot_choose_another_target():
    with pytest.raises(ProfileError, match="use --target raspberry-pi-4"):
        parse_override("target=raspberry-pi-4")

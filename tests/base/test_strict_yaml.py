import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from edgeprune.base.errors import ProfileError
from edgeprune.base.strict_yaml import Frozen, read_yaml, validate


class Step(Frozen):
    method: Literal["structured", "unstructured"]
    keep: float = Field(default=1.0, gt=0, le=1)


class Drop(Frozen):
    method: Literal["drop"]
    layers: tuple[int, ...] | int = 1


class Zero(Frozen):
    method: Literal["zero"]
    share: float = Field(default=0.5, gt=0, lt=1)


class Stages(Frozen):
    either: tuple[Annotated[Drop | Zero, Field(discriminator="method")], ...] = ()
    epochs: int = Field(default=1, ge=1, lt=100)
    steps: tuple[Step, ...] = Field(default=(), max_length=3)
    lengths: Literal["data"] | int = "data"


class Plan(Frozen):
    name: str = Field(pattern=r"^[a-z]+$")
    stages: Stages = Stages()

    @model_validator(mode="after")
    def _not_forbidden(self) -> "Plan":
        if self.name == "forbidden":
            raise ValueError("this name is taken")
        return self


def errors_of(content: dict[str, Any]) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        validate(Plan, content, source="mine.yaml", kind="plan")
    first, *lines = str(caught.value).splitlines()
    assert first == "mine.yaml is not a valid plan:"
    return lines


def test_yaml_is_read_as_a_mapping(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: {c: [x, 2.5, null]}\nü: ß\n", encoding="utf-8")
    assert read_yaml(path) == {"a": 1, "b": {"c": ["x", 2.5, None]}, "ü": "ß"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "should hold a mapping of keys to values, but holds NoneType"),
        (b"- a\n- b\n", "should hold a mapping of keys to values, but holds list"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "line 3 is not valid YAML"),
        (b"a: 1\nb: 2\na: 3\n", "line 3 is not valid YAML: the key 'a' stands twice"),
        (b"a:\n  b: 1\n  b: 2\n", "line 3 is not valid YAML: the key 'b' stands twice"),
        (b"a: \xff\xfe\n", "could not be read as UTF-8 text"),
        (b"a: \x07\n", "is not valid YAML"),
        (b"a: !!python/object/apply:os.system [ls]\n", "line 1 is not valid YAML"),
        (b"[a, b]: 1\n", "line 1 is not valid YAML"),
        (b"a: 2024-13-45\n", "is not valid YAML"),
        (b"a: !!bool maybe\n", "line 1 is not valid YAML: the tag 'tag:yaml.org,2002:bool' has no meaning here"),
        (b"a: 1\nb: &b [*b]\n", "line 2 is not valid YAML: the alias 'b' stands inside what it names"),
        (b"a:\n  - " + b"[" * 400, "line 2 is not valid YAML: lists and mappings lie more than 32 deep"),
        (b"# " + b"x" * 4_000_000, "is not valid YAML: it has more than 4,000,000 characters"),
    ],
)
def test_yaml_that_is_no_mapping_is_refused_with_its_file_and_line(tmp_path: Path, text: bytes, message: str):
    path = tmp_path / "a.yaml"
    path.write_bytes(text)
    with pytest.raises(ProfileError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(ProfileError, match=r"no file .*b\.yaml; give the path"):
        read_yaml(tmp_path / "b.yaml")
    with pytest.raises(ProfileError, match="could not be read"):
        read_yaml(tmp_path)


def test_valid_content_becomes_an_immutable_model():
    plan = validate(Plan, {"name": "x", "stages": {"steps": [{"method": "structured"}]}}, source="", kind="plan")
    assert plan.stages.steps == (Step(method="structured", keep=1.0),)
    with pytest.raises(ValidationError, match="frozen"):
        plan.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({}, "name: required, but missing"),
        ({"name": "x", "nam": 1}, "nam: unknown key; did you mean 'name'?"),
        ({"name": "x", "zzz": 1}, "zzz: unknown key; known here: name, stages"),
        ({"name": "x", "stages": {"epoch": 1}}, "stages.epoch: unknown key; did you mean 'epochs'?"),
        (
            {"name": "x", "stages": {"steps": [{"method": "structured", "kep": 1}]}},
            "stages.steps.0.kep: unknown key; did you mean 'keep'?",
        ),
        ({"name": "x", "stages": {"epochs": 0}}, "stages.epochs: 0 is below 1"),
        ({"name": "x", "stages": {"epochs": 100}}, "stages.epochs: 100 is not below 100"),
        (
            {"name": "x", "stages": {"steps": [{"method": "structured", "keep": 1.4}]}},
            "stages.steps.0.keep: 1.4 is above 1",
        ),
        (
            {"name": "x", "stages": {"steps": [{"method": "structured", "keep": 0}]}},
            "stages.steps.0.keep: 0 is not above 0",
        ),
        (
            {"name": "x", "stages": {"steps": [{"method": "structurd"}]}},
            "'structurd' is not one of 'structured' or 'unstructured'; did you mean 'structured'?",
        ),
        ({"name": "x", "stages": {"epochs": "many"}}, "stages.epochs: 'many' should be a valid integer"),
        ({"name": "x", "stages": {"epochs": 1.5}}, "stages.epochs: 1.5 should be a valid integer"),
        ({"name": "x", "stages": None}, "stages: None should be a valid dictionary"),
        ({"name": "forbidden"}, "this name is taken"),
    ],
)
def test_a_fault_is_named_with_its_path(content: dict[str, Any], line: str):
    (found,) = errors_of(content)
    assert line in found


def test_a_fault_of_a_file_has_its_line(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "# a plan\nname: x\nstages:\n  steps:\n    - {method: structured}\n    - {method: structured,\n       kep: 1}\n  epocs: 3\nmore: 1\n"
    )
    with pytest.raises(ProfileError) as caught:
        validate(Plan, read_yaml(path), source=str(path), kind="plan", file=path)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "line 7, stages.steps.1.kep", "line 8, stages.epocs", "line 9, more",
    ]  # fmt: skip
    path.write_text("stages: {}\n")
    with pytest.raises(ProfileError, match=r"\n  name: required, but missing"):
        validate(Plan, read_yaml(path), source=str(path), kind="plan", file=path)


def test_all_faults_are_listed_at_once():
    lines = errors_of({"nam": "x", "stages": {"epochs": 0, "steps": [{"method": "structured", "keep": 2}]}})
    paths = sorted(line.split(":")[0].strip() for line in lines)
    assert paths == ["nam", "name", "stages.epochs", "stages.steps.0.keep"]


@pytest.mark.parametrize(
    "content",
    [
        {"name": "Not A Name"},
        {"name": "x", "stages": {"steps": [{"method": "structured"}] * 4}},
        {"name": "x", 3: 4},
    ],
)
def test_a_fault_reads_as_one_sentence(content: dict[str, Any]):
    (line,) = errors_of(content)
    assert line.count("should") == 1


def test_a_fault_in_a_choice_of_types_stands_at_its_path_in_the_yaml():
    lines = errors_of({"name": "x", "stages": {"lengths": "dat"}})
    assert {line.strip().split(": ")[0] for line in lines} == {"stages.lengths"}


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ({"method": "zero", "share": 2}, "stages.either.0.share: 2 is not below 1.0"),
        ({"method": "zero", "shares": 0.2}, "stages.either.0.shares: unknown key; did you mean 'share'?"),
        ({"method": "drop", "share": 0.2}, "stages.either.0.share: unknown key; known here: layers, method"),
        ({"method": "drops"}, "stages.either.0.method: 'drops' is not one of 'drop', 'zero'; did you mean 'drop'?"),
        ({"layers": 3}, "stages.either.0.method: required, but missing"),
        ({"method": "drop", "layers": [1, "x"]}, "stages.either.0.layers.1: 'x' should be a valid integer"),
    ],
)
def test_faults_of_one_of_several_models_have_the_path_in_the_yaml(item: dict[str, Any], line: str):
    with pytest.raises(ProfileError) as caught:
        validate(Plan, {"name": "a", "stages": {"either": [item]}}, source="mine.yaml", kind="plan")
    (found,) = str(caught.value).splitlines()[1:]
    assert found.strip().startswith(line)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "nan", "inf", "1e999", "-Infinity"])
@pytest.mark.parametrize("place", ["one", "either", "several", "by_name"])
def test_only_finite_numbers_are_taken_in_any_place(place: str, value: object):
    content = {"one": value, "either": value, "several": [1.0, value], "by_name": {"a": value}}
    with pytest.raises(ProfileError, match=f"{place}.*should be a finite number"):
        validate(Numbers, {place: content[place]}, source="mine.yaml", kind="plan")


class Numbers(Frozen):
    one: float = 0.0
    either: Annotated[float, Field(gt=-1)] | tuple[float, ...] | None = None
    several: tuple[float, ...] = ()
    by_name: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)


def test_many_faults_are_told_soon_and_in_few_words():
    start = time.perf_counter()
    lines = errors_of({"name": "x", **{f"key{number}": 1 for number in range(20_000)}})
    assert time.perf_counter() - start < 15
    assert len(lines) == 21
    assert lines[-1] == "  … and 19,980 more"


def test_what_a_message_quotes_is_cut():
    long = "x" * 9_000
    lines = errors_of(
        {"name": long.upper(), long: 1, "stages": {"epochs": long, "lengths": long, "steps": [{"method": long}]}}
    )
    assert len(lines) == 5
    assert all(len(line) < 500 for line in lines)

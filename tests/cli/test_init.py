"""`edgeprune init`: what it finds, what it writes, and what it refuses to guess."""

import json
import shutil
from pathlib import Path

import pytest

from edgeprune.base.strict_yaml import read_yaml
from edgeprune.pipeline.project import read_project
from edgeprune.pipeline.starter import Start
from tests.conftest import ModelFactory
from tests.support.e2e import call, write_data, write_rows


@pytest.fixture
def folder(tmp_path: Path, tiny_model_folder: ModelFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = shutil.copytree(tiny_model_folder(), tmp_path / "models" / "mine")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    named = config | {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"neg": 0, "pos": 1}}
    (model / "config.json").write_text(json.dumps(named), encoding="utf-8")
    write_data(tmp_path / "reviews.jsonl", rows=40)
    return tmp_path


def test_what_a_folder_has_is_taken_and_said_and_can_be_built(folder: Path) -> None:
    done = call("init")
    assert done.code == 0, done.err
    for words in (
        "./models/mine",
        "BertForSequenceClassification",
        "train reviews.jsonl",
        "text from 'text'",
        "host, this",
    ):
        assert words in done.out
    assert read_yaml(folder / "edgeprune.yaml") == {
        "schema_version": 1, "model": "./models/mine", "task": "text-classification", "data": {"train": "reviews.jsonl"},
        "columns": {"text": "text", "label": "label"}, "pipeline": "structured", "targets": ["host"],
        "budgets": {"metric_drop": 0.01}, "release": "0",
    }  # fmt: skip
    planned = call("build", "--plan", "--json", "--set", "stages.prepare.max_length=16")
    assert planned.code == 0, planned.err
    assert planned.document["columns"] == {"text": "text", "label": "label"}


def test_every_line_that_is_commented_out_is_valid_too(folder: Path) -> None:
    assert call("init").code == 0
    path = folder / "edgeprune.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    opened = [
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and ": " in line else line for line in lines[3:]
    ]
    path.write_text("\n".join(opened) + "\n", encoding="utf-8")
    project = read_project(path).project
    assert (project.name, project.data.unlabelled, project.budgets.size_mb) == ("my-model", "unlabelled.jsonl", 25)


def test_a_file_is_replaced_by_force_alone(folder: Path) -> None:
    (folder / "edgeprune.yaml").write_text("mine", encoding="utf-8")
    done = call("init")
    assert (done.code, done.complaints) == (2, ["edgeprune: edgeprune.yaml is there already; --force replaces it"])
    assert (folder / "edgeprune.yaml").read_text(encoding="utf-8") == "mine"
    assert call("init", "--force").code == 0
    assert read_project(folder / "edgeprune.yaml").project.model == "./models/mine"


def test_names_of_files_say_which_split_they_are(folder: Path) -> None:
    (folder / "reviews.jsonl").unlink()
    (folder / "data").mkdir()
    for name in ("train", "my-test", "dev"):
        write_data(folder / "data" / f"{name}.jsonl", rows=20)
    assert call("init").code == 0
    assert read_yaml(folder / "edgeprune.yaml")["data"] == {
        "train": "data/train.jsonl", "selection": "data/dev.jsonl", "test": "data/my-test.jsonl"
    }  # fmt: skip


def test_what_is_named_is_not_searched_for(folder: Path) -> None:
    write_rows(folder / "other: #1.jsonl", [{"body": "a film", "stars": "good"}] * 5)
    done = call(
        "init", "models/mine", "--data", "other: #1.jsonl", "--text-column", "body", "--label-column", "stars", "--target",
        "raspberry-pi-4", "--pipeline", "fit", "--release", "1.0",
    )  # fmt: skip
    assert done.code == 0, done.err
    content = read_yaml(folder / "edgeprune.yaml")
    assert content["data"] == {"train": "other: #1.jsonl"}
    assert content["columns"] == {"text": "body", "label": "stars"}
    assert (content["targets"], content["pipeline"], content["release"]) == (["raspberry-pi-4"], "fit", "1.0")


def test_nothing_is_guessed_and_nothing_written(folder: Path, tiny_model_folder: ModelFactory) -> None:
    write_data(folder / "more.csv.jsonl", rows=4)
    cases = [
        (("init",), "no data is named, and there are several here (more.csv.jsonl, reviews.jsonl)"),
        (("init", "--data", "no.jsonl"), "no data file no.jsonl"),
        (("init", "--test-data", "reviews.jsonl"), "name the data to train on too, with --data"),
        (("init", "--data", "reviews.jsonl", "--unlabelled", "no.csv"), "no data file no.csv"),
        (("init", "--data", "reviews.jsonl", "--text-column", "body"), "no column 'body'"),
        (("init", "--data", "reviews.jsonl", "--target", "pi"), "no target profile 'pi'"),
        (("init", "--data", "reviews.jsonl", "--pipeline", "fitt"), "no pipeline 'fitt'"),
        (("init", "--schema", "--force"), "--force would not be read"),
    ]
    shutil.copytree(tiny_model_folder(head="ForMaskedLM"), folder / "masked")
    several = (
        ("init", "--data", "reviews.jsonl"),
        "no model is named, and there are several here (./masked, ./models/mine)",
    )
    task = (("init", "masked", "--data", "reviews.jsonl"), "say it with --task")
    for arguments, message in [
        *((("init", "models/mine", *rest), said) for (_, *rest), said in cases[:-1]),
        cases[-1],
        several,
        task,
    ]:
        done = call(*arguments)
        assert done.code == 2, arguments
        assert message in done.complaints[0]
    shutil.rmtree(folder / "models")
    shutil.rmtree(folder / "masked")
    assert "none was found here (a folder with config.json and *.safetensors)" in call("init").complaints[0]
    assert not (folder / "edgeprune.yaml").exists()


@pytest.mark.parametrize(
    "name", ["a: b", "#x", "'", '"', "it's", "null", "1.0", "- a", "ü.jsonl", "a  # b", "{a}", "*x", "x" * 300]
)
def test_any_name_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    start = Start(name, "Some", "text-classification", {"train": name}, {"text": name}, "web", "fit", name, "")
    path = tmp_path / "edgeprune.yaml"
    path.write_text(start.as_yaml(), encoding="utf-8")
    project = read_project(path).project
    assert {project.model, project.data.train, project.columns.text, project.release} == {name}


def test_a_schema_is_json() -> None:
    assert json.loads(call("init", "--schema").out)["title"] == "Project"

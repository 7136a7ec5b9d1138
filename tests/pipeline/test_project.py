"""`edgeprune build` without a model: what edgeprune.yaml says, what flags change, and what is wrong with it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeprune.base.errors import EdgepruneError
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.project import read_project
from tests.conftest import ModelFactory
from tests.support.e2e import Built, call, target_text, write_data

PROJECT = """\
schema_version: 1
model: ./model
task: text-classification
data:
  train: reviews.jsonl
columns: {text: text, label: label}
pipeline: structured
targets:
  - here.yaml
"""


SHORT = ("--set", "stages.prepare.max_length=16")
"""The tiny model takes no longer texts."""


@pytest.fixture
def folder(tmp_path: Path, tiny_model_folder: ModelFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model, data, a target and a project file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(tiny_model_folder(head="Model"))
    write_data(tmp_path / "reviews.jsonl", rows=60)
    (tmp_path / "here.yaml").write_text(target_text("here"), encoding="utf-8")
    (tmp_path / "edgeprune.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def asked(typed: dict[str, Any]) -> list[BuildOptions]:
    return read_project(Path("edgeprune.yaml")).builds(typed)


def test_every_key_is_an_option_of_the_build(folder: Path) -> None:
    content = yaml.safe_load(PROJECT) | {
        "problem_type": "regression",
        "data": {"train": "a", "selection": "b", "test": "c", "unlabelled": "d", "max_rows": 30},
        "columns": {"text": "e", "pair": "f", "label": "g"},
        "budgets": {"size_mb": 1e-05, "latency_p90_ms": None, "min_recall": {"it's": 0.5}},
        "name": "h", "release": "1.0", "output": "i", "baseline": "j", "baseline_key": "k", "max_regression": 0.1,
    }  # fmt: skip
    (folder / "edgeprune.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (build,) = asked({})
    assert build == BuildOptions(
        "./model", data="a", selection_data="b", test_data="c", unlabelled="d", max_rows=30, text_column="e", pair_column="f",
        label_column="g", task="text-classification", problem_type="regression", pipeline="structured", target="here.yaml",
        name="h", release="1.0", output="i", baseline="j", baseline_key="k", max_regression=0.1,
        set_=["target.budget.latency_p90_ms=null", "target.budget.size_mb=1.0e-05", "target.budget.min_recall={it's: 0.5}"],
    )  # fmt: skip
    assert set(yaml.safe_load(PROJECT) | content) == set(
        type(read_project(Path("edgeprune.yaml")).project).model_fields
    )


def test_what_was_typed_wins(folder: Path) -> None:
    (folder / "edgeprune.yaml").write_text(
        PROJECT.replace("- here.yaml", "- here.yaml\n  - web\n  - raspberry-pi-4") + "budgets: {size_mb: 9}\n"
    )
    assert [one.target for one in asked({})] == ["here.yaml", "web", "raspberry-pi-4"]
    (build,) = asked({"target": "host", "data": "other.jsonl", "set_": ["target.budget.size_mb=8"], "release": "2"})
    assert (build.model, build.data, build.target, build.release) == ("./model", "other.jsonl", "host", "2")
    assert build.set_ == ["target.budget.size_mb=9.0", "target.budget.size_mb=8"]


def test_what_a_typed_option_replaces_need_not_be_there(folder: Path) -> None:
    (folder / "edgeprune.yaml").write_text(PROJECT.replace("here.yaml", "gone.yaml").replace("structured", "gone-too"))
    (build,) = asked({"target": "host", "pipeline": "structured"})
    assert (build.target, build.pipeline) == ("host", "structured")
    with pytest.raises(EdgepruneError, match="pipeline: "):
        asked({"target": "host"})


def test_a_folder_builds_a_package_for_every_target(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for target in ("one", "two"):
        (tmp_path / f"{target}.yaml").write_text(target_text(target, runner=None), encoding="utf-8")
    content = {
        "schema_version": 1, "model": str(built.model), "task": "text-classification", "data": {"train": str(built.data)},
        "pipeline": str(built.pipeline), "targets": ["one.yaml", "two.yaml"], "release": "1.4.0", "budgets": {"size_mb": 0.001},
    }  # fmt: skip
    (tmp_path / "edgeprune.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = call("build", "--store", built.store, "--no-report", "--json")
    assert done.code == 3, done.err
    assert [report["target"] for report in done.document] == ["one", "two"]
    assert {row["verdict"] for report in done.document for row in report["budget"]} == {"fail"}
    assert sum(line.startswith("edgeprune: size_mb is ") for line in done.err.splitlines()) == 2
    for target in ("one", "two"):
        assert (tmp_path / "dist" / f"tiny-model-1.4.0-{target}").is_dir()
    single = call(
        "build", "--target", "two.yaml", "--store", built.store, "--set", "target.budget.size_mb=null", "--no-report", "--json",
        "--output", "elsewhere",
    )  # fmt: skip
    assert (single.code, single.document["target"]) == (0, "two")
    assert (tmp_path / "elsewhere" / "tiny-model-1.4.0-two").is_dir()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema_version: 1", "schema_version: 2", "edgeprune.yaml line 1, schema_version is 2, but edgeprune "),
        ("./model", "./modle", "edgeprune.yaml line 2, model: there is no folder ./modle; "),
        ("reviews.jsonl", "rewiews.jsonl", "edgeprune.yaml line 5, data.train: there is no data file rewiews.jsonl; "),
        ("text: text", "text: body", "edgeprune.yaml line 6, columns.text: reviews.jsonl has no column 'body'"),
        ("structured", "structurd", "edgeprune.yaml line 7, pipeline: there is no pipeline 'structurd'; did you mean "),
        ("here.yaml", "there.yaml", "edgeprune.yaml line 9, targets.0: there is no file there.yaml; "),
        ("here.yaml", "here.yaml\n  - here.yaml", "edgeprune.yaml: two of the targets would write the package "),
        ("here.yaml\n", "here.yaml\nbudgets:\n  download_mb: 3\n", "edgeprune.yaml line 11, budgets.download_mb: budget.download_mb "),
        ("here.yaml\n", "host\nbudgets: {download_mb: 3}\n", "edgeprune.yaml line 10, budgets.download_mb: budget.download_mb "),
        ("here.yaml\n", "here.yaml\nrelease: 1.0\n", "  line 10, release: 1.0 should be a valid string"),
        ("here.yaml\n", "here.yaml\npublish: x\n", "  line 10, publish: unknown key; "),
        ("  train:", "  tarin:", "  line 5, data.tarin: unknown key; did you mean 'train'?"),
        ("  - here.yaml", "  []", "  line 8, targets: "),
    ],
)  # fmt: skip
def test_a_fault_is_said_with_its_line_and_key(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "edgeprune.yaml").write_text(PROJECT.replace(old, new), encoding="utf-8")
    done = call("build", "--plan")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.complaints) == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nope.jsonl"), "edgeprune: there is no data file nope.jsonl; "),
        (("--test-data", "nope.jsonl"), "edgeprune: there is no data file nope.jsonl; "),
        (("--set", "stages.x=1"), "edgeprune: --set stages.x=1: unknown key; "),
        (("./model",), "needs --data (edgeprune.yaml is not read, because a model is named), as in edgeprune build "),
    ],
)
def test_a_fault_of_what_was_typed_does_not_name_the_file(arguments: tuple[str, ...], message: str) -> None:
    done = call("build", "--plan", *arguments)
    assert done.code == 2
    assert message in done.err


def test_without_a_file_and_a_model_an_example_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (complaint,) = call("build").complaints
    for words in ("no edgeprune.yaml", "edgeprune init", "edgeprune build ./my-model --data", "edgeprune build --help"):
        assert words in complaint


def test_a_named_model_is_built_as_it_is_typed(folder: Path) -> None:
    (folder / "edgeprune.yaml").write_text("nonsense", encoding="utf-8")
    done = call("build", "./model", "--data", "reviews.jsonl", "--target", "here.yaml", "--plan", "--json", *SHORT)
    assert done.code == 0, done.err


def test_the_plan_says_what_would_be_built(folder: Path) -> None:
    text = PROJECT + "budgets: {size_mb: 25, metric_drop: 0.02}\n"
    (folder / "edgeprune.yaml").write_text(text, encoding="utf-8")
    done = call("build", "--plan", *SHORT)
    assert done.code == 0, done.err
    for words in (
        "here: The machine that runs the tests; int8-dynamic, 1 thread",
        "reviews.jsonl for text-classification: text from 'text', label from 'label'",
        "46 train, 5 selection, 9 test",
        "size 25 MB, metric_drop 0.02",
        "dist/tiny-model-0-here",
        "not known: some stages that would run have never run into this store",
    ):
        assert words in done.out
    assert not (folder / ".edgeprune").exists()


def test_the_plan_refuses_labels_that_the_model_does_not_have(folder: Path, tiny_model_folder: ModelFactory) -> None:
    (folder / "model").unlink()
    model = shutil.copytree(tiny_model_folder(), folder / "model")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config |= {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (complaint,) = call("build", "--plan", *SHORT).complaints
    assert "is not one the model has (no, yes)" in complaint


def test_the_plan_refuses_rows_that_can_not_be_split(folder: Path) -> None:
    write_data(folder / "reviews.jsonl", rows=4)
    (complaint,) = call("build", "--plan", *SHORT).complaints
    assert "give more data" in complaint


def test_the_plan_tells_the_time_of_the_last_build(built: Built) -> None:
    document = call(*built.arguments, "--store", built.store, "--plan", "--json", "--set", "seed=5").document
    times = {(row["stage"], row["round"]): row["last_duration_s"] for row in document["stages"]}
    assert all(seconds > 0 for seconds in times.values())
    shown = call(*built.arguments, "--store", built.store, "--plan").out
    assert "if stages take as long as last time" in shown

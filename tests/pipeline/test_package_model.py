"""edgeprune/pipeline/package_model.py: `edgeprune.load_onnx`, against the package's own run.py."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeprune
from edgeprune.base.errors import IntegrityError, UsageError
from edgeprune.pipeline.package_model import PackageModel
from edgeprune.tasks.registry import TaskName
from tests.conftest import ModelFactory
from tests.support.e2e import PIPELINE, Built, call, target_text, task_rows, write_rows

TEXTS = ["a very good film .", "dull", "the plot was awful and the story was bad , very bad .", "", "superb !"]
FAMILIES: dict[TaskName, str] = {"question-answering": "roberta", "feature-extraction": "mpnet"}
"""Rows of outputs for each token, and one for each text; test_families.py has every task with every family."""


@pytest.fixture(scope="module")
def model(built: Built) -> PackageModel:
    return edgeprune.load_onnx(built.package)


def test_answers_are_those_of_run_py(built: Built, model: PackageModel) -> None:
    texts = [text for text in TEXTS if text]  # run.py leaves out blank lines
    done = subprocess.run(
        [sys.executable, built.package / "run.py", *texts], capture_output=True, text=True, check=True,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert [{"text": text, **answer} for text, answer in zip(texts, model(texts), strict=True)] == [
        json.loads(line) for line in done.stdout.splitlines()
    ]


def test_one_text_has_one_answer(model: PackageModel) -> None:
    assert model(TEXTS[0]) == model([TEXTS[0]])[0]
    assert model([]) == []
    assert model(iter(TEXTS[:2])) == model(tuple(TEXTS[:2])) == model(TEXTS[:2])  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_batches_give_what_each_text_gives_alone(model: PackageModel, batch_size: int) -> None:
    texts = TEXTS * 8
    alone, batched = model.predict_proba(texts), model.predict_proba(texts, batch_size=batch_size)
    assert alone.shape == (len(texts), 2)
    assert alone.dtype == np.float32
    np.testing.assert_allclose(alone.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(batched, alone, atol=0.05)  # int8: a scale a batch
    assert model.predict(texts) == [model.labels[place] for place in alone.argmax(1)]


def test_it_is_opened_from_an_archive_with_other_threads(built: Built, model: PackageModel) -> None:
    other = edgeprune.load_onnx(str(built.archive), threads=2)
    np.testing.assert_array_equal(other.predict_proba(TEXTS), model.predict_proba(TEXTS))


@pytest.fixture(scope="module")
def packages(tiny_model_folder: ModelFactory, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`packages(task)` → an fp32 package, and inputs for it."""

    def make(task: TaskName) -> tuple[Path, list[Any]]:
        place = tmp_path_factory.mktemp(task)
        rows = task_rows(task)
        (place / "tiny.yaml").write_text(PIPELINE, encoding="utf-8")
        (place / "here.yaml").write_text(target_text("here", precision={"mode": "fp32"}, runner=None), encoding="utf-8")
        done = call(
            "build", tiny_model_folder(FAMILIES[task], "Model"), "--task", task, "--offline", "--name", "tiny", "--data",
            write_rows(place / "data.jsonl", rows), "--pipeline", place / "tiny.yaml", "--target", place / "here.yaml",
            "--store", place / "store", "--output", place / "dist", "--set", "stages.prepare.epochs=1", "--no-report",
        )  # fmt: skip
        assert done.code == 0, done.err
        pairs = [("the film was", row["context"]) for row in rows[:5] if "context" in row]
        return place / "dist" / "tiny-0-here", pairs or TEXTS

    return make


@pytest.mark.parametrize("task", FAMILIES)
def test_each_task_answers_in_batches(packages: Any, task: TaskName) -> None:
    package, contents = packages(task)
    model = edgeprune.load_onnx(package)
    assert model.task == task
    for alone, batched in zip(model.outputs(contents), model.outputs(contents, batch_size=4), strict=True):
        np.testing.assert_allclose(batched, alone, atol=1e-5)
    for one, batched in zip(contents, model(contents, batch_size=4), strict=True):
        assert model(one).keys() == batched.keys()
    if task == "feature-extraction":
        assert model.encode(contents, batch_size=2).shape == (len(contents), 32)
        with pytest.raises(UsageError, match="is no classification of whole inputs, so there is no predict_proba"):
            model.predict_proba(contents)
    else:
        with pytest.raises(UsageError, match="has no embeddings; call the model itself"):
            model.encode(contents)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "takes an input or a list of them, got NoneType"),
        ([None], "takes texts, but input 1 is NoneType"),
        ([["a", "b"]], "takes texts, but input 1 is list"),
        (["a", 7], "takes texts, but input 2 is int"),
    ],
)
def test_what_is_no_text_is_refused(model: PackageModel, given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        model(given)
    assert "\n" not in str(caught.value)


def test_bad_numbers_are_refused(built: Built, model: PackageModel) -> None:
    with pytest.raises(UsageError, match="batch_size should be 1 or more, got 0"):
        model(TEXTS, batch_size=0)
    with pytest.raises(UsageError, match="threads should be 1 or more, got 0"):
        edgeprune.load_onnx(built.package, threads=0)
    with pytest.raises(
        UsageError, match=r"is to run by CUDAExecutionProvider, but this onnxruntime has .*CPUExecutionProvider"
    ):
        edgeprune.load_onnx(built.package, provider="CUDAExecutionProvider")
    with pytest.raises(UsageError, match="was given no inputs"):
        model.predict_proba([])


def test_what_is_no_package_is_refused(built: Built, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a package"):
        edgeprune.load_onnx(tmp_path)
    damaged = Path(shutil.copytree(built.package, tmp_path / "damaged"))
    (damaged / "onnx/model.onnx").write_bytes(b"no graph")
    with pytest.raises(IntegrityError, match="damaged: the model can't be loaded here"):
        edgeprune.load_onnx(damaged)


def test_an_old_library_is_named(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenizers.__version__", "0.12.1")
    with pytest.raises(UsageError, match=r"tokenizers 0\.12\.1 is too old for this package"):
        edgeprune.load_onnx(built.package)

"""Every family with every task, pruned unevenly, from the checkpoint to answers out of the package."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import edgeprune
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.checkpoint import load_tokenizer
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.store.store import Store
from edgeprune.tasks.evaluation import predict_torch
from edgeprune.tasks.prepared import OUTPUTS, load_outputs, open_prepared
from edgeprune.tasks.registry import COLUMNS, TAUGHT_ONLY, TaskName
from tests.conftest import CELLS, IMAGE_TASKS, UNUSED, ModelFactory, matrix
from tests.support.e2e import call, image_rows, target_text, task_rows, write_rows

TEXT = "a very good film with a superb plot ."
ASKED: dict[TaskName, tuple[str, ...]] = {
    "text-classification": (TEXT,),
    "token-classification": (TEXT,),
    "question-answering": ("the film ?", TEXT),
    "fill-mask": (TEXT.replace("film", "[MASK]"),),
    "feature-extraction": (TEXT,),
    "image-classification": ("images/1.png",),
    "image-feature-extraction": ("images/1.png",),
}
"""What the package is given."""


OTHERS = {
    "text-classification": {"recall of neg", "recall of pos"},
    "image-classification": {"recall of green", "recall of red"},
    "token-classification": {"precision", "recall", "accuracy"},
    "question-answering": {"exact_match"},
    "fill-mask": {"pseudo_perplexity"},
}
"""Metrics beside the primary one, which the model card lists too."""

ODD_PAIRS = [
    (("the film ?",), "this model takes two texts at a time, got 'the film ?' and ''"),
    (("the film ?", " "), "this model takes two texts at a time, got 'the film ?' and ' '"),
    (("the film " * 20, TEXT), "'the film the film the film the film"),
]
"""What run.py of a model of pairs refuses."""


RANK = 8
"""Of the factored token embedding."""


def steps(layers: int, task: TaskName) -> list[dict[str, object]]:
    """Uneven, where there is more than one layer to be uneven over; one of three layers goes, and half of the hidden size
    where that isn't the answer. The token embedding is factored where no decoder reads it."""
    uneven = {"method": "structured", "keep_heads": [0.25, 0.75, 0.5], "keep_ffn": [0.75, 0.25, 0.5], "align": 8}
    alike = {"method": "structured", "keep_heads": 0.5, "keep_ffn": 0.25, "align": 8}
    for step in (uneven, alike) if task not in TAUGHT_ONLY else ():
        step["keep_hidden"] = 0.5
    vocabulary: dict[str, object] = {"method": "vocabulary", "floor": 1}
    factored = [] if task == "fill-mask" else [{"method": "factor_embeddings", "rank": RANK}]
    units = [alike] if layers == 1 else [uneven, {"method": "layers", "drop": [2]}]
    return units if task in IMAGE_TASKS else [vocabulary, *units, *factored]


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_a_family_goes_the_whole_way(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str, task: TaskName
) -> None:
    model = tiny_model_folder(model_type, "Model", layers=3, spare=len(UNUSED))
    layers, images = 1 if model_type == "albert" else 3, task in IMAGE_TASKS
    data = write_rows(tmp_path / "data.jsonl", image_rows(tmp_path) if images else task_rows(task, 60))
    pipeline, target = tmp_path / "pipeline.yaml", tmp_path / "here.yaml"
    target.write_text(target_text("here", **({} if images else {"runner": None})), encoding="utf-8")
    content = {
        "schema_version": 1, "name": "uneven", "description": "Everything, unevenly",
        "stages": {
            "prepare": {} if images else {"max_length": 24},
            "prune": {"steps": steps(layers, task)},
            "finetune": {"epochs": 1, "batch_size": 16},
            "benchmark": {"processes": 1, "samples": 16, "warmup": 1},
        },
    }  # fmt: skip
    pipeline.write_text(yaml.safe_dump(content), encoding="utf-8")
    store = tmp_path / "store"
    done = call(
        "build", model, "--task", task, "--data", data, "--pipeline", pipeline, "--target", target, "--offline", "--json",
        "--store", store, "--output", tmp_path / "dist", "--name", "tiny", "--no-report",
    )  # fmt: skip
    assert done.code == 0, done.err
    stages = {row["stage"]: row for row in done.document["stages"] if row["round"]}
    pruned = store / "prune" / stages["prune"]["key"] / "checkpoint"
    record = read_pruning(pruned)
    assert record is not None
    sizes = [(len(layer.heads), len(layer.neurons)) for layer in record.layers]
    assert sizes == ([(2, 32)] if layers == 1 else [(1, 96), (3, 32)])
    check_hidden(task, record, done.document, tmp_path / "dist" / "tiny-0-here")
    if not images:
        assert record.vocabulary is not None
        assert len(record.vocabulary) == len(load_tokenizer(model)) - len(UNUSED)
        assert record.embedding_rank == (None if task == "fill-mask" else RANK)
    # Saved and loaded, it computes what it did when it was measured, to the last bit but one: where a tensor lies in
    # memory decides how a product is summed.
    dense, cut = (
        Store.open(store / stage / row["key"])
        for stage, row in (("prepare", done.document["stages"][0]), ("prune", stages["prune"]))
    )
    source = DataSource(DataSpec(train=str(data)), columns=COLUMNS[task], offline=True)
    prepared = open_prepared(dense, source, splits=("test",), reader=pruned)
    loaded = predict_torch(edgeprune.load(pruned), prepared.task, prepared.test.examples, prepared.reader)
    for row, saved in zip(loaded, load_outputs(cut.file(OUTPUTS))["test"], strict=True):
        np.testing.assert_allclose(row, saved, rtol=0, atol=2e-6)

    package = tmp_path / "dist" / "tiny-0-here"
    assert call("verify", package).code == 0
    card = (package / "README.md").read_text(encoding="utf-8")
    others = stages["package"]["metric"]["others"]
    assert set(others) == OTHERS.get(task, set())
    assert all(f"| {name} | " in card for name in others)
    ran = run_package(package, *ASKED[task], cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    check_answer(task, json.loads(ran.stdout))
    model, given = edgeprune.load_onnx(package), ASKED[task]
    one: Any = tmp_path / given[0] if images else given if len(given) == 2 else given[0]
    assert json.loads(ran.stdout).items() >= model(one).items()
    for alone, batched in zip(model.outputs([one] * 3), model.outputs([one] * 3, batch_size=3), strict=True):
        np.testing.assert_allclose(batched, alone, atol=1e-4)
    if images:
        assert [row["samples"] for row in done.document["latency"]] == [16] * 3
        ran = run_package(package, "--check", cwd=tmp_path)
        assert (ran.returncode, ran.stdout) == (0, "goldens: ok\n")
        ran = run_package(package, "images/0.png", "data.jsonl", "nothing.png", cwd=tmp_path)
        assert (ran.returncode, len(ran.stdout.splitlines())) == (2, 1)
        assert ran.stderr == "data.jsonl can't be used: it is no image of a known format\n"
    if (model_type, task) == ("bert", "question-answering"):
        for texts, complaint in ODD_PAIRS:
            ran = run_package(package, *texts, cwd=tmp_path)
            assert (ran.returncode, ran.stdout) == (2, "")
            assert ran.stderr.startswith(complaint)


def check_hidden(task: TaskName, record: PruningRecord, report: dict[str, Any], package: Path) -> None:
    """The record, the report and the package tell the same hidden size."""
    left = 32 if record.hidden is None else len(record.hidden)
    assert left == (32 if task in TAUGHT_ONLY else 16)
    assert (report["hidden_size"], report["dense_hidden_size"]) == (left, 32)
    config = json.loads((package / "config.json").read_text(encoding="utf-8"))
    assert config["hidden_size"] == left
    assert config["edgeprune"].get("embedding_rank") == report["embedding_rank"] == record.embedding_rank


def run_package(package: Path, *inputs: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Where what reads the other modality's inputs isn't installed."""
    other = "tokenizers" if (package / "preprocessor_config.json").exists() else "PIL"
    code = f"import runpy, sys; sys.modules[{other!r}] = None; sys.argv = sys.argv[1:]"
    code += "; runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code, package / "run.py", *inputs], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_the_documentation_has_the_whole_matrix() -> None:
    """Printed by `pytest tests/pipeline/test_families.py --matrix`; every cell passes, or this test's neighbours fail."""
    whole = matrix({f"{model_type}-{task}": "passed" for model_type, task in CELLS})
    assert whole in (Path(__file__).parents[2] / "docs" / "use.md").read_text(encoding="utf-8")


def check_answer(task: TaskName, answer: dict[str, Any]) -> None:
    """It has the form that the task's answers have, and is about the text."""
    if task == "text-classification":
        assert answer["label"] in {"neg", "pos"}
    elif task == "image-classification":
        assert (answer["image"], answer["label"] in {"red", "green"}) == ("images/1.png", True)
    elif task == "token-classification":
        assert all(TEXT[span["start"] : span["end"]] == span["text"] for span in answer["spans"])
        assert {span["label"] for span in answer["spans"]} <= {"GOOD", "BAD"}
    elif task == "question-answering":
        assert answer["answer"] == TEXT[answer["start"] : answer["end"]] != ""
    elif task == "fill-mask":
        (candidates,) = answer["masks"]
        assert len(candidates) == 5
        assert sorted(candidates, key=lambda one: -one["score"]) == candidates
    else:
        assert len(answer["embedding"]) == 32

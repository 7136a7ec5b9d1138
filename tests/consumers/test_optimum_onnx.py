"""Packages in optimum-onnx, with transformers 4: it opens the folder, and its padded lists get the answers of run.py.

`make consumers` makes the environment that optimum-onnx is in, because it can't be installed beside transformers 5.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.ondevice.run import Model
from edgeprune.tasks.registry import TaskName, ondevice_modules
from tests.conftest import ModelFactory
from tests.support.e2e import PIPELINE, call, target_text, task_rows, write_rows

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".consumers" / "optimum-onnx" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="optimum-onnx isn't there; make consumers installs it")

CASES: dict[str, tuple[TaskName, str, str, str, str]] = {
    "single label, int8": (
        "text-classification",
        "bert",
        "int8-dynamic",
        "single",
        "ORTModelForSequenceClassification",
    ),
    "single label": ("text-classification", "modernbert", "fp32", "single", "ORTModelForSequenceClassification"),
    "multi-label": ("text-classification", "roberta", "fp32", "multi", "ORTModelForSequenceClassification"),
    "tags": ("token-classification", "distilbert", "fp32", "single", "ORTModelForTokenClassification"),
    "answers": ("question-answering", "bert", "fp32", "single", "ORTModelForQuestionAnswering"),
    "masked words": ("fill-mask", "electra", "fp32", "single", "ORTModelForMaskedLM"),
}
"""Task, family, precision, labels, and optimum-onnx's class."""


def texts_of(task: TaskName) -> list[Any]:
    """100 texts of several lengths, in the form that run.py is given."""
    found = []
    for number, row in enumerate(task_rows(task, 100, seed=5)):
        text = str(row.get("text") or row.get("context") or " ".join(row["tokens"]))
        text = " ".join([text] * (1 + number % 3))
        if task == "fill-mask":
            text = text.replace("film", "[MASK]")
        found.append([row["question"], text] if task == "question-answering" else text)
    return found


@pytest.mark.parametrize("case", CASES)
def test_lists_are_answered_as_run_py_answers_each_text(
    tiny_model_folder: ModelFactory, tmp_path: Path, case: str
) -> None:
    task, model_type, mode, kind, consumer = CASES[case]
    (tmp_path / "tiny.yaml").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "here.yaml").write_text(target_text("here", precision={"mode": mode}, runner=None), encoding="utf-8")
    done = call(
        "build", tiny_model_folder(model_type, "Model"), "--task", task, "--offline", "--name", "tiny",
        "--data", write_rows(tmp_path / "data.jsonl", task_rows(task, kind=kind)), "--pipeline", tmp_path / "tiny.yaml",
        "--target", tmp_path / "here.yaml", "--store", tmp_path / "store", "--output", tmp_path / "dist",
    )  # fmt: skip
    assert done.code == 0, done.err
    package, texts = tmp_path / "dist" / "tiny-0-here", texts_of(task)
    answered = subprocess.run(
        [PYTHON, Path(__file__).with_name("answer_with_optimum.py"), consumer, package],
        input=json.dumps(texts), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr
    found = json.loads(answered.stdout)
    preprocess, postprocess = ondevice_modules(task)
    model = Model(package, preprocess=preprocess, postprocess=postprocess)
    expected = model.outputs([tuple(text) if isinstance(text, list) else text for text in texts])
    for ours, alone in zip(expected, found["alone"], strict=True):
        np.testing.assert_allclose(alone, ours, atol=1e-5)
    if mode == "fp32":
        for ours, listed in zip(expected, found["lists"], strict=True):
            np.testing.assert_allclose(listed, ours, atol=1e-4)
    else:  # a dynamic scale is the whole batch's
        same = [np.argmax(ours) == np.argmax(listed) for ours, listed in zip(expected, found["lists"], strict=True)]
        assert sum(same) >= 99
    assert "attention_mask_must_be_ones_then_zeros" in found["left"]

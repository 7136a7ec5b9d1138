"""The packages that other programs open, each built once, and what the programs' answers have to be."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeprune
from edgeprune.tasks.registry import TaskName
from tests.conftest import ModelFactory
from tests.support.e2e import PIPELINE, call, target_text, task_rows, write_rows


@dataclass(frozen=True)
class Case:
    """A package that is built: with half of a tiny model's heads and neurons."""

    task: TaskName
    family: str
    precision: str = "fp32"
    labels: str = "single"


@dataclass(frozen=True)
class Packaged:
    """A package, and inputs of several lengths."""

    folder: Path
    contents: Sequence[Any]
    """100 that are not cut."""
    cut: Sequence[Any]
    """A few that are longer than the model takes."""

    def expect(self, answered: str, contents: Sequence[Any]) -> None:
        """Compare with what `run.py` answers: `alone` has each row's outputs, `lists` in padded lists, `left` the error."""
        found = json.loads(answered)
        model = edgeprune.load_onnx(self.folder)
        expected = model.outputs([tuple(text) if isinstance(text, list) else text for text in contents])
        for ours, alone in zip(expected, found["alone"], strict=True):
            np.testing.assert_allclose(alone, ours, atol=1e-5)
        if "int8" in (self.folder / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]:
            # A dynamic scale is the whole list's.
            same = [np.argmax(ours) == np.argmax(one) for ours, one in zip(expected, found["lists"], strict=True)]
            assert sum(same) >= 99
        else:
            for ours, one in zip(expected, found["lists"], strict=True):
                np.testing.assert_allclose(one, ours, atol=1e-4)
        assert "attention_mask_must_be_ones_then_zeros" in found["left"]


def contents_of(task: TaskName, rows: int, times: int) -> list[Any]:
    """Texts of several lengths, in the form that JSON has them; a pair is a list. Each is repeated so many times or more."""
    found = []
    for number, row in enumerate(task_rows(task, rows, seed=5)):
        text = str(row.get("text") or row.get("context") or " ".join(row["tokens"]))
        text = " ".join([text] * (times + number % 3))
        if task == "fill-mask":
            text = text.replace("film", "[MASK]")
        found.append([row["question"], text] if task == "question-answering" else text)
    return found


@pytest.fixture(scope="session")
def packaged(tiny_model_folder: ModelFactory, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Packaged]:
    @cache
    def make(case: Case) -> Packaged:
        place = tmp_path_factory.mktemp(case.family)
        pipeline = PIPELINE.replace("max_length: 16", "max_length: 48")
        (place / "tiny.yaml").write_text(pipeline, encoding="utf-8")
        target = target_text("here", precision={"mode": case.precision}, runner=None)
        (place / "here.yaml").write_text(target, encoding="utf-8")
        rows = task_rows(case.task, kind=case.labels)
        done = call(
            "build", tiny_model_folder(case.family, "Model"), "--task", case.task, "--offline", "--name", "tiny",
            "--data", write_rows(place / "data.jsonl", rows), "--pipeline", place / "tiny.yaml",
            "--target", place / "here.yaml", "--store", place / "store", "--output", place / "dist",
        )  # fmt: skip
        assert done.code == 0, done.err
        contents, cut = contents_of(case.task, 100, 1), contents_of(case.task, 4, 12)
        return Packaged(place / "dist" / "tiny-0-here", contents, cut)

    return make

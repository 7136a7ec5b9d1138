"""The packages that other programs open, each built once, and what the programs' answers have to be."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeprune
from edgeprune.tasks.registry import TaskName
from tests.conftest import IMAGE_TASKS, ModelFactory
from tests.consumers.cases import Case
from tests.support.e2e import PIPELINE, call, image_rows, target_text, task_rows, write_rows

CONSUMERS = Path(__file__).parents[2] / ".consumers"
"""Where `make consumers` installs the programs."""


Record = Callable[[str, object], None]
"""pytest's `record_property`."""


@dataclass(frozen=True)
class Packaged:
    """A package, and inputs of several lengths."""

    case: Case
    folder: Path
    contents: Sequence[Any]
    """100 that are not cut; of images, their paths."""
    cut: Sequence[Any]
    """A few that are longer than the model takes; none of images."""

    def outputs(self, contents: Sequence[Any]) -> list[Any]:
        """What `run.py` computes for each of them."""
        images = self.case.task in IMAGE_TASKS
        given = [Path(one) if images else tuple(one) if isinstance(one, list) else one for one in contents]
        return edgeprune.load_onnx(self.folder).outputs(given)

    def expect(self, answered: str, contents: Sequence[Any], record: Record, *, tolerance: float = 1e-5) -> None:
        """Compare with what `run.py` answers: `alone` has each row's outputs, `lists` in padded lists, `left` the error."""
        said = json.loads(answered)
        found = Compared(self.outputs(contents), said["alone"], said["lists"])
        record("compared", found.figures)
        assert found.alone_error < tolerance
        if self.case.first_stage:  # lists are the encoder's, whoever answers a text alone
            assert found.lists_error > 1e-3
        elif self.case.precision == "int8-dynamic":  # a scale is the whole list's
            assert found.lists_equal >= 0.99
        else:
            assert found.lists_error < 1e-4
        if self.case.task not in IMAGE_TASKS:
            assert "attention_mask_must_be_ones_then_zeros" in said["left"]


class Compared:
    """Outputs beside `run.py`'s: the share of rows whose largest number is the same one, and the largest difference."""

    def __init__(self, expected: Sequence[Any], alone: Sequence[Any], lists: Sequence[Any]) -> None:
        self.alone_equal, self.alone_error = self._compare(expected, alone)
        self.lists_equal, self.lists_error = self._compare(expected, lists)

    @property
    def figures(self) -> tuple[float, float, float, float]:
        return self.alone_equal, self.alone_error, self.lists_equal, self.lists_error

    @staticmethod
    def _compare(expected: Sequence[Any], found: Sequence[Any]) -> tuple[float, float]:
        pairs = [(np.asarray(ours), np.asarray(one)) for ours, one in zip(expected, found, strict=True)]
        assert all(ours.shape == one.shape for ours, one in pairs)
        equal = [(ours.argmax(-1) == one.argmax(-1)).all() for ours, one in pairs]
        return float(np.mean(equal)), float(max(np.abs(ours - one).max() for ours, one in pairs))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """With --matrix: what each program answered."""
    reports = [one for one in terminalreporter.stats.get("passed", ()) if dict(one.user_properties).get("compared")]
    if config.getoption("--matrix") and reports:
        terminalreporter.write_line(
            "\n| test | equal alone | largest difference | equal in lists | largest difference |"
        )
        terminalreporter.write_line("|---|---|---|---|---|")
        for report in reports:
            alone, alone_error, lists, lists_error = dict(report.user_properties)["compared"]
            name = report.nodeid.rpartition("::")[2]
            terminalreporter.write_line(
                f"| {name} | {alone:.1%} | {alone_error:.1e} | {lists:.1%} | {lists_error:.1e} |"
            )


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


def write_pooling(folder: Path, pooling: str) -> None:
    """Make a checkpoint's folder one of sentence-transformers 5."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if pooling == "mean" else [])]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, ("", "1_Pooling", "2_Normalize"), strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    config = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="session")
def packaged(tiny_model_folder: ModelFactory, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Packaged]:
    @cache
    def make(case: Case) -> Packaged:
        place = tmp_path_factory.mktemp(case.family)
        images = case.task in IMAGE_TASKS
        model = Path(shutil.copytree(tiny_model_folder(case.family, "Model"), place / "model"))
        if case.task == "feature-extraction":
            write_pooling(model, case.pooling)
        pipeline = PIPELINE.replace(", max_length: 16", "" if images else ", max_length: 48")
        if case.first_stage:
            pipeline += "  cascade: {drop: 0.4, confidence: 0.6, pair_bits: 8}\n"
        if case.examples:
            tokenizer = "json" if case.examples == ("js",) else "graph"
            pipeline += f"  package: {{tokenizer: {tokenizer}, examples: [{', '.join(case.examples)}]}}\n"
        (place / "tiny.yaml").write_text(pipeline, encoding="utf-8")
        target = target_text("here", precision={"mode": case.precision}, runner=None)
        (place / "here.yaml").write_text(target, encoding="utf-8")
        rows = image_rows(place) if images else task_rows(case.task, kind=case.labels)
        kind = ["--problem-type", "regression"] if case.labels == "regression" else []
        done = call(
            "build", model, "--task", case.task, "--offline", "--name", "tiny", *kind,
            "--data", write_rows(place / "data.jsonl", rows), "--pipeline", place / "tiny.yaml",
            "--target", place / "here.yaml", "--store", place / "store", "--output", place / "dist", "--no-report", "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        assert not case.first_stage or 0 < done.document["cascade"]["test"]["answered"] < 1
        folder = place / "dist" / "tiny-0-here"
        if images:
            asked = [str(place / "asked" / row["image"]) for row in image_rows(place / "asked", 100, seed=5)]
            return Packaged(case, folder, asked, [])
        return Packaged(case, folder, contents_of(case.task, 100, 1), contents_of(case.task, 4, 12))

    return make

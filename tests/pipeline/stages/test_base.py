from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import JsonValue

from edgeprune.base.errors import DataError, IntegrityError
from edgeprune.base.events import ignore
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.reference import ModelSource
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.prepare import _warn_of_cut
from edgeprune.store.records import Artifact, StageMetrics
from edgeprune.tasks.registry import COLUMNS


class Copy(Stage):
    """Writes the files it is told to."""

    name = "copy"
    version = 1
    libraries = ("numpy",)
    roles = ("dense", "checkpoint")
    produces = ("model.onnx", "scores")

    def __init__(self, config: dict[str, JsonValue] | None = None, *, writes: tuple[str, ...] = produces) -> None:
        self.config = config or {"keep": 0.5}
        self.writes = writes

    def fingerprint(self) -> dict[str, JsonValue]:
        return self.config

    def run(self, work: Work) -> StageMetrics:
        for name in self.writes:
            (work.folder / name).write_text("x")
        return StageMetrics(scores={"written": len(self.writes)})


class CopyAgain(Copy):
    version = 2


class Other(Copy):
    name = "other"


class Torched(Copy):
    libraries = ("numpy", "torch")


PARENTS = {"dense": "a", "checkpoint": "b"}


def work(tmp_path: Path, roles: tuple[str, ...]) -> Work:
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "a"}\n')
    manifest: Any = None
    return Work(
        model=ModelSource(tmp_path, "m", "m"),
        data=DataSource(DataSpec(train=str(data)), columns=COLUMNS["feature-extraction"], offline=True),
        parents={role: Artifact(tmp_path, manifest) for role in roles},
        folder=tmp_path,
        partial=tmp_path / "partial",
        seed=0,
        emit=ignore,
        progress=lambda _done, _total, _unit: None,
    )


def test_a_stage_runs_between_what_it_needs_and_what_it_promises(tmp_path: Path):
    assert Copy()(work(tmp_path, Copy.roles)).scores == {"written": 2}
    assert (tmp_path / "model.onnx").exists()


def test_a_stage_without_its_parents_does_not_run(tmp_path: Path):
    with pytest.raises(IntegrityError, match="the stage copy needs dense, which the pipeline didn't give it"):
        Copy()(work(tmp_path, ("checkpoint",)))
    assert not (tmp_path / "model.onnx").exists()


def test_a_stage_that_breaks_its_promise_is_refused(tmp_path: Path):
    with pytest.raises(IntegrityError, match="the stage copy ended without writing scores"):
        Copy(writes=("model.onnx",))(work(tmp_path, Copy.roles))


def test_a_key_repeats():
    assert Copy().key(PARENTS, 0) == Copy().key(dict(reversed(PARENTS.items())), 0)
    assert len(Copy().key(PARENTS, 0)) == 64


@pytest.mark.parametrize(
    ("stage", "parents", "seed"),
    [
        (Copy({"keep": 0.4}), PARENTS, 0),
        (Copy({"keep": 0.5, "more": None}), PARENTS, 0),
        (CopyAgain(), PARENTS, 0),
        (Other(), PARENTS, 0),
        (Torched(), PARENTS, 0),
        (Copy(), {"dense": "a", "checkpoint": "c"}, 0),
        (Copy(), {"dense": "b", "checkpoint": "a"}, 0),
        (Copy(), PARENTS, 1),
    ],
)
def test_whatever_determines_the_output_changes_the_key(stage: Stage, parents: dict[str, str], seed: int):
    assert stage.key(parents, seed) != Copy().key(PARENTS, 0)


def test_what_does_not_determine_the_output_does_not():
    assert Copy(writes=()).key(PARENTS, 0) == Copy().key(PARENTS, 0)


def test_what_lies_behind_the_cut_is_said():
    said: list[Any] = []
    behind = {"train": 0.5, "selection": 0.0, "test": 0.25}
    task: Any = SimpleNamespace(behind_cut=behind.__getitem__, spec=SimpleNamespace(max_length=8))
    watched: Any = SimpleNamespace(emit=said.append)
    _warn_of_cut(task, {name: name for name in behind}, watched)  # type: ignore[arg-type, misc]
    (note,) = said
    assert "25.0% of what the test split asks for is behind the first 8 tokens" in note.message
    behind.update(train=1.0)
    with pytest.raises(DataError, match="everything that the training rows ask for is behind the first 8 tokens"):
        _warn_of_cut(task, {name: name for name in behind}, watched)  # type: ignore[arg-type, misc]

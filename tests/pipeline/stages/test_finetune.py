"""edgeprune/pipeline/stages/finetune.py: what the stage does with its settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgeprune.base.errors import DataError
from edgeprune.base.events import Event, Note
from edgeprune.data.source import DataSource
from edgeprune.data.table import Columns, DataSpec
from edgeprune.models.checkpoint import load_any
from edgeprune.pipeline.stages.answers import Answers
from edgeprune.pipeline.stages.finetune import Finetune
from edgeprune.pipeline.stages.prune_context import PruneContext
from edgeprune.pipeline.stages.teach import Teach
from edgeprune.profiles.pipeline import DistillConfig, FinetuneConfig, ReplaceConfig
from edgeprune.profiles.training import PrepareConfig
from edgeprune.store.environment import NumericMode
from edgeprune.store.records import Artifact
from edgeprune.tasks.evaluation import predict_torch
from edgeprune.tasks.example import Example
from edgeprune.tasks.prepared import open_prepared
from edgeprune.training import trainer
from edgeprune.training.augmentation import Augmentation
from tests.support.e2e import Built, work_of, write_rows

WEIGHTS = "checkpoint/model.safetensors"


@pytest.mark.parametrize(("augment", "replace", "share"), [(0, 0, 0.0), (0.5, 0, 0.5), (1, 0, 1.0), (0, 0.5, 0.5)])
def test_so_large_a_share_of_the_texts_is_altered_as_is_asked_for(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augment: float, replace: float, share: float
) -> None:
    drawn: list[Example | None] = []
    draw = Augmentation.draw

    def watched(self: Augmentation, row: int, epoch: int) -> Example | None:
        drawn.append(draw(self, row, epoch))
        return drawn[-1]

    monkeypatch.setattr(Augmentation, "draw", watched)
    replaced = ReplaceConfig(texts=replace, words=1.0) if replace else None
    stage = Finetune(
        FinetuneConfig(epochs=1, augment=augment, replace=replaced),
        unlabelled_digest=None,
        numeric=NumericMode(bf16=False, threads=1),
        round_number=1,
    )
    stage.run(work_of(built, tmp_path, dense=("prepare", 0), checkpoint=("prune", 1)))
    altered = [one for one in drawn if one is not None]
    assert len(altered) == pytest.approx(share * len(drawn), abs=0.2 * len(drawn))
    assert bool(drawn) is (share > 0)


def finetuned(
    built: Built, folder: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], **settings: Any
) -> tuple[dict[str, Any], list[str]]:
    """Run the stage with rows without labels; return what the trainer was given, and the notes."""
    given: dict[str, Any] = {}
    train, told = trainer.train, list[Event]()

    def watched(*arguments: Any, **keywords: Any) -> None:
        given.update(keywords)
        train(*arguments, **keywords)

    monkeypatch.setattr(trainer, "train", watched)
    rows = write_rows(folder / "unlabelled.jsonl", [{"text": text} for text in texts])
    unlabelled = DataSource(DataSpec(train=str(rows)), columns=Columns(content=("text",)), offline=True)
    stage = Finetune(
        FinetuneConfig(epochs=1, **settings),
        unlabelled_digest=unlabelled.digest,
        numeric=NumericMode(bf16=False, threads=1),
        round_number=1,
    )
    work = work_of(built, folder, dense=("prepare", 0), checkpoint=("prune", 1))
    metrics = stage.run(replace(work, unlabelled=unlabelled, emit=told.append))
    notes = [event.message for event in told if isinstance(event, Note)]
    assert list(metrics.notes) == notes, "what is told is kept"
    return given, notes


def test_rows_without_labels_are_learned_from_beside_the_training_rows(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, notes = finetuned(built, tmp_path, monkeypatch, ["one more text", "another text", "one more text"])
    targets = [example.target is not None for example in given["examples"]]
    assert targets[-3:] == [False] * 3
    assert all(targets[:-3])
    first, second, third = (example.inputs["input_ids"] for example in given["examples"][-3:])
    assert first == third != second
    assert notes == []


def test_pieces_of_texts_without_labels_are_put_together_too(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    draw = Augmentation.draw

    def watched(self: Augmentation, row: int, epoch: int) -> Example | None:
        seen.add(row)
        return draw(self, row, epoch)

    monkeypatch.setattr(Augmentation, "draw", watched)
    given, _ = finetuned(built, tmp_path, monkeypatch, ["one more text"] * 5, augment=1)
    assert seen == set(range(len(given["examples"])))


def test_rows_that_choose_or_judge_a_model_or_that_it_knows_are_left_out(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_of(built, tmp_path, dense=("prepare", 0))
    splits = open_prepared(work.parents["dense"], work.data).splits
    known = [str(split.contents[0]) for split in splits.values()]
    given, notes = finetuned(built, tmp_path, monkeypatch, [*known, "another text"])
    assert [example.target is None for example in given["examples"]].count(True) == 1
    assert notes == ["3 of 4 unlabelled texts are among the rows with labels, and are left out"]
    rows = write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in [*known, "another text"]])
    more = DataSource(DataSpec(train=str(rows)), columns=Columns(content=("text",)), offline=True)
    pruning = replace(work_of(built, tmp_path, dense=("prepare", 0), checkpoint=("prepare", 0)), unlabelled=more)
    context = PruneContext(pruning, splits=("train", "selection", "test"))
    assert list(context.corpus) == [*context.contents, "another text"], "a vocabulary isn't counted on them either"
    with pytest.raises(DataError, match="all 3 texts of --unlabelled are among the rows of --data; give others"):
        finetuned(built, tmp_path, monkeypatch, known)


def test_a_teacher_of_another_seed_learned_from_the_same_rows_and_teaches(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_of(built, tmp_path, dense=("prepare", 0), checkpoint=("prune", 1))
    dense, numeric = work.parents["dense"], NumericMode(bf16=False, threads=1)
    stage = Teach(
        PrepareConfig(epochs=1, learning_rate=5e-3, max_length=16), task="text-classification", problem_type=None,
        model_digest="", data_digest="", numeric=numeric, split_seed=0,
    )  # fmt: skip
    folder = tmp_path / "teach" / "0" / "made"
    folder.mkdir(parents=True)
    stage.run(replace(work, folder=folder, partial=tmp_path / "partial", seed=1))
    assert (folder / "splits.json").read_bytes() == dense.file("splits.json").read_bytes(), "not seed 1's own splits"
    assert (folder / WEIGHTS).read_bytes() != dense.file(WEIGHTS).read_bytes()
    given: dict[str, Any] = {}
    monkeypatch.setattr(trainer, "train", lambda *_, **keywords: given.update(keywords))
    config = FinetuneConfig(epochs=1, distill=DistillConfig(teachers=2))
    tuning = Finetune(config, unlabelled_digest=None, numeric=numeric, round_number=1)
    taught = replace(work, folder=tmp_path, parents={**work.parents, "teacher-1": Artifact(folder, dense.manifest)})
    tuning.run(taught)
    (other,) = given["teacher"].others
    assert torch.equal(other.classifier.weight, load_file(folder / WEIGHTS)["classifier.weight"])
    assert not any(weight.requires_grad for weight in other.parameters())
    assert not other.training
    assert {example.answer is None for example in given["examples"]} == {True}

    rows = write_rows(tmp_path / "unlabelled.jsonl", [{"text": "one more text"}])
    unlabelled = DataSource(DataSpec(train=str(rows)), columns=Columns(content=("text",)), offline=True)
    taught = replace(taught, unlabelled=unlabelled)
    prepared = open_prepared(dense, work.data)
    examples = [*prepared.splits["train"].examples, *prepared.task.encode(prepared.reader, ["one more text"])]
    models = [load_any(artifact.file("checkpoint")) for artifact in (dense, taught.parents["teacher-1"])]
    outputs = [np.stack(predict_torch(model, prepared.task, examples, prepared.reader)) for model in models]
    for of_dense, expected in ((True, (outputs[0] + outputs[1]) / 2), (False, outputs[1])):
        made = tmp_path / f"answers-{of_dense}"
        made.mkdir()
        Answers(of_dense=of_dense, unlabelled_digest=unlabelled.digest).run(replace(taught, folder=made))
        answered = {**work.parents, "answers": Artifact(made, dense.manifest)}
        tuning.run(replace(taught, parents=answered))
        np.testing.assert_allclose(np.stack([one.answer for one in given["examples"]]), expected, rtol=1e-5)
        assert not given["teacher"].others

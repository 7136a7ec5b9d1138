"""edgeprune/pipeline/stages/prepare.py: what of a checkpoint is used, and what is said of the rest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from safetensors.torch import load_file, save_file

from edgeprune.base.errors import ModelError
from edgeprune.base.events import Event, Note
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.checkpoint import load_config
from edgeprune.models.reference import resolve_model
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.prepare import Prepare
from edgeprune.pipeline.subject import find_subject
from edgeprune.profiles.pipeline import PrepareConfig
from edgeprune.store.environment import NumericMode
from edgeprune.tasks.registry import COLUMNS, TaskName, task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import DataFactory, ModelFactory

Loaded = tuple[frozenset[str], list[Note]]


@pytest.fixture
def loaded(tmp_path: Path, tiny_data: DataFactory) -> Callable[..., Loaded]:
    """`loaded(folder, task)` → the weights to be trained, and the notes, when prepare has loaded the checkpoint."""

    def load(folder: Path, task: TaskName) -> Loaded:
        notes: list[Event] = []
        rows = DataSpec(train=str(tiny_data(rows=4)))
        subject = find_subject(str(folder), rows, task=task, offline=True)
        stage = Prepare(
            PrepareConfig(), task=task, problem_type=None, has_head=subject.has_head, model_digest="", data_digest="",
            numeric=NumericMode(bf16=False, threads=1),
        )  # fmt: skip
        work = Work(
            resolve_model(str(folder)), DataSource(rows, columns=COLUMNS[task], offline=True),
            parents={}, folder=tmp_path, partial=tmp_path, seed=0, emit=notes.append, progress=lambda *_: None,
        )  # fmt: skip
        spec = TaskSpec(
            task=task, labels=("neg", "pos"), inputs=("input_ids",), max_length=16,
            problem_type="single_label_classification" if task == "text-classification" else None,
        )  # fmt: skip
        _, missing = stage._load(work, load_config(folder), task_for(spec))
        return missing, cast("list[Note]", notes)

    return load


@pytest.fixture
def edited(tiny_model_folder: ModelFactory, tmp_path: Path) -> Callable[..., Path]:
    """`edited(head, rename, config)` → a tiny model's copy with other names for its weights and a changed config.json."""

    def edit(head: str, rename: Callable[[str], str] = str, **config: Any) -> Path:
        folder = Path(shutil.copytree(tiny_model_folder("bert", head), tmp_path / "edited"))
        tensors = load_file(folder / "model.safetensors")
        save_file(
            {rename(name): value for name, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
        )
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | config), encoding="utf-8")
        return folder

    return edit


def test_a_whole_checkpoint_is_used_in_silence(tiny_model_folder: ModelFactory, loaded: Callable[..., Loaded]) -> None:
    assert loaded(tiny_model_folder(), "text-classification") == (frozenset(), [])


def test_a_head_under_another_name_is_refused_with_both_names(
    edited: Callable[..., Path], loaded: Callable[..., Loaded]
) -> None:
    folder = edited("ForSequenceClassification", lambda name: name.replace("classifier.", "classifier.out_proj."))
    with pytest.raises(
        ModelError,
        match=r"should be a whole BertForSequenceClassification by its config.json, but lacks classifier.bias, "
        r"classifier.weight and has classifier.out_proj.bias, classifier.out_proj.weight instead",
    ):
        loaded(folder, "text-classification")


def test_weights_beside_the_whole_head_are_a_warning(
    edited: Callable[..., Path], loaded: Callable[..., Loaded]
) -> None:
    folder = edited("ForSequenceClassification")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"dense.weight": tensors["classifier.weight"].clone()}, folder / "model.safetensors")
    missing, (note,) = loaded(folder, "text-classification")
    assert not missing
    assert note.level == "warning"
    assert "1 of the checkpoint's weights are not used" in note.message
    assert "dense.weight; if it was trained with them" in note.message


def test_another_tasks_head_is_told_and_a_new_one_trained(
    tiny_model_folder: ModelFactory, loaded: Callable[..., Loaded]
) -> None:
    missing, (note,) = loaded(tiny_model_folder("bert", "ForMaskedLM"), "text-classification")
    assert {"classifier.weight", "classifier.bias"} <= missing
    assert note.level == "info"
    assert "of the checkpoint's weights are not used, for a BertForSequenceClassification has no place" in note.message


def test_another_tasks_answers_are_not_taken_for_this_ones(
    tiny_model_folder: ModelFactory, loaded: Callable[..., Loaded]
) -> None:
    missing, (note,) = loaded(tiny_model_folder("bert", "ForTokenClassification"), "text-classification")
    assert {"classifier.weight", "classifier.bias"} <= missing
    assert "classifier.bias, classifier.weight are those of a BertForTokenClassification" in note.message


@pytest.mark.parametrize("architectures", [None, ["Trainer"]])
def test_answers_of_no_class_are_refused(
    edited: Callable[..., Path], loaded: Callable[..., Loaded], architectures: list[str] | None
) -> None:
    folder = edited("ForSequenceClassification", architectures=architectures)
    with pytest.raises(
        ModelError, match=r"names no class that says .*set architectures there, to \['BertForSequence.*or "
    ):
        loaded(folder, "text-classification")


def test_a_head_that_an_embedding_does_not_need_is_told(
    tiny_model_folder: ModelFactory, loaded: Callable[..., Loaded]
) -> None:
    missing, (note,) = loaded(tiny_model_folder(), "feature-extraction")
    assert not missing
    assert (note.level, "classifier.bias" in note.message) == ("info", True)


def test_a_gap_among_the_labels_matters_where_the_head_is_used(
    edited: Callable[..., Path], loaded: Callable[..., Loaded]
) -> None:
    folder = edited("ForSequenceClassification", id2label={"0": "neg", "2": "pos"})
    loaded(folder, "feature-extraction")
    with pytest.raises(ModelError, match=r"config.json: id2label has no name for output 1"):
        loaded(folder, "text-classification")

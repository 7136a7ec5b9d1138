"""edgeprune/pipeline/stages/prepare.py: what of a checkpoint is used, and what is said of the rest."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from edgeprune.base.errors import DataError, ModelError
from edgeprune.base.events import Event, Note
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec, Table
from edgeprune.models.checkpoint import load_config
from edgeprune.models.reference import resolve_model
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.given import _split
from edgeprune.pipeline.stages.prepare import Prepare
from edgeprune.pipeline.subject import find_subject
from edgeprune.profiles.training import PrepareConfig
from edgeprune.store.environment import NumericMode
from edgeprune.tasks.registry import COLUMNS, TaskName, task_for
from edgeprune.tasks.spec import LabelForm, ProblemType, TaskSpec
from tests.conftest import DataFactory, ModelFactory
from tests.support.e2e import Built, work_of
from tests.support.tasks import MULTI, REGRESSION, SINGLE

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
        _, missing = stage._load(work, load_config(folder), task_for(spec), is_pruned=False)
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


def spec(labels: tuple[str, ...] = (), kind: ProblemType | None = None, form: LabelForm = "name") -> TaskSpec:
    return TaskSpec(task="text-classification", problem_type=kind, labels=labels, label_form=form, inputs=())


def table(labels: list[Any] | None, rows: int = 0) -> Table:
    return Table([f"text {row}" for row in range(rows if labels is None else len(labels))], labels)


def rows_of(
    labels: list[Any] | None, found: TaskSpec, seed: int = 0, rows: int = 0, share: float = 0.1
) -> dict[str, list[int]]:
    return {name: taken for name, (_, taken) in _split({"train": table(labels, rows)}, found, seed, share).items()}


@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_as_frequent_in_every_split_and_stays_in_train(seed: int):
    labels = ["a"] * 120 + ["b"] * 75 + ["rare"] * 4 + ["once"]
    found = rows_of(labels, spec(("a", "b", "once", "rare"), SINGLE), seed)
    assert sorted(row for rows in found.values() for row in rows) == list(range(200))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 153, "selection": 17, "test": 30}
    counts = {name: Counter(labels[row] for row in rows) for name, rows in found.items()}
    assert set(counts["train"]) == {"a", "b", "rare", "once"}
    assert counts["test"]["a"] in (17, 18, 19)
    assert counts["selection"]["b"] in (5, 6, 7)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([["a", "b"], ["a"], ["b"], []] * 9 + [["a", "c"], ["c"]], spec(("a", "b", "c"), MULTI)),
        ([["O"] * 5, ["O", "B-LOC"]] * 9 + [["B-PER"], ["O", "B-PER"]], spec(("B-LOC", "B-PER", "O"))),
        ([[1, 0, 0], [0, 1, 0]] * 9 + [[0, 0, 1], [1, 0, 1]], spec(("0", "1", "2"), MULTI, "vector")),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_the_labels_of_lists_stay_in_train(labels: list[Any], found: TaskSpec, seed: int):
    taken = rows_of(labels, found, seed)["train"]
    there = {name for row in taken for name in labels[row] if isinstance(name, str)}
    if found.label_form == "vector":
        there = set(np.array(found.labels)[np.array([labels[row] for row in taken]).any(0)].tolist())
    assert there == set(found.labels)


@pytest.mark.parametrize(
    ("labels", "found"),
    [(None, spec()), ([float(row) for row in range(100)], spec(("value",), REGRESSION)), (["a", "b"] * 50, spec(("a", "b"), SINGLE))],
)  # fmt: skip
def test_a_split_is_the_seeds(labels: list[Any] | None, found: TaskSpec):
    first, again, other = (rows_of(labels, found, seed, rows=100) for seed in (0, 0, 1))
    assert first == again != other
    assert {name: len(rows) for name, rows in first.items()} == {"train": 77, "selection": 8, "test": 15}


def test_a_larger_share_may_be_selected_by():
    labels = ["a", "b"] * 50
    few, many = (rows_of(labels, spec(("a", "b"), SINGLE), share=share) for share in (0.1, 0.4))
    assert {name: len(rows) for name, rows in many.items()} == {"train": 51, "selection": 34, "test": 15}
    assert few["test"] == many["test"]


def test_given_splits_are_taken_as_they_are():
    tables = {"train": table(["a", "b"] * 10), "test": table(["b"] * 3)}
    found = _split(tables, spec(("a", "b"), SINGLE), 0, 0.1)  # type: ignore[arg-type]
    assert found["test"] == ("test", [0, 1, 2])
    assert (len(found["train"][1]), len(found["selection"][1])) == (18, 2)


def test_labels_that_leave_nothing_to_split_off_are_refused():
    labels = [str(row) for row in range(1_000)]
    with pytest.raises(DataError, match="1,000 labels in 1,010 rows leave 10 rows for the test split, which takes 152"):
        rows_of([*labels, *labels[:10]], spec(tuple(labels), SINGLE))


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="only 3 rows are left to train on"):
        rows_of(["a", "b", "a", "b", "a"], spec(("a", "b"), SINGLE))


def fingerprint(*, has_head: bool, **config: Any) -> dict[str, Any]:
    stage = Prepare(
        PrepareConfig(**config), task="text-classification", problem_type=None, has_head=has_head, model_digest="m",
        data_digest="d", numeric=NumericMode(bf16=True, threads=2),
    )  # fmt: skip
    return stage.fingerprint()


KEPT: dict[str, Any] = {
    "config": {
        "batch_size": 32, "epochs": 3, "evaluations_per_epoch": 1, "freeze_embeddings": False, "learning_rate": 0.0001,
        "max_length": 128, "patience": None, "precision": "auto", "selection_share": 0.1, "warmup_ratio": 0.1,
        "weight_decay": 0.01,
    },
    "task": "text-classification", "problem_type": None, "model": "m", "data": "d", "numeric": {"bf16": True, "threads": 2},
}  # fmt: skip
"""What entered the key of a dense model of three epochs before there was `auto`."""


def test_old_keys_hold_where_nothing_changed() -> None:
    assert fingerprint(has_head=False, epochs=3, learning_rate=1e-4) == KEPT
    assert fingerprint(has_head=True) == KEPT | {"config": KEPT["config"] | {"epochs": 2}}


def test_how_a_dense_model_is_trained_enters_its_key() -> None:
    ways: list[dict[str, Any]] = [
        {"epochs": "auto"},
        {"epochs": 3},
        {"patience": 1},
        {"learning_rate": "auto"},
        {"learning_rate": (1e-4, 2e-4)},
    ]
    found = [json.dumps(fingerprint(has_head=False, **way)) for way in ways]
    assert len(set(found)) == len(ways)
    assert "patience_version" in fingerprint(has_head=False, epochs=9, patience=2), "its result isn't what it was"


class Killed(Exception):  # noqa: N818 (it stands for a signal)
    """Raised in the middle of a training."""


def test_a_training_killed_in_its_second_learning_rate_ends_with_the_same_model(built: Built, tmp_path: Path) -> None:
    stage = Prepare(
        PrepareConfig(epochs=2, learning_rate=(5e-3, 1e-3), batch_size=32, max_length=16), task="text-classification",
        problem_type=None, has_head=False, model_digest="", data_digest="", numeric=NumericMode(bf16=False, threads=1),
    )  # fmt: skip

    def run(name: str, kill_at: int | None = None) -> tuple[bytes, dict[str, float], list[int]]:
        steps: list[int] = []

        def progress(done: int, total: int, _unit: str) -> None:
            steps.append(done)
            if done == kill_at:
                raise Killed
            assert done <= total

        folders = {"folder": tmp_path / name / "made", "partial": tmp_path / name / "partial"}
        folders["folder"].mkdir(parents=True, exist_ok=True)
        with quiet_libraries():
            metrics = stage.run(replace(work_of(built, tmp_path), **folders, progress=progress))
        return (folders["folder"] / "checkpoint/model.safetensors").read_bytes(), metrics.scores, steps

    weights, scores, steps = run("whole")
    assert list(scores) == ["selection_accuracy_at_0.005", "selection_accuracy_at_0.001"]
    with pytest.raises(Killed):
        run("killed", kill_at=steps[-1])
    resumed, again, taken = run("killed")
    assert (resumed, again) == (weights, scores)
    assert taken == steps[-len(taken) :], "the first learning rate is not trained again"
    assert len(taken) < len(steps) / 2

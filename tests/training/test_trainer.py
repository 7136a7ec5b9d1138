import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, set_seed

from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.data.table import Table
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_any
from edgeprune.models.record import PruningRecord
from edgeprune.models.text_reader import load_text_reader
from edgeprune.models.width import keep_hidden
from edgeprune.profiles.pipeline import DistillConfig
from edgeprune.profiles.training import TrainingConfig
from edgeprune.pruning.surgery import cut
from edgeprune.store.environment import NumericMode
from edgeprune.tasks.evaluation import predict_torch, to_torch
from edgeprune.tasks.example import Example
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from edgeprune.training import trainer
from edgeprune.training.augmentation import Augmentation
from edgeprune.training.distillation import Teacher, distillation_loss
from edgeprune.training.moments import later_unless_worse
from edgeprune.training.resume import _COMPLETE, Checkpoints, evaluated, save_weights, state_of
from edgeprune.training.rows import Rows
from edgeprune.training.trainer import train
from tests.conftest import ModelFactory, synthetic_rows

ROWS, SELECTION, BATCH = 44, 12, 8
STEPS = 6
"""An epoch's: five whole batches and a last one of four."""


class Interrupted(Exception):  # noqa: N818 (it stands for a signal)
    """Raised in the middle of a training."""


class Case:
    """A tiny model, its data, and what to train with."""

    def __init__(self, folder: Path) -> None:
        self.reader = load_text_reader(folder, 16)
        spec = TaskSpec(
            task="text-classification",
            problem_type="single_label_classification",
            labels=("neg", "pos"),
            max_length=16,
            inputs=self.reader.inputs,
        )
        rows = synthetic_rows(ROWS + SELECTION)
        self.folder = folder
        self.task = task_for(spec)
        self.texts = [str(row["text"]) for row in rows]
        self.references = np.array(
            self.task.references(Table(self.texts, [str(row["label"]) for row in rows]), where="here")
        )
        self.examples = self.task.encode(self.reader, self.texts, self.references)
        self.encodings = [example.inputs for example in self.examples]

    def train(
        self,
        state: Path,
        *,
        teacher: Teacher | None = None,
        stop_at: int | None = None,
        on_step: Callable[[int, int], None] = lambda _done, _total: None,
        model: PreTrainedModel | None = None,
        bf16: bool = False,
        seed: int = 0,
        labelled: bool = True,
        hold_zeros: bool = False,
        augmentation: Augmentation | None = None,
        selection: np.ndarray | None = None,
        **config: Any,
    ) -> PreTrainedModel:
        """The trained model; raises Interrupted after `stop_at` steps of this run."""
        taken = 0

        def step(done: int, total: int) -> None:
            nonlocal taken
            taken += 1
            on_step(done, total)
            if taken == stop_at:
                raise Interrupted

        set_seed(seed)
        model = load_any(self.folder) if model is None else model
        selection = self.references[ROWS:] if selection is None else selection
        learned = self.examples[:ROWS] if labelled else [Example(one) for one in self.encodings[:ROWS]]
        values = {"epochs": 2, "learning_rate": 3e-3, "batch_size": BATCH, **config}
        with quiet_libraries():
            train(
                model,
                self.task,
                config=TrainingConfig(**values),
                teacher=teacher,
                examples=learned,
                selection=Rows(self.examples[ROWS:], list(selection)),
                reader=self.reader,
                numeric=NumericMode(bf16=bf16, threads=1),
                seed=seed,
                folder=state,
                on_step=step,
                hold_zeros=hold_zeros,
                augmentation=augmentation,
            )
        return model

    def altered(self, share: float) -> Augmentation:
        return Augmentation(self.task, self.reader, self.texts[:ROWS], share=share, seed=0)

    def accuracy(self, model: PreTrainedModel) -> float:
        outputs = predict_torch(model, self.task, self.examples[ROWS:], self.reader)
        return self.task.metric(outputs, list(self.references[ROWS:]))


@pytest.fixture(scope="module")
def case(tiny_model_folder: ModelFactory) -> Case:
    return Case(tiny_model_folder())


@pytest.fixture(scope="module")
def whole(case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a training that nobody interrupted: two epochs, three evaluations in each."""
    return case.train(tmp_path_factory.mktemp("whole"), evaluations_per_epoch=3).state_dict()


def metrics_in(folder: Path) -> list[float]:
    """The metrics of a run's evaluations, in their order."""
    newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    return list(evaluated(folder, state_of(newest)).values())


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_separable_task_is_learnt(case: Case, tmp_path: Path):
    dense = load_any(case.folder)
    model = case.train(tmp_path / "state")
    assert case.accuracy(dense) < 0.8
    assert case.accuracy(model) > 0.9
    assert not model.training
    assert all(value.requires_grad for value in model.parameters())


def test_the_same_training_gives_the_same_bytes(case: Case, whole: dict[str, torch.Tensor], tmp_path: Path):
    assert same(case.train(tmp_path / "state", evaluations_per_epoch=3).state_dict(), whole)
    assert not same(case.train(tmp_path / "other", evaluations_per_epoch=3, seed=1).state_dict(), whole)


@pytest.mark.parametrize("stop_at", [1, 3, 4, 6, 9])
def test_an_interrupted_training_ends_with_the_bytes_of_one_that_was_not(
    case: Case, whole: dict[str, torch.Tensor], tmp_path: Path, stop_at: int
):
    """Before the first checkpoint, inside an epoch just before and after one, between epochs, and near the end."""
    with pytest.raises(Interrupted):
        case.train(tmp_path, evaluations_per_epoch=3, stop_at=stop_at)
    steps: list[int] = []
    resumed = case.train(tmp_path, evaluations_per_epoch=3, on_step=lambda done, _: steps.append(done))
    assert same(resumed.state_dict(), whole)
    assert steps == list(range((stop_at - 1) // 2 * 2 + 1, 2 * STEPS + 1))


def test_a_training_interrupted_twice_ends_with_the_same_bytes(
    case: Case, whole: dict[str, torch.Tensor], tmp_path: Path
):
    for stop_at in (4, 5):
        with pytest.raises(Interrupted):
            case.train(tmp_path, evaluations_per_epoch=3, stop_at=stop_at)
    assert same(case.train(tmp_path, evaluations_per_epoch=3).state_dict(), whole)


@pytest.mark.parametrize("damage", ["without COMPLETE", "a file cut short", "a file lost", "a file added", "empty"])
def test_a_checkpoint_that_is_not_whole_is_ignored(
    case: Case, whole: dict[str, torch.Tensor], tmp_path: Path, damage: str
):
    with pytest.raises(Interrupted):
        case.train(tmp_path, evaluations_per_epoch=3, stop_at=5)
    newest = tmp_path / "checkpoint-4"
    weights = newest / "model.safetensors"
    match damage:
        case "without COMPLETE":
            (newest / _COMPLETE).unlink()
        case "a file cut short":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "a file lost":
            (newest / "optimizer.pt").unlink()
        case "a file added":
            (newest / "extra").write_text("x")
        case "empty":
            shutil.rmtree(newest)
            newest.mkdir()
    steps: list[int] = []
    resumed = case.train(tmp_path, evaluations_per_epoch=3, on_step=lambda done, _: steps.append(done))
    assert same(resumed.state_dict(), whole)
    assert steps[0] in (1, 3)


def test_a_lost_best_checkpoint_changes_nothing_but_the_time(case: Case, tmp_path: Path):
    """The newest checkpoint is whole, but the best one, an earlier one, is not: the selection labels are opposite."""
    asked = {"epochs": 4, "selection": 1 - case.references[ROWS:]}
    expected = case.train(tmp_path / "whole", **asked).state_dict()
    with pytest.raises(Interrupted):
        case.train(tmp_path / "state", stop_at=4 * STEPS - 1, **asked)
    best, newest = sorted((tmp_path / "state").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    assert newest.name == f"checkpoint-{3 * STEPS}"
    (best / _COMPLETE).unlink()
    assert same(case.train(tmp_path / "state", **asked).state_dict(), expected)


def test_only_the_newest_and_the_best_checkpoint_are_kept(case: Case, tmp_path: Path):
    counts: list[int] = []
    case.train(
        tmp_path,
        evaluations_per_epoch=3,
        on_step=lambda _done, _total: counts.append(len(list(tmp_path.glob("checkpoint-*")))),
    )
    assert max(counts) <= 2
    for checkpoint in tmp_path.glob("checkpoint-*"):
        names = set(json.loads((checkpoint / _COMPLETE).read_text()))
        assert names == {path.name for path in checkpoint.iterdir()} - {_COMPLETE}


def test_the_best_moment_by_the_selection_rows_is_kept(case: Case, tmp_path: Path):
    """The selection rows have the opposite labels: the more is learnt, the worse."""
    opposite = 1 - case.references[ROWS:]
    model = case.train(tmp_path, epochs=4, selection=opposite)
    found = metrics_in(tmp_path)
    assert len(found) == 4
    assert found[-1] < max(found)
    outputs = predict_torch(model, case.task, case.examples[ROWS:], case.reader)
    assert case.task.metric(outputs, list(opposite)) == max(found)


@pytest.mark.parametrize("patience", [1, 2])
def test_a_training_stops_when_the_selection_rows_stop_improving(case: Case, tmp_path: Path, patience: int):
    """The selection rows have the opposite labels: the more is learnt, the worse."""
    opposite, steps = 1 - case.references[ROWS:], list[tuple[int, int]]()
    asked: dict[str, Any] = {"epochs": 8, "learning_rate": 1e-2, "selection": opposite, "patience": patience}
    model = case.train(tmp_path, on_step=lambda *step: steps.append(step), **asked)
    found = metrics_in(tmp_path)
    assert len(found) < 8
    assert found.index(max(found)) == len(found) - 1 - patience
    held, fallen = range(1, len(found) * STEPS + 1), range(8 * STEPS + 1, 9 * STEPS + 1)
    assert steps == [(step, 9 * STEPS) for step in (*held, *fallen)], "an epoch follows"
    # Started again after its end, it takes no step, and gives the same model.
    again = case.train(tmp_path, stop_at=1, **asked)
    assert same(again.state_dict(), model.state_dict())


def test_the_learning_rate_is_constant_until_the_training_stops_and_falls_then(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[float] = []

    class Watched(Checkpoints):
        def on_step_begin(self, args: object, state: object, control: object, **kwargs: Any) -> None:
            seen.append(kwargs["optimizer"].param_groups[0]["lr"])

    monkeypatch.setattr(trainer, "Checkpoints", Watched)
    case.train(tmp_path, epochs=8, patience=1, learning_rate=3e-3, warmup_ratio=0.0)
    held, fallen = seen[:-STEPS], seen[-STEPS:]
    assert set(held) == {3e-3}
    assert fallen == pytest.approx([3e-3 * (STEPS - step) / STEPS for step in range(STEPS)])


def test_the_end_of_the_epoch_in_which_the_rate_falls_is_kept(case: Case, tmp_path: Path):
    model = case.train(tmp_path, epochs=6, patience=2, learning_rate=1e-2)
    assert case.accuracy(model) == metrics_in(tmp_path / "fall")[-1]
    newest = load_file(tmp_path / "fall" / f"checkpoint-{STEPS}" / "model.safetensors")
    assert same(model.state_dict(), newest)


def test_an_earlier_moment_is_gone_back_to_only_if_it_is_better_by_more_than_noise(case: Case, tmp_path: Path):
    model = case.train(tmp_path / "training", learning_rate=1e-2)
    rows = Rows(case.examples, list(case.references))
    good, nearly, bad = (tmp_path / name for name in ("good", "nearly", "bad"))
    save_weights(model, good)
    with torch.no_grad():
        model.classifier.bias.add_(1e-3)
    save_weights(model, nearly)
    with torch.no_grad():
        model.classifier.weight.neg_()
    save_weights(model, bad)

    def chosen(earlier: Path, later: Path) -> Path:
        found = later_unless_worse(model, case.task, rows, case.reader, earlier=earlier, later=later, seed=0)
        assert same(model.state_dict(), load_file(found / "model.safetensors")), "its weights are loaded"
        return found

    assert chosen(earlier=good, later=bad) == good
    assert chosen(earlier=bad, later=good) == good
    assert chosen(earlier=good, later=nearly) == nearly
    assert chosen(earlier=bad, later=bad) == bad
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    save_weights(model, tmp_path / "broken")
    assert chosen(earlier=bad, later=tmp_path / "broken") == bad


@pytest.mark.parametrize("stop_at", [STEPS, STEPS + 2, 3 * STEPS + 2])
def test_patience_counts_across_an_interruption(case: Case, tmp_path: Path, stop_at: int):
    """Interrupted while it waits, and in the epoch in which the learning rate falls."""
    asked: dict[str, Any] = {"epochs": 8, "learning_rate": 1e-2, "selection": 1 - case.references[ROWS:], "patience": 2}
    expected = case.train(tmp_path / "whole", **asked).state_dict()
    with pytest.raises(Interrupted):
        case.train(tmp_path / "state", stop_at=stop_at, **asked)
    assert same(case.train(tmp_path / "state", **asked).state_dict(), expected)


@pytest.mark.parametrize(
    ("config", "total"),
    [
        ({"epochs": 1}, STEPS),
        ({"epochs": 3}, 3 * STEPS),
        ({"epochs": 2, "evaluations_per_epoch": 2}, 2 * STEPS),
        ({"epochs": 1, "evaluations_per_epoch": 4}, STEPS),
        ({"epochs": 1, "evaluations_per_epoch": 20}, STEPS),
        ({"epochs": 2, "batch_size": 64, "evaluations_per_epoch": 3}, 2),
    ],
)
def test_an_epoch_reads_every_row_once_however_often_it_is_evaluated(
    case: Case, tmp_path: Path, config: dict[str, Any], total: int
):
    seen: list[tuple[int, int]] = []
    case.train(tmp_path, on_step=lambda done, all_steps: seen.append((done, all_steps)), **config)
    assert seen == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize("evaluations_per_epoch", [1, 2, 3])
def test_the_last_step_is_evaluated_and_kept_to_resume_from(case: Case, tmp_path: Path, evaluations_per_epoch: int):
    """Five steps an epoch, which two and three evaluations don't divide."""
    totals: list[int] = []
    case.train(
        tmp_path,
        batch_size=9,
        epochs=1,
        evaluations_per_epoch=evaluations_per_epoch,
        on_step=lambda _done, total: totals.append(total),
    )
    history = json.loads((tmp_path / f"checkpoint-{totals[0]}" / "trainer_state.json").read_text())["log_history"]
    assert max(entry["step"] for entry in history if "eval_metric" in entry) == totals[0]


def test_frozen_embeddings_stay_and_the_rest_learns(case: Case, tmp_path: Path):
    before = load_any(case.folder).state_dict()
    model = case.train(tmp_path, epochs=1, freeze_embeddings=True)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not [name for name in changed if ".embeddings." in name]
    assert {name for name in before if ".embeddings." in name}
    assert all(value.requires_grad for value in model.parameters())


def teacher_of(case: Case, **weights: float) -> Teacher:
    return Teacher(load_any(case.folder).requires_grad_(requires_grad=False), DistillConfig(**weights), layers=(0, 1))


@pytest.mark.parametrize("hidden", [0.0, 10.0])
@pytest.mark.parametrize("labels", [0.0, 0.3])
def test_the_loss_is_the_weighted_sum_of_its_terms(
    case: Case, tiny_model_folder: ModelFactory, labels: float, hidden: float
):
    student, teacher = load_any(tiny_model_folder(seed=1)), load_any(case.folder)
    config = DistillConfig(temperature=2.0, logits=0.7, hidden=hidden, labels=labels)
    taught = Teacher(teacher, config, layers=(0, 1))
    inputs = to_torch(case.reader.collate(case.encodings[:3]))
    read = inputs["attention_mask"].bool()
    assert not read.all()
    references = torch.as_tensor(case.references[:3])
    with torch.no_grad():
        found = distillation_loss(student, case.task, taught, {**inputs, "targets": references}, bf16=False)
        some = {"targets": references[[0, 2]], "labelled": torch.tensor([True, False, True])}
        partly = distillation_loss(student, case.task, taught, {**inputs, **some}, bf16=False)
        ours, theirs = (model(**inputs, output_hidden_states=True) for model in (student, teacher))
        distances = [
            (one[read] - two[read]).square().mean()
            for one, two in zip(ours.hidden_states, theirs.hidden_states, strict=True)
        ]
        every = torch.nn.functional.cross_entropy(ours.logits, references)
        labelled = torch.nn.functional.cross_entropy(ours.logits[[0, 2]], references[[0, 2]])
        expected = (
            0.7 * case.task.distill_loss(ours.logits, theirs.logits, 2.0)
            + labels * every
            + hidden * sum(distances) / len(distances)
        )
    assert len(distances) == 3
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(partly, expected + labels * (labelled - every))


@pytest.mark.parametrize("hidden", [0.0, 3.0])
@pytest.mark.parametrize("bf16", [True, False])
def test_several_teachers_teach_the_mean_of_their_outputs_and_the_first_ones_states(
    case: Case, tiny_model_folder: ModelFactory, bf16: bool, hidden: float
):
    student, first, *others = (load_any(tiny_model_folder(seed=seed)) for seed in range(4))
    config = DistillConfig(logits=0.7, hidden=hidden, labels=0.0, teachers=3)
    inputs = to_torch(case.reader.collate(case.encodings[:3]))
    read = inputs["attention_mask"].bool()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        answers = [model(**inputs).logits.float() for model in (first, *others)]
        wanted = first(**inputs, output_hidden_states=True).hidden_states
    with torch.no_grad():
        taught = Teacher(first, config, layers=(0, 1), others=others)
        found = distillation_loss(student, case.task, taught, inputs, bf16=bf16)
        known = (answers[1] + answers[2]) / 2 if hidden else sum(answers) / 3
        taught = Teacher(first, config, layers=(0, 1))
        first.register_forward_hook(lambda *_: pytest.fail("its answers are known") if not hidden else None)
        cached = distillation_loss(student, case.task, taught, {**inputs, "answers": known}, bf16=bf16)
        ours = student(**inputs, output_hidden_states=True)
        pairs = zip(ours.hidden_states, wanted, strict=True)
        distance = torch.stack([(one[read] - two[read].float()).square().mean() for one, two in pairs]).mean()
        expected = 0.7 * case.task.distill_loss(ours.logits, sum(answers) / 3, 2.0) + hidden * distance
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(cached, expected)


def test_a_teacher_listens_without_dropout_and_does_not_learn(case: Case, tmp_path: Path):
    teacher = teacher_of(case)
    case.train(tmp_path, epochs=1, teacher=teacher)
    assert not teacher.model.training
    assert same(teacher.model.state_dict(), load_any(case.folder).state_dict())


@pytest.mark.parametrize("labelled", [True, False])
def test_a_student_learns_its_teachers_answers(
    case: Case, whole: dict[str, torch.Tensor], tiny_model_folder: ModelFactory, tmp_path: Path, labelled: bool
):
    teacher = teacher_of(case, logits=1.0, hidden=0.0, labels=0.0)
    teacher.model.load_state_dict(whole)
    student = load_any(tiny_model_folder(seed=2))
    assert case.accuracy(teacher.model) > 0.9
    assert case.accuracy(student) < 0.8
    case.train(tmp_path, model=student, teacher=teacher, labelled=labelled, epochs=5)
    assert case.accuracy(student) > 0.9


def test_hidden_states_come_closer_to_the_teachers(case: Case, tiny_model_folder: ModelFactory, tmp_path: Path):
    teacher = teacher_of(case, logits=0.0, hidden=1.0, labels=0.0)
    student = load_any(tiny_model_folder(seed=1))
    text = torch.tensor([case.encodings[0]["input_ids"]])

    def distance() -> float:
        with torch.inference_mode():
            ours, theirs = (model.base_model(input_ids=text).last_hidden_state for model in (student, teacher.model))
        return float((ours - theirs).square().mean())

    before = distance()
    case.train(tmp_path, model=student, teacher=teacher, epochs=3)
    assert distance() < 0.7 * before


def test_a_distillation_is_resumed_to_the_same_bytes(case: Case, tmp_path: Path):
    teacher = teacher_of(case)
    expected = case.train(tmp_path / "whole", teacher=teacher, evaluations_per_epoch=2).state_dict()
    with pytest.raises(Interrupted):
        case.train(tmp_path / "state", teacher=teacher, evaluations_per_epoch=2, stop_at=8)
    assert same(case.train(tmp_path / "state", teacher=teacher, evaluations_per_epoch=2).state_dict(), expected)


def test_training_in_bf16_leaves_an_fp32_model(case: Case, tmp_path: Path):
    model = case.train(tmp_path, epochs=1, bf16=True)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    inputs = {"input_ids": torch.tensor([case.encodings[0]["input_ids"]])}
    with torch.inference_mode():
        found = model(**inputs).logits
    reloaded = load_any(case.folder)
    reloaded.load_state_dict(model.state_dict())
    with torch.inference_mode():
        assert torch.equal(reloaded(**inputs).logits, found)


def test_zeros_hold_through_a_training_that_is_resumed(case: Case, tmp_path: Path):
    def halved() -> PreTrainedModel:
        model = load_any(case.folder)
        with torch.no_grad():
            for parts in layers_of(model):
                for linear in (part.linear for part in parts.projections):
                    linear.weight[:, ::2] = 0
        return model

    expected = case.train(tmp_path / "whole", model=halved(), hold_zeros=True, weight_decay=0.1)
    for parts in layers_of(expected):
        for linear in (part.linear for part in parts.projections):
            assert (linear.weight[:, ::2] == 0).all()
            assert (linear.weight[:, 1::2] != 0).all()
    with pytest.raises(Interrupted):
        case.train(tmp_path / "cut", model=halved(), hold_zeros=True, weight_decay=0.1, stop_at=STEPS + 2)
    again = case.train(tmp_path / "cut", model=halved(), hold_zeros=True, weight_decay=0.1)
    assert same(again.state_dict(), expected.state_dict())


def test_a_student_with_fewer_layers_tokens_and_dimensions_is_compared_with_the_states_it_had(
    case: Case, tiny_model_folder: ModelFactory
):
    """The second layer alone, its tokens renumbered, narrower: distances are to the teacher's embeddings and second layer."""
    teacher, student = load_any(case.folder), load_any(tiny_model_folder(seed=1))
    record = PruningRecord.dense(student, "")
    cut(student, record, record.layers[1:])
    tokens = torch.arange(student.get_input_embeddings().num_embeddings).flip(0)
    with torch.no_grad():
        student.get_input_embeddings().weight.copy_(student.get_input_embeddings().weight[tokens])
    hidden = torch.tensor([0, 3, 4, 17, 31])
    keep_hidden(student, hidden.tolist())
    config = DistillConfig(logits=0.0, hidden=1.0, labels=0.0)
    taught = Teacher(teacher, config, layers=(1,), tokens=tokens, hidden=hidden)
    dense = to_torch(case.reader.collate(case.encodings[:3]))
    ours = {**dense, "input_ids": tokens.argsort()[dense["input_ids"]]}
    read = dense["attention_mask"].bool()
    with torch.no_grad():
        found = distillation_loss(student, case.task, taught, dict(ours), bf16=False)
        states = student(**ours, output_hidden_states=True).hidden_states
        targets = teacher(**dense, output_hidden_states=True).hidden_states
    expected = (
        sum((states[one][read] - targets[two][read][:, hidden]).square().mean() for one, two in ((0, 0), (1, 2))) / 2
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bf16", [True, False])
def test_a_teacher_computes_in_the_precision_of_the_training(case: Case, tmp_path: Path, bf16: bool):
    teacher, seen = teacher_of(case), set()
    teacher.model.register_forward_hook(lambda _module, _inputs, outputs: seen.add(outputs.logits.dtype))
    case.train(tmp_path, teacher=teacher, bf16=bf16, epochs=1)
    assert seen == {torch.bfloat16 if bf16 else torch.float32}


def test_altered_texts_teach_and_an_interrupted_training_draws_the_same_ones(
    case: Case, whole: dict[str, torch.Tensor], tmp_path: Path
):
    teacher = teacher_of(case)
    teacher.model.load_state_dict(whole)
    asked = {"teacher": teacher, "augmentation": case.altered(0.5), "evaluations_per_epoch": 3}
    expected = case.train(tmp_path / "whole", **asked).state_dict()
    with pytest.raises(Interrupted):
        case.train(tmp_path / "state", stop_at=9, **asked)
    assert same(case.train(tmp_path / "state", **asked).state_dict(), expected)
    plain = case.train(tmp_path / "plain", teacher=teacher, evaluations_per_epoch=3).state_dict()
    assert not same(plain, expected)


def test_every_epoch_draws_every_row_once(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(Augmentation, "draw", lambda _self, row, epoch: seen.append((row, epoch)))
    case.train(tmp_path, augmentation=case.altered(1.0), epochs=3, evaluations_per_epoch=2)
    assert sorted(seen) == [(row, epoch) for row in range(ROWS) for epoch in range(3)]


def test_every_text_altered_teaches_without_any_label(
    case: Case, whole: dict[str, torch.Tensor], tiny_model_folder: ModelFactory, tmp_path: Path
):
    teacher = teacher_of(case, logits=1.0, hidden=0.0, labels=0.3)
    teacher.model.load_state_dict(whole)
    student = load_any(tiny_model_folder(seed=2))
    case.train(tmp_path, model=student, teacher=teacher, augmentation=case.altered(1.0), epochs=5)
    assert case.accuracy(student) > 0.9

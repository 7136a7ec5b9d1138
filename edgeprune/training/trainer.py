"""Train with Hugging Face's Trainer: fine-tune a dense model, or distil from it. No other module uses Trainer.

Batches hold rows of similar length. The weights with the best metric on the selection split are kept.
`distillation.py` has the loss of a model that has a teacher.

An interrupted training goes on from its last whole checkpoint, and ends with the same bytes as a training that was
never interrupted: the batches depend on seed and epoch alone, and Trainer restores the optimizer, the schedule and the
random state. Trainer doesn't write its checkpoints atomically. A checkpoint therefore gets a COMPLETE file with the
digests of its other files when it is whole; a checkpoint without that file is deleted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edgeprune.models.architectures import architecture_of, layers_of
from edgeprune.models.reader import Reader
from edgeprune.profiles.training import TrainingConfig
from edgeprune.store.environment import NumericMode
from edgeprune.tasks.evaluation import predict_torch, to_batch
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import Task
from edgeprune.training.augmentation import Augmentation
from edgeprune.training.distillation import Teacher, distillation_loss
from edgeprune.training.moments import later_unless_worse
from edgeprune.training.resume import (
    Checkpoints,
    best_of,
    evaluated,
    is_over,
    last_whole_checkpoint,
    load_weights,
    save_weights,
    state_of,
)
from edgeprune.training.rows import LengthGrouped, Rows, TrainingRows
from edgeprune.training.runs import Run, runs_of

__all__ = ["train"]


@dataclass(frozen=True)
class _Lesson:
    """Hold what is learned and how, in every run of a training."""

    task: Task
    config: TrainingConfig
    teacher: Teacher | None
    examples: Sequence[Example]
    selection: Rows
    reader: Reader
    numeric: NumericMode
    seed: int
    hold_zeros: bool
    augmentation: Augmentation | None

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.config.batch_size)


def train(
    model: PreTrainedModel,
    task: Task,
    *,
    config: TrainingConfig,
    teacher: Teacher | None,
    examples: Sequence[Example],
    selection: Rows,
    reader: Reader,
    numeric: NumericMode,
    seed: int,
    folder: Path,
    on_step: Callable[[int, int], None],
    hold_zeros: bool = False,
    augmentation: Augmentation | None = None,
) -> float:
    """Train `model` in place and leave it with its best weights by the selection split.

    Args:
        folder: The folder of the resume state. If an interrupted training left some, this training continues it.
        examples: The rows to learn from, with targets unless the teacher alone teaches.
        selection: The rows that decide which weights are kept.
        on_step: Called with (steps done, the most steps that there may be).
        hold_zeros: Whether projection weights that are zero stay zero (unstructured pruning).
        augmentation: Draws texts in place of some of `examples`. None: the examples stay as they are.

    Returns:
        The metric of the best weights on the selection split.
    """
    lesson = _Lesson(task, config, teacher, examples, selection, reader, numeric, seed, hold_zeros, augmentation)
    whole, fall = runs_of(config, folder, lesson.steps_per_epoch)
    most_steps = lesson.steps_per_epoch * (whole.epochs + (0 if fall is None else fall.epochs))

    def trained(run: Run) -> dict[Path, float]:
        before = lesson.steps_per_epoch * run.first_epoch
        return _train_run(model, lesson, run, lambda step: on_step(before + step, most_steps))

    metrics = trained(whole)
    best = best_of(metrics)
    if fall is None:
        load_weights(model, best)
    else:
        choose = partial(later_unless_worse, model, task, selection, reader, seed=seed)
        choose(earlier=best, later=list(metrics)[-1])
        metrics |= trained(fall)
        best = choose(earlier=best, later=list(metrics)[-1])
    model.eval()
    return metrics[best]


def _train_run(model: PreTrainedModel, lesson: _Lesson, run: Run, on_step: Callable[[int], None]) -> dict[Path, float]:
    """Do one run, or what is left of it, and give the metric of every checkpoint that it evaluated, in their order."""
    config, steps_per_epoch = lesson.config, lesson.steps_per_epoch
    run.folder.mkdir(parents=True, exist_ok=True)
    max_steps = steps_per_epoch * run.epochs
    evaluations = min(config.evaluations_per_epoch, steps_per_epoch) * run.epochs
    moments = {round(max_steps * number / evaluations) for number in range(1, evaluations + 1)}
    if config.freeze_embeddings:
        model.base_model.get_submodule(architecture_of(model.config).embeddings).requires_grad_(requires_grad=False)
    arguments = TrainingArguments(
        output_dir=str(run.folder),
        max_steps=max_steps,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        warmup_steps=run.warmup_steps,
        weight_decay=config.weight_decay,
        lr_scheduler_type=run.schedule,
        bf16=lesson.numeric.bf16,
        use_cpu=True,
        seed=lesson.seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    trainer = _Trainer(model, lesson, arguments, first_epoch=run.first_epoch)
    checkpoint = last_whole_checkpoint(run.folder)
    trainer.add_callback(Checkpoints(run.folder, moments, on_step, patience=run.patience, resumed=checkpoint))
    if lesson.hold_zeros:
        trainer.add_callback(_HoldZeros(model))
    state = None if checkpoint is None else state_of(checkpoint)
    if state is None or not is_over(state, run.patience):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        # accelerate leaves the model's forward inside a bf16 autocast.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        state = trainer.state
    model.requires_grad_(requires_grad=True)
    return evaluated(run.folder, state)


class _Trainer(Trainer):  # type: ignore[misc] # transformers' own types don't pass
    """Extend Trainer by the task's loss, the teacher, and the task's metric on the selection split."""

    def __init__(
        self, model: PreTrainedModel, lesson: _Lesson, arguments: TrainingArguments, *, first_epoch: int
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=TrainingRows(lesson.examples, lesson.augmentation, self._epoch),
            eval_dataset=[],
            data_collator=lambda batch: to_batch(batch, lesson.reader),
        )
        self._lesson = lesson
        self._first_epoch = first_epoch

    def _get_train_sampler(self, train_dataset: object = None) -> Sampler[int]:
        lengths = [self._lesson.reader.length(example.inputs) for example in self._lesson.examples]
        return LengthGrouped(
            lengths,
            self.args.per_device_train_batch_size,
            self.args.seed,
            self._epoch,
        )

    def _epoch(self) -> int:
        return self._first_epoch + int(self.state.global_step // self._lesson.steps_per_epoch)

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Save the weights alone."""
        assert output_dir is not None  # noqa: S101 (Trainer names a checkpoint)
        save_weights(self.model, Path(output_dir))

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> torch.Tensor:
        task, teacher, targets = self._lesson.task, self._lesson.teacher, inputs.get("targets")
        if teacher is None:
            assert targets is not None  # noqa: S101 (without a teacher there is nothing to learn from but labels)
            outputs, _ = task.forward(model, inputs)
            return task.label_loss(outputs, targets)
        return distillation_loss(model, task, teacher, inputs, bf16=self.args.bf16)

    def evaluate(self, *_args: object, **_kwargs: object) -> dict[str, float]:
        task, selection = self._lesson.task, self._lesson.selection
        outputs = predict_torch(self.model, task, selection.examples, self._lesson.reader)
        assert selection.references is not None  # noqa: S101 (labels, or the dense model's outputs)
        value = task.metric(outputs, selection.references)
        metrics = {"eval_metric": value}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _HoldZeros(TrainerCallback):  # type: ignore[misc] # as above
    """Set the projection weights that were zero before training to zero again after every optimizer step."""

    def __init__(self, model: PreTrainedModel) -> None:
        weights = [projection.linear.weight for parts in layers_of(model) for projection in parts.projections]
        self._zeros = [(weight, weight.detach() == 0) for weight in weights]

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        with torch.no_grad():
            for weight, zeros in self._zeros:
                weight.masked_fill_(zeros, 0.0)

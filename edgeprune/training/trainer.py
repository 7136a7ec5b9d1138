"""Train with Hugging Face's Trainer: fine-tune a dense model, or distil from it. No other module uses Trainer.

Batches hold rows of similar length. The weights with the best metric on the selection split are kept.
`distillation.py` has the loss of a model that has a teacher.

An interrupted training goes on from its last whole checkpoint, and ends with the same bytes as a training that was
never interrupted: the batches depend on seed and epoch alone, and Trainer restores the optimizer, the schedule and the
random state. Trainer doesn't write its checkpoints atomically. A checkpoint therefore gets a COMPLETE file with the
digests of its other files when it is whole; a checkpoint without that file is deleted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edgeprune.models.architectures import architecture_of, layers_of
from edgeprune.models.reader import Reader
from edgeprune.profiles.pipeline import TrainingConfig
from edgeprune.store.environment import NumericMode
from edgeprune.tasks.evaluation import predict_torch, to_batch
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import Task
from edgeprune.training.augmentation import Augmentation
from edgeprune.training.distillation import Teacher, distillation_loss
from edgeprune.training.resume import (
    Checkpoints,
    best_checkpoint,
    is_over,
    last_whole_checkpoint,
    load_weights,
    state_of,
)
from edgeprune.training.rows import LengthGrouped, Rows, TrainingRows

__all__ = ["train"]


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
) -> None:
    """Train `model` in place and leave it with its best weights by the selection split.

    Args:
        folder: The folder of the resume state. If an interrupted training left some, this training continues it.
        examples: The rows to learn from, with targets unless the teacher alone teaches.
        selection: The rows that decide which weights are kept.
        on_step: Called with (steps done, steps in all).
        hold_zeros: Whether projection weights that are zero stay zero (unstructured pruning).
        augmentation: Draws texts in place of some of `examples`. None: the examples stay as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps_per_epoch = -(-len(examples) // config.batch_size)
    max_steps = steps_per_epoch * config.epochs
    evaluations = min(config.evaluations_per_epoch, steps_per_epoch) * config.epochs
    moments = {round(max_steps * number / evaluations) for number in range(1, evaluations + 1)}
    if config.freeze_embeddings:
        model.base_model.get_submodule(architecture_of(model.config).embeddings).requires_grad_(requires_grad=False)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=max_steps,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        warmup_steps=int(config.warmup_ratio * max_steps),
        weight_decay=config.weight_decay,
        lr_scheduler_type="linear",
        bf16=numeric.bf16,
        use_cpu=True,
        seed=seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    trainer = _Trainer(
        model,
        task,
        teacher=teacher,
        examples=examples,
        selection=selection,
        reader=reader,
        arguments=arguments,
        steps_per_epoch=steps_per_epoch,
        augmentation=augmentation,
    )
    checkpoint = last_whole_checkpoint(folder)
    trainer.add_callback(Checkpoints(folder, moments, on_step, patience=config.patience, resumed=checkpoint))
    if hold_zeros:
        trainer.add_callback(_HoldZeros(model))
    state = None if checkpoint is None else state_of(checkpoint)
    if state is None or not is_over(state, config.patience):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        # accelerate leaves the model's forward inside a bf16 autocast.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        state = trainer.state
    load_weights(model, best_checkpoint(folder, state))
    model.requires_grad_(requires_grad=True)
    model.eval()


class _Trainer(Trainer):  # type: ignore[misc] # transformers' own types don't pass
    """Extend Trainer by the task's loss, the teacher, and the task's metric on the selection split."""

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        *,
        teacher: Teacher | None,
        examples: Sequence[Example],
        selection: Rows,
        reader: Reader,
        arguments: TrainingArguments,
        steps_per_epoch: int,
        augmentation: Augmentation | None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=TrainingRows(examples, augmentation, self._epoch),
            eval_dataset=[],
            data_collator=lambda batch: to_batch(batch, reader),
        )
        self._task = task
        self._teacher = teacher
        self._examples = examples
        self._selection = selection
        self._reader = reader
        self._steps_per_epoch = steps_per_epoch

    def _get_train_sampler(self, train_dataset: object = None) -> Sampler[int]:
        lengths = [self._reader.length(example.inputs) for example in self._examples]
        return LengthGrouped(
            lengths,
            self.args.per_device_train_batch_size,
            self.args.seed,
            self._epoch,
        )

    def _epoch(self) -> int:
        return int(self.state.global_step // self._steps_per_epoch)

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Save the weights alone, under the names that a resume looks for; the published names may be others."""
        self.model.save_pretrained(output_dir, save_original_format=False)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> torch.Tensor:
        targets = inputs.get("targets")
        if self._teacher is None:
            assert targets is not None  # noqa: S101 (without a teacher there is nothing to learn from but labels)
            outputs, _ = self._task.forward(model, inputs)
            return self._task.label_loss(outputs, targets)
        return distillation_loss(model, self._task, self._teacher, inputs, bf16=self.args.bf16)

    def evaluate(self, *_args: object, **_kwargs: object) -> dict[str, float]:
        outputs = predict_torch(self.model, self._task, self._selection.examples, self._reader)
        assert self._selection.references is not None  # noqa: S101 (labels, or the dense model's outputs)
        value = self._task.metric(outputs, self._selection.references)
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

"""Run a PyTorch model over examples, and measure its outputs: the metric and its interval.

Outputs are one array for each row, which the task reads from the row's raw output. Outputs have the order of the
examples, whatever order they were computed in.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgeprune.base.errors import ParityError
from edgeprune.models.reader import Array, Reader
from edgeprune.store.records import Metric
from edgeprune.tasks.example import IGNORED, Batch, Example
from edgeprune.tasks.roles import Computation, Measurement

__all__ = ["by_length", "measure", "predict_torch", "to_batch", "to_torch"]

_RESAMPLES = 1000


def to_torch(batch: dict[str, Array]) -> dict[str, torch.Tensor]:
    """Turn a batch into torch tensors that share its memory."""
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def to_batch(examples: Sequence[Example], reader: Reader) -> Batch:
    """Make a batch of the examples' inputs and, if examples have targets, `targets`.

    If every example has an answer, the batch has `answers`. Targets by token are padded with IGNORED. If only some
    examples have a target, `labelled` has a truth value for each example.
    """
    batch = to_torch(reader.collate([example.inputs for example in examples]))
    answers = [torch.as_tensor(example.answer) for example in examples if example.answer is not None]
    if len(answers) == len(examples):
        batch["answers"] = torch.stack(answers)
    targets = [torch.as_tensor(example.target) for example in examples if example.target is not None]
    if not targets:
        return batch
    if len(targets) < len(examples):
        batch["labelled"] = torch.tensor([example.target is not None for example in examples])
    if targets[0].ndim == 0:
        return {**batch, "targets": torch.stack(targets)}
    return {**batch, "targets": torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORED)}


def by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Group row numbers in batches of similar length, so that memory is bounded.

    A batch has at most `tokens` padded tokens, or one row.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        # Rows come shortest first, so this one would set the batch's width.
        if batches and (len(batches[-1]) + 1) * lengths[row] <= tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def predict_torch(
    model: PreTrainedModel, task: Computation, examples: Sequence[Example], reader: Reader
) -> list[Array]:
    """Compute the outputs of a PyTorch model in fp32, in batches of similar length."""
    training = model.training
    model.eval()
    rows: list[Array | None] = [None] * len(examples)
    inputs = [example.inputs for example in examples]
    with torch.inference_mode():
        for batch in by_length(list(map(reader.length, inputs)), task.max_batch_tokens):
            shown = to_torch(reader.collate([inputs[row] for row in batch]))
            outputs, _ = task.forward(model, shown)
            for row, value in zip(batch, outputs.float().numpy(), strict=True):
                rows[row] = task.read(value, examples[row])
    model.train(training)
    return [row for row in rows if row is not None]


def measure(
    task: Measurement,
    outputs: Sequence[Array],
    references: Sequence[Any],
    *,
    dense_outputs: Sequence[Array] | None,
    seed: int,
) -> Metric:
    """Measure outputs and, given the dense model's outputs on the same rows, the drop with its paired interval.

    The interval is the percentile bootstrap (Efron and Tibshirani, 1993, ch. 13) over rows: both models' metrics are
    computed on the same resampled rows.

    Raises:
        ParityError: Some outputs are not finite numbers.
    """
    if not all(np.isfinite(output).all() for output in outputs):
        raise ParityError(
            "the model's outputs should be finite numbers, but some are not; after a finetune, lower its "
            "learning_rate; after a conversion to fp16, use fp32"
        )
    name = task.metric_name
    found = task.statistics(outputs, references)
    metrics = task.summary(found)
    value = metrics.pop(name)
    if dense_outputs is None:
        return Metric(name=name, value=value, samples=len(outputs), others=metrics)
    dense = task.statistics(dense_outputs, references)
    generator = np.random.default_rng(seed)
    drops = []
    for _ in range(_RESAMPLES):
        rows = generator.integers(len(outputs), size=len(outputs))
        drops.append(task.summary(dense[rows])[name] - task.summary(found[rows])[name])
    low, high = np.percentile(drops, [2.5, 97.5])
    return Metric(
        name=name,
        value=value,
        samples=len(outputs),
        drop=task.summary(dense)[name] - value,
        drop_interval=(float(low), float(high)),
        others=metrics,
    )

"""Hold rows as a model and a loss take them: single examples, and batches of tensors."""

from dataclasses import dataclass, field

import numpy as np
import torch

from edgeprune.models.reader import Array, Inputs

__all__ = ["IGNORED", "Batch", "Example", "model_inputs"]

Batch = dict[str, torch.Tensor]
"""The model's inputs, `targets` if there are any, `labelled` if only some rows have a target, and `answers` if every row has
one."""

IGNORED = -100
"""The target of a token that the loss leaves out."""


@dataclass(frozen=True)
class Example:
    """Hold one row as the model, the loss and the metric see it."""

    inputs: Inputs
    target: Array | None = None
    """What the loss compares the row's raw output with."""
    reads: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    """The places in the raw output that a task reads, in the task's own form; empty: the task reads all of it."""
    answer: Array | None = None
    """What the teachers answer, if it was computed before the training."""


def model_inputs(batch: Batch) -> Batch:
    """Return a batch without what the model's outputs are compared with."""
    return {name: value for name, value in batch.items() if name not in ("targets", "labelled", "answers")}

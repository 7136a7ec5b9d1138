"""Hold rows as a model and a loss take them: one example, and batches of tensors."""

from dataclasses import dataclass, field

import numpy as np
import torch

from edgeprune.models.reader import Array, Inputs

__all__ = ["IGNORED", "Batch", "Example", "model_inputs"]

Batch = dict[str, torch.Tensor]
"""The model's inputs, `targets` where there are any, and `labelled` where not every row has one."""

IGNORED = -100
"""In the targets of a token: no loss is taken there."""


@dataclass(frozen=True)
class Example:
    """Hold one row as model, loss and metric see it."""

    inputs: Inputs
    target: Array | None = None
    """What the loss compares the row's raw output with."""
    reads: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    """Where in the raw output a task finds what it reads, in the task's own form; empty: it reads all of it."""


def model_inputs(batch: Batch) -> Batch:
    """Give a batch without its targets."""
    return {name: value for name, value in batch.items() if name not in ("targets", "labelled")}

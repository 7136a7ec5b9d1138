"""Choose between two moments of a training by the selection split, on which few rows are few witnesses.

Where many moments are compared on a hundred rows, the best one is best by luck. So a later moment, which has learned more,
is preferred to an earlier one unless it is worse by more than noise.
"""

from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from edgeprune.models.reader import Reader
from edgeprune.tasks.evaluation import measure, predict_torch
from edgeprune.tasks.roles import Task
from edgeprune.training.resume import load_weights
from edgeprune.training.rows import Rows

__all__ = ["later_unless_worse"]


def later_unless_worse(
    model: PreTrainedModel, task: Task, selection: Rows, reader: Reader, *, earlier: Path, later: Path, seed: int
) -> Path:
    """Load the weights of one of two checkpoints into `model`, and give this checkpoint.

    It is the earlier one if the later one's outputs aren't finite, or if the paired 95% interval of what its metric lost
    lies above 0.
    """
    if earlier == later:
        load_weights(model, later)
        return later
    assert selection.references is not None  # noqa: S101 (labels, or the dense model's outputs)
    load_weights(model, earlier)
    before = predict_torch(model, task, selection.examples, reader)
    load_weights(model, later)
    after = predict_torch(model, task, selection.examples, reader)
    if all(np.isfinite(output).all() for output in after):
        interval = measure(task, after, selection.references, dense_outputs=before, seed=seed).drop_interval
        if interval is not None and interval[0] <= 0:
            return later
    load_weights(model, earlier)
    return earlier

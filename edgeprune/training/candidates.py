"""Train a model in several ways, one after the other, and keep the way that is best on the selection split.

Each way begins with the same weights. What an interrupted choice goes on from lies in one folder:

    start/model.safetensors    the weights that every training begins with
    2/                         the resume state of the training that runs
    metrics.json               the metrics of the trainings that are done
    best-1/model.safetensors   the best weights of these, with their digest

A training's own resume state is deleted when its metric is written, so that a choice takes little more room than one
training.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from edgeprune.store.files import write_text
from edgeprune.training.resume import is_whole, load_weights, save_weights, seal

__all__ = ["train_best"]

_METRICS = "metrics.json"


def train_best(model: PreTrainedModel, count: int, train: Callable[[int, Path], float], folder: Path) -> list[float]:
    """Train `model` in place in each way, and leave it with the best weights.

    Args:
        model: The model, with the weights that every training begins with.
        count: How many ways there are.
        train: Trains the model in one way, given the way's number from 0 and a folder for the resume state, and gives its
            metric on the selection split.
        folder: The folder of the resume state. If an interrupted choice left some, this one continues it.

    Returns:
        The metric of each way. Of equal ones, the first way's weights are kept.
    """
    if count == 1:
        return [train(0, folder)]
    metrics = _metrics_so_far(folder)
    save_weights(model, folder / "start")
    for number in range(len(metrics), count):
        load_weights(model, folder / "start")
        metrics.append(train(number, folder / str(number)))
        best = _best(folder, metrics)
        if best.name == f"best-{number}":
            save_weights(model, best)
            seal(best)
        write_text(folder / _METRICS, json.dumps(metrics))
        for left in (folder / str(number), *folder.glob("best-*")):
            if left != best:
                shutil.rmtree(left)
    load_weights(model, _best(folder, metrics))
    return metrics


def _metrics_so_far(folder: Path) -> list[float]:
    """Read the metrics of the trainings that are done; none if the best weights of these are damaged."""
    if not (folder / _METRICS).exists():
        return []
    metrics: list[float] = json.loads((folder / _METRICS).read_text(encoding="utf-8"))
    return metrics if is_whole(_best(folder, metrics)) else []


def _best(folder: Path, metrics: Sequence[float]) -> Path:
    return folder / f"best-{metrics.index(max(metrics))}"

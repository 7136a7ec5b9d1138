"""Divide a training into runs: one whose learning rate falls all the time, or one at a constant rate and one that falls.

How long a model should be trained is known only when it has stopped to get better. A rate that falls over the most epochs
that there may be is still high then, and the model isn't at its best. So the rate is constant until then, and falls in an
epoch of its own (Hägele et al., https://arxiv.org/abs/2405.18392). That epoch goes on from where the model stopped, unless
it has become worse than it was by more than noise.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeprune.profiles.training import TrainingConfig

__all__ = ["Run", "runs_of"]


@dataclass(frozen=True)
class Run:
    """Say what one run of the trainer is."""

    folder: Path
    """The folder of the run's checkpoints."""
    epochs: int
    """Epochs that are trained; with `patience`, the most of them."""
    schedule: Literal["linear", "constant_with_warmup"]
    """The learning rate's, by transformers' name. linear: it falls to 0."""
    warmup_steps: int
    patience: int | None = None
    first_epoch: int = 0
    """The number of the first epoch. The batches of an epoch depend on its number."""


def runs_of(config: TrainingConfig, folder: Path, steps_per_epoch: int) -> tuple[Run, Run | None]:
    """Give the run that a training begins with, and the one in which the learning rate falls; None: it falls in the first.

    Args:
        config: The training's settings.
        folder: The folder of the resume state.
        steps_per_epoch: Steps of an epoch.
    """

    def warmup_steps(epochs: float) -> int:
        return int(config.warmup_ratio * epochs * steps_per_epoch)

    if config.patience is None:
        return Run(folder, config.epochs, "linear", warmup_steps(config.epochs)), None
    fewest = (1 + config.patience) / config.evaluations_per_epoch + 1
    return (
        Run(folder, config.epochs, "constant_with_warmup", warmup_steps(fewest), patience=config.patience),
        Run(folder / "fall", 1, "linear", warmup_steps(1), first_epoch=config.epochs),
    )

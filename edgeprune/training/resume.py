"""Keep a training's checkpoints, so that a killed training goes on from its last whole checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors.torch import load_file
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edgeprune.base.errors import IntegrityError
from edgeprune.store.files import file_records, sync_tree, write_text

__all__ = ["Checkpoints", "best_checkpoint", "is_over", "last_whole_checkpoint", "load_weights", "state_of"]


_COMPLETE = "COMPLETE"


class Checkpoints(TrainerCallback):  # type: ignore[misc] # transformers' own types don't pass
    """Say when to evaluate and save, mark whole checkpoints, and keep the newest and the best checkpoint.

    Args:
        folder: The folder of the checkpoints.
        moments: The steps after which the model is evaluated and saved.
        on_step: Called with (steps done, steps in all).
        patience: Evaluations in a row without a better metric after which the training stops; None: it doesn't.
        resumed: The checkpoint that the training is resumed from, which is compared with what was loaded. None: the
            training begins.
    """

    def __init__(
        self,
        folder: Path,
        moments: set[int],
        on_step: Callable[[int, int], None],
        *,
        patience: int | None,
        resumed: Path | None,
    ) -> None:
        self._folder = folder
        self._moments = moments
        self._on_step = on_step
        self._patience = patience
        self._resumed = resumed

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Trainer resumes with strict=False: a checkpoint that doesn't fit would be ignored in silence.
        if self._resumed is None:
            return
        saved = load_file(self._resumed / "model.safetensors")
        loaded = kwargs["model"].state_dict()
        if any(not torch.equal(loaded[name], tensor) for name, tensor in saved.items()):
            raise IntegrityError(f"the training could not be resumed from {self._resumed}; delete it and build again")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_evaluate = control.should_save = state.global_step in self._moments
        self._on_step(state.global_step, state.max_steps)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        newest = self._folder / f"checkpoint-{state.global_step}"
        sync_tree(newest)
        write_text(newest / _COMPLETE, json.dumps(_digests(newest)))
        kept = {newest, best_checkpoint(self._folder, state)}
        for checkpoint in self._folder.glob("checkpoint-*"):
            if checkpoint not in kept:
                shutil.rmtree(checkpoint)
        control.should_training_stop = is_over(state, self._patience)


def _digests(checkpoint: Path) -> dict[str, JsonValue]:
    return {record.path: record.sha256 for record in file_records(checkpoint) if record.path != _COMPLETE}


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Find the newest whole checkpoint whose best checkpoint so far is whole too. Delete damaged checkpoints.

    A checkpoint is whole if its COMPLETE file has the digests of its other files. None: there is no such checkpoint.
    """
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            intact = json.loads((checkpoint / _COMPLETE).read_text(encoding="utf-8")) == _digests(checkpoint)
        except (OSError, ValueError):
            intact = False
        if intact:
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    whole.sort(key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True)
    return next((path for path in whole if best_checkpoint(folder, state_of(path)) in whole), None)


def state_of(checkpoint: Path) -> TrainerState:
    """Read how far a checkpoint's training had come."""
    state: TrainerState = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state


def best_checkpoint(folder: Path, state: TrainerState) -> Path:
    """Return the checkpoint with the highest metric. Of equal ones, the later is better: it has trained longer."""
    return folder / f"checkpoint-{max(_scored(state))[1]}"


def is_over(state: TrainerState, patience: int | None) -> bool:
    """Say whether all steps are done, or so many evaluations in a row brought no better metric."""
    metrics = [metric for metric, _ in _scored(state)]
    waited = len(metrics) - 1 - metrics.index(max(metrics))
    return bool(state.global_step >= state.max_steps or (patience is not None and waited >= patience))


def _scored(state: TrainerState) -> list[tuple[float, int]]:
    """List the metric and the step of every evaluation, in their order."""
    return [(entry["eval_metric"], entry["step"]) for entry in state.log_history if "eval_metric" in entry]


def load_weights(model: PreTrainedModel, checkpoint: Path) -> None:
    """Load a checkpoint's weights into a model, in place. A tied weight may be absent.

    Raises:
        IntegrityError: The checkpoint lacks weights of the model, or has others.
    """
    result = model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)
    model.tie_weights()
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    if result.unexpected_keys or set(result.missing_keys) - tied:
        raise IntegrityError(f"{checkpoint} doesn't hold the whole model; delete it and build again")

"""Keep a training's checkpoints, so that a killed training goes on from its last whole checkpoint.

A checkpoint is whole if its COMPLETE file has the digests of its other files.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors.torch import load_file
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edgeprune.base.errors import IntegrityError
from edgeprune.store.files import file_records, sync_tree, write_text

__all__ = [
    "Checkpoints",
    "best_of",
    "evaluated",
    "is_over",
    "is_whole",
    "last_whole_checkpoint",
    "load_weights",
    "save_weights",
    "seal",
    "state_of",
]


_COMPLETE = "COMPLETE"


class Checkpoints(TrainerCallback):  # type: ignore[misc] # transformers' own types don't pass
    """Say when to evaluate and save, mark whole checkpoints, and keep the newest and the best checkpoint.

    Args:
        folder: The folder of the checkpoints.
        moments: The steps after which the model is evaluated and saved.
        on_step: Called with the steps done.
        patience: Evaluations in a row without a better metric after which the training stops; None: it doesn't.
        resumed: The checkpoint that the training is resumed from, which is compared with what was loaded. None: the
            training begins.
    """

    def __init__(
        self,
        folder: Path,
        moments: set[int],
        on_step: Callable[[int], None],
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
        self._on_step(state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        newest = self._folder / f"checkpoint-{state.global_step}"
        seal(newest)
        kept = {newest, best_of(evaluated(self._folder, state))}
        for checkpoint in self._folder.glob("checkpoint-*"):
            if checkpoint not in kept:
                shutil.rmtree(checkpoint)
        control.should_training_stop = is_over(state, self._patience)


def _digests(checkpoint: Path) -> dict[str, JsonValue]:
    return {record.path: record.sha256 for record in file_records(checkpoint) if record.path != _COMPLETE}


def seal(folder: Path) -> None:
    """Mark a folder as whole: flush its files to disk, and write their digests beside them."""
    sync_tree(folder)
    write_text(folder / _COMPLETE, json.dumps(_digests(folder)))


def is_whole(folder: Path) -> bool:
    """Tell whether a folder was sealed and its files are what they were then."""
    try:
        return bool(json.loads((folder / _COMPLETE).read_text(encoding="utf-8")) == _digests(folder))
    except (OSError, ValueError):
        return False


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Find the newest whole checkpoint whose best checkpoint so far is whole too. Delete damaged checkpoints.

    None: there is no such checkpoint.
    """
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        if is_whole(checkpoint):
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    whole.sort(key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True)
    return next((path for path in whole if best_of(evaluated(folder, state_of(path))) in whole), None)


def state_of(checkpoint: Path) -> TrainerState:
    """Read how far a checkpoint's training had come."""
    state: TrainerState = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state


def evaluated(folder: Path, state: TrainerState) -> dict[Path, float]:
    """List the metric of every checkpoint that was evaluated, in their order. Most of them are deleted by now."""
    return {
        folder / f"checkpoint-{entry['step']}": entry["eval_metric"]
        for entry in state.log_history
        if "eval_metric" in entry
    }


def best_of(metrics: Mapping[Path, float]) -> Path:
    """Return the checkpoint with the highest metric. Of equal ones, the later is better: it has trained longer."""
    return max(reversed(list(metrics)), key=lambda checkpoint: metrics[checkpoint])


def is_over(state: TrainerState, patience: int | None) -> bool:
    """Say whether all steps are done, or so many evaluations in a row brought no better metric."""
    metrics = list(evaluated(Path(), state).values())
    waited = len(metrics) - 1 - metrics.index(max(metrics))
    return bool(state.global_step >= state.max_steps or (patience is not None and waited >= patience))


def save_weights(model: PreTrainedModel, folder: Path) -> None:
    """Save a model's weights under the names that a resume looks for; the published names may be others."""
    model.save_pretrained(folder, save_original_format=False)


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

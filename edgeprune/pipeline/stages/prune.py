"""prune: make a smaller checkpoint, or for unstructured steps one with zeros, and keep the scores that decided.

The stage writes `checkpoint/`, `scores.safetensors` (by step and layer), and the outputs on the test split.
"""

import zlib
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from edgeprune.base.errors import ProfileError, UsageError
from edgeprune.base.events import Note
from edgeprune.base.memory import release_memory
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.pipeline import PruneConfig
from edgeprune.profiles.steps import (
    GradientStep,
    LayersStep,
    MagnitudeStep,
    MasksStep,
    NMStep,
    Step,
    StructuredStep,
    VocabularyStep,
    after_round,
)
from edgeprune.store.files import file_digest
from edgeprune.store.records import StageMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel

    from edgeprune.pruning.importance import Batch
    from edgeprune.tasks.prepared import Prepared

__all__ = ["Prune"]

_WEIGHTS = "checkpoint/model.safetensors"
_BATCH_TOKENS = 512
"""Padded tokens in one backward pass. The pass's activations take most of the memory."""


class Prune(Stage):
    """Prune a checkpoint in one round.

    Args:
        config: The pipeline's `stages.prune`. Its amounts are reached in the last round.
        round_number: The round, from 1.
        rounds: How many rounds there are.
    """

    name = "prune"
    version = 5
    libraries = ("torch", "transformers", "tokenizers")
    roles = ("dense", "checkpoint")
    produces = (_WEIGHTS, "checkpoint/pruning.json", "scores.safetensors", "outputs.safetensors")

    def __init__(self, config: PruneConfig, *, round_number: int, rounds: int) -> None:
        self.round = round_number
        amount = config.schedule.amount(round_number, rounds)
        self._steps = tuple(after_round(step, amount) for step in config.steps)
        self._files = [None if (path := _file(step)) is None else _digest(path) for step in self._steps]

    @property
    def removes_units(self) -> bool:
        """Whether any step makes the model's matrices smaller."""
        return any(isinstance(step, StructuredStep | MasksStep | LayersStep) for step in self._steps)

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "steps": [step.model_dump(mode="json", exclude={"file", "scores", "corpus"}) for step in self._steps],
            "files": list[JsonValue](self._files),
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.models.checkpoint import count_parameters, save_checkpoint
        from edgeprune.pruning.importance import write_scores
        from edgeprune.pruning.methods import apply_step
        from edgeprune.pruning.sparse import sparsity_of
        from edgeprune.tasks.evaluation import predict_torch

        for step, digest in zip(self._steps, self._files, strict=True):
            if (path := _file(step)) is not None and _digest(path) != digest:
                raise UsageError(f"{path} changed since the build began; build again")
        context = _Context(work)
        pruned = context.pruned
        for number, step in enumerate(self._steps):
            apply_step(step, number, pruned, context)
            _own(pruned.model)
            release_memory()
        save_checkpoint(pruned.model, work.folder / "checkpoint", record=pruned.record, reader=pruned.reader)
        write_scores(pruned.scores, work.folder / "scores.safetensors", context.checkpoint_digest)
        prepared = context.current()
        outputs = predict_torch(pruned.model, prepared.task, prepared.test.examples, prepared.reader)
        weights = work.folder / _WEIGHTS
        notes = []
        if any(isinstance(step, MagnitudeStep | GradientStep | NMStep) for step in self._steps):
            compressed, sparsity = _compressed_bytes(weights), sparsity_of(pruned.model)
            dense_compressed = _compressed_bytes(work.parents["dense"].file(_WEIGHTS))
            pruned.facts |= {
                "compressed_bytes": compressed, "dense_compressed_bytes": dense_compressed, "sparsity": sparsity
            }  # fmt: skip
            notes.append(
                f"{sparsity:.0%} of the encoder's weights are zero (round {self.round}): no latency gain on dense "
                f"kernels; compressed, the fp32 checkpoint takes {compressed / 1e6:.1f} MB, the dense one "
                f"{dense_compressed / 1e6:.1f} MB"
            )
            work.emit(Note(notes[-1]))
        return StageMetrics(
            parameters=count_parameters(pruned.model),
            model_bytes=weights.stat().st_size,
            metric=prepared.report(outputs, work.folder, seed=work.seed),
            notes=tuple(notes),
            scores=pruned.facts,
        )


class _Context:
    """Give pruning methods the task and the data. See `edgeprune.pruning.context.Context`."""

    def __init__(self, work: Work) -> None:
        import torch

        from edgeprune.models.checkpoint import empty_model, load_checkpoint, load_config
        from edgeprune.models.record import PruningRecord, read_pruning
        from edgeprune.pruning.context import Pruned
        from edgeprune.tasks.prepared import open_prepared

        self._work = work
        self._dense_artifact, before = work.parents["dense"], work.parents["checkpoint"]
        folder = before.file("checkpoint")
        self.prepared: Prepared = open_prepared(self._dense_artifact, work.data, reader=folder)
        self.seed = work.seed
        self.contents = self.prepared.splits["train"].contents
        self.checkpoint_digest = before.digest(_WEIGHTS)
        first = read_pruning(self._dense_artifact.file("checkpoint"))
        if first is None:
            whole = empty_model(load_config(self._dense_artifact.file("checkpoint")), None)
            first = PruningRecord.dense(whole, self._dense_artifact.digest(_WEIGHTS))
        self.dense: PruningRecord = first
        model = load_checkpoint(folder, self.prepared.task.auto_class)
        self._generator = torch.Generator().manual_seed(work.seed)
        self.pruned: Pruned = Pruned(model, read_pruning(folder) or first, self.prepared.reader)

    def current(self) -> "Prepared":
        """Prepare the task and the data with the reader that the model has now."""
        self.prepared = self.prepared.with_reader(self.pruned.reader)
        return self.prepared

    def dense_model(self) -> "PreTrainedModel":
        from edgeprune.models.checkpoint import load_checkpoint

        return load_checkpoint(self._dense_artifact.file("checkpoint"), self.prepared.task.auto_class)

    def batches(self, samples: int, *, size: int | None = None) -> "Iterator[Batch]":
        import numpy as np

        from edgeprune.tasks.evaluation import by_length, to_batch

        prepared = self.current()
        train = prepared.splits["train"]
        rows = np.random.default_rng(self.seed).permutation(len(train.examples))[:samples].tolist()
        if size is None:
            limit = min(_BATCH_TOKENS, prepared.task.max_batch_tokens)
            groups = by_length([prepared.reader.length(train.examples[row].inputs) for row in rows], limit)
        else:
            groups = [list(range(start, min(start + size, len(rows)))) for start in range(0, len(rows), size)]
        for done, group in enumerate(groups):
            yield to_batch([train.examples[rows[position]] for position in group], prepared.reader)
            self.progress(done + 1, len(groups), "batches")

    def dense_batch(self, batch: "Batch") -> "Batch":
        from edgeprune.models.record import dense_tokens

        tokens = dense_tokens(self.pruned.record, self.dense)
        return batch if tokens is None else {**batch, "input_ids": tokens[batch["input_ids"]]}

    def run(self, model: "PreTrainedModel", batch: "Batch") -> "torch.Tensor":
        return self.prepared.task.forward(model, batch)[0]

    def states(self, model: "PreTrainedModel", batch: "Batch") -> "tuple[torch.Tensor, ...]":
        return self.prepared.task.forward(model, batch, hidden=True)[1]

    def loss(self, batch: "Batch", signal: Literal["auto", "labels", "divergence"]) -> "torch.Tensor":
        task, targets = self.prepared.task, batch.get("targets")
        outputs = self.run(self.pruned.model, batch)
        if signal == "divergence" or targets is None:
            return task.divergence_loss(outputs, self._generator, targets)
        return task.label_loss(outputs, targets, "sum")

    def metric(self, samples: int) -> float:
        import numpy as np

        from edgeprune.tasks.evaluation import predict_torch

        prepared = self.current()
        selection = prepared.splits["selection"]
        assert selection.references is not None  # noqa: S101 (labels, or the dense model's outputs)
        rows = np.random.default_rng(self.seed).permutation(len(selection.examples))[:samples].tolist()
        chosen = [selection.examples[row] for row in rows]
        outputs = predict_torch(self.pruned.model, prepared.task, chosen, prepared.reader)
        return prepared.task.metric(outputs, [selection.references[row] for row in rows])

    def progress(self, done: int, total: int, unit: str) -> None:
        self._work.progress(done, total, unit)

    def note(self, message: str) -> None:
        self._work.emit(Note(message, level="info"))


def _own(model: "PreTrainedModel") -> None:
    """Copy the weights out of the checkpoint's file, so that a few unchanged ones don't keep all of it in memory."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def _compressed_bytes(path: "Path") -> int:
    """Compute the size of a file after zlib's fastest compression."""
    packer, size = zlib.compressobj(1), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            size += len(packer.compress(block))
    return size + len(packer.flush())


def _file(step: Step) -> "Path | None":
    match step:
        case MasksStep(file=path):
            return path
        case StructuredStep(scores=path) | VocabularyStep(corpus=path):
            return path
        case _:
            return None


def _digest(path: "Path") -> str:
    """Compute the digest of a file, with the file's suffix, which says how the file is read."""
    try:
        return f"{file_digest(path)}{path.suffix}"
    except OSError as error:
        raise ProfileError(f"stages.prune names the file {path}, which can't be read: {error.strerror}") from error

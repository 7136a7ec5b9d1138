"""Give the stages that prune a checkpoint what pruning methods ask for: the model, the task and the data."""

from typing import TYPE_CHECKING, Literal

from edgeprune.base.events import Note
from edgeprune.data.table import SplitName
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.unlabelled import read_unlabelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from transformers import PreTrainedModel

    from edgeprune.data.table import Content
    from edgeprune.pruning.importance import Batch
    from edgeprune.tasks.prepared import Prepared

__all__ = ["WEIGHTS", "PruneContext", "own_weights"]

WEIGHTS = "checkpoint/model.safetensors"
_BATCH_TOKENS = 512
"""Padded tokens in one backward pass. The pass's activations take most of the memory."""


class PruneContext:
    """Give pruning methods the task and the data. See `edgeprune.pruning.context.Context`.

    Args:
        work: What the stage is given. The checkpoint that is pruned is the parent `checkpoint`, the parent `dense` is
            the dense baseline.
        splits: The splits that are read.
    """

    def __init__(self, work: Work, *, splits: tuple[SplitName, ...] = ("train",)) -> None:
        import torch

        from edgeprune.models.checkpoint import empty_model, load_checkpoint, load_config
        from edgeprune.models.record import PruningRecord, read_pruning
        from edgeprune.pruning.context import Pruned
        from edgeprune.tasks.prepared import open_prepared

        self._work = work
        self._dense_artifact, before = work.parents["dense"], work.parents["checkpoint"]
        folder = before.file("checkpoint")
        self.prepared: Prepared = open_prepared(self._dense_artifact, work.data, splits=splits, reader=folder)
        self.seed = work.seed
        self.contents = self.prepared.splits["train"].contents
        self.checkpoint_digest = before.digest(WEIGHTS)
        first = read_pruning(self._dense_artifact.file("checkpoint"))
        if first is None:
            whole = empty_model(load_config(self._dense_artifact.file("checkpoint")), None)
            first = PruningRecord.dense(whole, self._dense_artifact.digest(WEIGHTS))
        self.dense: PruningRecord = first
        model = load_checkpoint(folder, self.prepared.task.auto_class)
        self._generator = torch.Generator().manual_seed(work.seed)
        self.pruned: Pruned = Pruned(model, read_pruning(folder) or first, self.prepared.reader)

    @property
    def corpus(self) -> "Sequence[Content]":
        """The training texts, and the texts without labels."""
        if self._work.unlabelled is None:
            return self.contents
        unlabelled, _ = read_unlabelled(self._work.unlabelled, self.prepared)
        return [*self.contents, *unlabelled]

    def current(self) -> "Prepared":
        """Prepare the task and the data with the reader that the model has now."""
        self.prepared = self.prepared.with_reader(self.pruned.reader)
        return self.prepared

    def dense_model(self) -> "PreTrainedModel":
        from edgeprune.models.checkpoint import load_checkpoint

        return load_checkpoint(self._dense_artifact.file("checkpoint"), self.prepared.task.auto_class)

    def batches(self, samples: int, *, skip: int = 0, size: int | None = None) -> "Iterator[Batch]":
        import numpy as np

        from edgeprune.tasks.evaluation import by_length, to_batch

        prepared = self.current()
        train = prepared.splits["train"]
        rows = np.random.default_rng(self.seed).permutation(len(train.examples))[skip:samples].tolist()
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

    def divergence(
        self, batch: "Batch", outputs: "torch.Tensor", wanted: "torch.Tensor", *, temperature: float
    ) -> float:
        return float(self.prepared.task.distill_loss(outputs, wanted, temperature, batch.get("targets")))

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


def own_weights(model: "PreTrainedModel") -> None:
    """Copy the weights out of the checkpoint's file, so that a few unchanged ones don't keep all of it in memory."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()

"""A `Context` for the pruning methods without a pipeline: a tiny model, synthetic sentences, no artifacts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from edgeprune.data.table import Table
from edgeprune.models.checkpoint import load_any
from edgeprune.models.record import PruningRecord, dense_tokens
from edgeprune.models.text_reader import load_text_reader
from edgeprune.pruning.context import Pruned
from edgeprune.pruning.importance import Batch
from edgeprune.tasks.evaluation import predict_torch, to_batch
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import synthetic_rows


class TinyContext:
    """What `edgeprune.pruning.context.Context` asks for."""

    def __init__(self, folder: Path, *, rows: int = 48, seed: int = 0) -> None:
        table = synthetic_rows(rows)
        reader = load_text_reader(folder, 32)
        self.folder = folder
        self.seed = seed
        self.contents = [str(row["text"]) for row in table]
        self.checkpoint_digest = "c" * 64
        self.spec = TaskSpec(
            task="text-classification",
            problem_type="single_label_classification",
            labels=("neg", "pos"),
            max_length=32,
            inputs=reader.inputs,
        )
        self.task = task_for(self.spec)
        self.references = self.task.references(Table(self.contents, [str(row["label"]) for row in table]), where="here")
        model = load_any(folder)
        self.dense = PruningRecord.dense(model, "d" * 64)
        self.pruned = Pruned(model, self.dense, reader)
        self.notes: list[str] = []
        self.asked: list[tuple[int, int | None]] = []
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def corpus(self) -> list[str]:
        return self.contents

    def dense_model(self) -> PreTrainedModel:
        return load_any(self.folder)

    def batches(self, samples: int, *, skip: int = 0, size: int | None = None) -> Iterator[Batch]:
        self.asked.append((samples, size))
        rows = slice(skip, samples)
        examples = self.task.encode(self.pruned.reader, self.contents[rows], self.references[rows])
        for start in range(0, len(examples), size or 8):
            yield to_batch(examples[start : start + (size or 8)], self.pruned.reader)

    def dense_batch(self, batch: Batch) -> Batch:
        tokens = dense_tokens(self.pruned.record, self.dense)
        return batch if tokens is None else {**batch, "input_ids": tokens[batch["input_ids"]]}

    def run(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        return self.task.forward(model, {name: batch[name] for name in self.spec.inputs})[0]

    def states(self, model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, ...]:
        return self.task.forward(model, {name: batch[name] for name in self.spec.inputs}, hidden=True)[1]

    def loss(self, batch: Batch, signal: Literal["auto", "labels", "divergence"]) -> torch.Tensor:
        outputs = self.run(self.pruned.model, batch)
        if signal == "divergence":
            return self.task.divergence_loss(outputs, self._generator)
        return self.task.label_loss(outputs, batch["targets"]) * len(outputs)

    def divergence(self, batch: Batch, outputs: torch.Tensor, wanted: torch.Tensor, *, temperature: float) -> float:
        return float(self.task.distill_loss(outputs, wanted, temperature, batch.get("targets")))

    def metric(self, samples: int) -> float:
        return self.task.metric(list(self.outputs()[:samples]), self.references[:samples])

    def progress(self, done: int, total: int, unit: str) -> None:
        assert 0 < done <= total, unit

    def note(self, message: str) -> None:
        self.notes.append(message)

    def outputs(self) -> np.ndarray:
        examples = self.task.encode(self.pruned.reader, self.contents)
        return np.stack(predict_torch(self.pruned.model, self.task, examples, self.pruned.reader))

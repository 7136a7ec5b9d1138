"""prune: make a smaller checkpoint, or for unstructured steps one with zeros, and keep the scores that decided.

The stage writes `checkpoint/`, `scores.safetensors` (by step and layer), and the outputs on the test split.
"""

import zlib
from typing import TYPE_CHECKING

from pydantic import JsonValue

from edgeprune.base.errors import ProfileError, UsageError
from edgeprune.base.events import Note
from edgeprune.base.memory import release_memory
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.prune_context import WEIGHTS, PruneContext, own_weights
from edgeprune.profiles.pipeline import PruneConfig
from edgeprune.profiles.schedule import steps_of_round
from edgeprune.profiles.steps import (
    FactorEmbeddingsStep,
    LayersStep,
    MasksStep,
    Step,
    StructuredStep,
    VocabularyStep,
)
from edgeprune.store.files import file_digest
from edgeprune.store.records import StageMetrics

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Prune"]


class Prune(Stage):
    """Prune a checkpoint in one round.

    Args:
        config: The pipeline's `stages.prune`. Its amounts are reached in the last round.
        unlabelled_digest: Digest of the rows without labels, whose tokens are counted too; None: there are none.
        round_number: The round, from 1.
        rounds: How many rounds there are.
    """

    name = "prune"
    version = 6
    libraries = ("torch", "transformers", "tokenizers")
    roles = ("dense", "checkpoint")
    produces = (WEIGHTS, "checkpoint/pruning.json", "scores.safetensors", "outputs.safetensors")

    def __init__(self, config: PruneConfig, *, unlabelled_digest: str | None, round_number: int, rounds: int) -> None:
        self.round = round_number
        self._steps = steps_of_round(config.steps, config.schedule, round_number, rounds)
        counts = any(
            isinstance(step, FactorEmbeddingsStep) or (isinstance(step, VocabularyStep) and step.corpus is None)
            for step in self._steps
        )
        self._unlabelled_digest = unlabelled_digest if counts else None
        self._files = [None if (path := _file(step)) is None else _digest(path) for step in self._steps]

    @property
    def removes_units(self) -> bool:
        """Whether any step makes the model's matrices smaller."""
        return any(isinstance(step, StructuredStep | MasksStep | LayersStep) for step in self._steps)

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "steps": [
                None if step is None else step.model_dump(mode="json", exclude={"file", "scores", "corpus"})
                for step in self._steps
            ],
            "files": list[JsonValue](self._files),
            "unlabelled": self._unlabelled_digest,
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
        context = PruneContext(work, splits=("train", "selection", "test"))
        pruned = context.pruned
        for number, step in enumerate(self._steps):
            if step is None:
                continue
            apply_step(step, number, pruned, context)
            own_weights(pruned.model)
            release_memory()
        save_checkpoint(pruned.model, work.folder / "checkpoint", record=pruned.record, reader=pruned.reader)
        write_scores(pruned.scores, work.folder / "scores.safetensors", context.checkpoint_digest)
        prepared = context.current()
        outputs = predict_torch(pruned.model, prepared.task, prepared.test.examples, prepared.reader)
        weights = work.folder / WEIGHTS
        notes = []
        if pruned.record.sparse:
            compressed, sparsity = _compressed_bytes(weights), sparsity_of(pruned.model)
            dense_compressed = _compressed_bytes(work.parents["dense"].file(WEIGHTS))
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


def _compressed_bytes(path: "Path") -> int:
    """Compute the size of a file after zlib's fastest compression."""
    packer, size = zlib.compressobj(1), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            size += len(packer.compress(block))
    return size + len(packer.flush())


def _file(step: Step | None) -> "Path | None":
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

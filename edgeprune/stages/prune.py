"""prune: a checkpoint → a physically smaller checkpoint, with the importance scores that decided.

Writes `checkpoint/`, `scores.safetensors` (by step and layer) and the outputs on test.
"""

from collections.abc import Iterator

from pydantic import JsonValue

from edgeprune.artifacts import StageMetrics
from edgeprune.profiles import PruneConfig, StructuredStep
from edgeprune.stage import Stage, Work

__all__ = ["Prune"]

_BATCH_TOKENS = 512
"""Padded tokens a backward pass: its activations are what memory goes to."""


class Prune(Stage):
    """One round of pruning.

    Args:
        config: The pipeline's `stages.prune`, `keep_…` being what is left after the last round.
        round_number: From 1.
        rounds: In all.
    """

    name = "prune"
    version = 1
    libraries = ("torch", "transformers")
    roles = ("dense", "checkpoint")
    produces = ("checkpoint/model.safetensors", "checkpoint/pruning.json", "scores.safetensors", "outputs.safetensors")

    def __init__(self, config: PruneConfig, *, round_number: int, rounds: int) -> None:
        self.round = round_number
        self._steps = tuple(_after_round(step, round_number, rounds) for step in config.steps)

    def fingerprint(self) -> dict[str, JsonValue]:
        return {"steps": [step.model_dump(mode="json") for step in self._steps]}

    def run(self, work: Work) -> StageMetrics:
        import numpy as np
        import torch
        from safetensors.numpy import save_file

        from edgeprune.evaluation import by_length, collate, predict_torch, to_torch
        from edgeprune.models.checkpoint import (
            LayerRecord,
            PruningRecord,
            count_parameters,
            empty_model,
            load_checkpoint,
            load_config,
            read_pruning,
            save_checkpoint,
        )
        from edgeprune.prepared import open_prepared, report, weights_digest
        from edgeprune.pruning import importance
        from edgeprune.pruning.allocation import keep_counts, strongest
        from edgeprune.pruning.surgery import cut

        dense, before = work.parents["dense"], work.parents["checkpoint"]
        prepared = open_prepared(dense, work.data)
        task, pad = prepared.task, prepared.pad_token_id
        model = load_checkpoint(before.file("checkpoint"), task.auto_class)
        first = read_pruning(dense.file("checkpoint"))
        if first is None:
            whole = empty_model(load_config(dense.file("checkpoint")), None)
            first = PruningRecord.dense(whole, weights_digest(dense))
        record = read_pruning(before.file("checkpoint")) or first
        train = prepared.splits["train"]

        def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            references = batch.get("references")
            outputs, _ = task.forward(model, {name: value for name, value in batch.items() if name != "references"})
            return task.importance_loss(outputs, references)

        def batches(samples: int) -> Iterator[dict[str, torch.Tensor]]:
            rows = np.random.default_rng(work.seed).permutation(len(train.encodings))[:samples].tolist()
            groups = by_length([train.encodings[row] for row in rows], _BATCH_TOKENS)
            for done, group in enumerate(groups):
                chosen = [rows[position] for position in group]
                batch = to_torch(collate([train.encodings[row] for row in chosen], pad))
                if train.references is not None:
                    batch["references"] = torch.as_tensor(train.references[chosen])
                yield batch
                work.progress(done + 1, len(groups), "batches")

        saved: dict[str, np.ndarray] = {}
        for index, step in enumerate(self._steps):
            if step.importance == "magnitude":
                scores = importance.magnitude(model, record.head_dim)
            else:
                score = {"taylor": importance.taylor, "fisher": importance.fisher}[step.importance]
                scores = score(model, record.head_dim, batches(step.samples), loss)
            head_counts = keep_counts(
                scores.heads, [len(layer.heads) for layer in first.layers], step.keep_heads,
                allocation=step.allocation, align=1,
            )  # fmt: skip
            neuron_counts = keep_counts(
                scores.neurons, [len(layer.neurons) for layer in first.layers], step.keep_ffn,
                allocation=step.allocation, align=step.align,
            )  # fmt: skip
            keep = tuple(
                LayerRecord(
                    heads=tuple(layer.heads[unit] for unit in strongest(scores.heads[position], head_counts[position])),
                    neurons=tuple(
                        layer.neurons[unit] for unit in strongest(scores.neurons[position], neuron_counts[position])
                    ),
                )
                for position, layer in enumerate(record.layers)
            )
            for position in range(len(record.layers)):
                saved[f"{index}.{position}.heads"] = scores.heads[position]
                saved[f"{index}.{position}.neurons"] = scores.neurons[position]
            record = cut(model, record, keep)
        save_checkpoint(model, work.folder / "checkpoint", record=record, tokenizer=prepared.tokenizer)
        save_file(saved, work.folder / "scores.safetensors")
        outputs = predict_torch(model, task, prepared.test.encodings, pad)
        return StageMetrics(
            parameters=count_parameters(model),
            model_bytes=(work.folder / "checkpoint/model.safetensors").stat().st_size,
            metric=report(work, prepared, outputs),
        )


def _after_round(step: StructuredStep, round_number: int, rounds: int) -> StructuredStep:
    """The step with what is left after this round: the same amount goes in each."""
    done = round_number / rounds
    return step.model_copy(
        update={"keep_heads": 1 - (1 - step.keep_heads) * done, "keep_ffn": 1 - (1 - step.keep_ffn) * done}
    )

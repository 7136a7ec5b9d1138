import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.record import LayerRecord, PruningRecord, read_pruning, write_pruning
from edgeprune.pipeline.report_facts import Facts, gather_facts
from edgeprune.store.records import Artifact
from edgeprune.tasks.prepared import OUTPUTS, load_outputs, read_tables, save_outputs
from edgeprune.tasks.registry import COLUMNS
from tests.support.e2e import Built


def data_of(built: Built) -> DataSource:
    return DataSource(DataSpec(train=str(built.data)), columns=COLUMNS["text-classification"], offline=True)


def facts(
    built: Built, *, shipped: Artifact | None = None, checkpoint: Path | None = None, texts: bool = True
) -> Facts:
    return gather_facts(
        built.artifact("prepare", 0),
        checkpoint or built.artifact("finetune").file("checkpoint"),
        shipped or built.artifact("quantize"),
        data_of(built),
        texts=texts,
    )


def test_layers_and_parts_are_those_of_the_checkpoints(built: Built) -> None:
    found, record = facts(built), read_pruning(built.artifact("finetune").file("checkpoint"))
    assert record is not None
    assert [(layer.dense_heads, layer.dense_neurons) for layer in found.layers] == [(4, 128)] * 2
    assert [layer.heads for layer in found.layers] == [layer.heads for layer in record.layers]
    assert [layer.neurons for layer in found.layers] == [len(layer.neurons) for layer in record.layers]
    stages = {(row["stage"], row["round"]): row["parameters"] for row in built.report["stages"]}
    assert sum(part.dense_parameters for part in found.parts) == stages["prepare", 0]
    assert sum(part.parameters for part in found.parts) == stages["finetune", 1]
    embeddings, attention, ffn, _rest = found.parts
    assert embeddings.parameters == embeddings.dense_parameters
    assert attention.parameters < attention.dense_parameters
    assert ffn.parameters < ffn.dense_parameters
    assert [row.model_dump(mode="json") for row in found.layers] == built.report["layers"]
    assert [row.model_dump(mode="json") for row in found.parts] == built.report["parts"]
    assert (found.hidden_size, found.dense_hidden_size, found.embedding_rank) == (32, 32, None)
    assert built.report["hidden_size"] == built.report["dense_hidden_size"] == 32
    assert list(found.try_with) == built.report["package"]["try_with"] == ["A text."]


def test_a_dropped_layer_has_nothing_left(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(built.artifact("prepare", 0).file("checkpoint"), folder)
    kept = LayerRecord(index=1, heads=(0, 3), neurons=tuple(range(16)))
    write_pruning(PruningRecord(base_digest="0" * 64, head_dim=8, layers=(kept,)), folder)
    lower, upper = facts(built, checkpoint=folder).layers
    assert (lower.heads, lower.neurons, lower.dense_heads) == ((), 0, 4)
    assert (upper.heads, upper.neurons) == ((0, 3), 16)


def test_the_texts_that_only_the_dense_model_knows_come_by_how_sure_it_was(built: Built, tmp_path: Path) -> None:
    prepare, quantize = built.artifact("prepare", 0), built.artifact("quantize")
    dense = load_outputs(prepare.file(OUTPUTS))["test"]
    folder = tmp_path / "quantize"
    shutil.copytree(quantize.path, folder)
    save_outputs({"test": [-row for row in dense]}, folder / OUTPUTS)
    rows = facts(built, shipped=replace(quantize, path=folder)).changed
    assert len(rows) == 10
    sure = [row.dense_confidence for row in rows]
    assert sure == sorted(sure, reverse=True)
    logits = np.stack(dense).astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    table = read_tables(prepare, data_of(built), ("test",))["test"]
    assert table.labels is not None
    for row in rows:
        assert row.answer != row.label
        place = table.texts.index(row.text)
        assert table.labels[place] == row.label
        assert row.dense_confidence == pytest.approx(probabilities[place].max())
    assert facts(built, shipped=replace(quantize, path=folder), texts=False).changed == ()
    save_outputs({"test": dense}, folder / OUTPUTS)
    assert facts(built, shipped=replace(quantize, path=folder)).changed == ()

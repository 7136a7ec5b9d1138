"""Multiply-adds as `inspect` counts them, against PyTorch's own counter."""

from pathlib import Path

import pytest
import torch
from conftest import MODEL_TYPES, ModelFactory
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.artifacts import Store
from edgeprune.inspection import inspect_model
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_any, save_checkpoint
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.models.text_reader import load_text_reader
from edgeprune.pruning.surgery import cut

TOKENS = 11
POSITIONS = 2 * 16
"""Rows of the tiny DeBERTa's table of relative positions."""


@pytest.mark.parametrize("is_pruned", [False, True])
@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification", "ForTokenClassification", "ForMaskedLM"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_multiply_adds_are_what_torch_counts(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str, head: str, is_pruned: bool
) -> None:
    folder = tiny_model_folder(model_type, head)
    model = load_any(folder, attn_implementation="eager")
    if is_pruned:
        keep = (
            LayerRecord(index=0, heads=(0, 2), neurons=tuple(range(40))),
            LayerRecord(index=1, heads=(3,), neurons=(0, 64, 127)),
        )
        record = cut(model, PruningRecord.dense(model, ""), keep[: len(layers_of(model))])
        save_checkpoint(model, tmp_path / "pruned", record=record, reader=load_text_reader(folder, 64))
        folder = tmp_path / "pruned"
    text = torch.full((1, TOKENS), 7)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=text, attention_mask=torch.ones_like(text))
    expected = counter.get_total_flops() // 2
    if model_type == "deberta-v2":  # queries and keys of the positions don't depend on the text
        heads = sum(parts.attention_output.linear.in_features for parts in layers_of(model))
        expected -= 2 * POSITIONS * 32 * heads
    found = inspect_model(str(folder), tokens=TOKENS, store=Store(tmp_path / "store"))
    assert found.total.multiply_adds == expected
    assert found.pruned is is_pruned

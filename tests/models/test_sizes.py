"""Multiply-adds as `inspect` counts them, against PyTorch's own counter."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_any, save_checkpoint
from edgeprune.models.factored import factor_embedding
from edgeprune.models.image_reader import load_image_reader
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.models.sizes import inspect_model
from edgeprune.models.text_reader import load_text_reader
from edgeprune.models.width import hidden_size_of, keep_hidden
from edgeprune.pruning.surgery import cut
from edgeprune.store.store import Store
from tests.conftest import IMAGE_MODEL_TYPES, MODEL_TYPES, ModelFactory

TOKENS = 11
POSITIONS = 2 * 16
"""Rows of the tiny DeBERTa's table of relative positions."""


@pytest.mark.parametrize("is_pruned", [False, True])
@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        *(
            (one, f"For{head}")
            for one in MODEL_TYPES
            for head in ("SequenceClassification", "TokenClassification", "MaskedLM")
        ),
        *((one, "ForImageClassification") for one in IMAGE_MODEL_TYPES),
        *((one, "Model") for one in (*MODEL_TYPES, *IMAGE_MODEL_TYPES)),
    ],
)
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
        keep_hidden(model, range(0, 32, 2))
        record = record.model_copy(update={"hidden": tuple(range(0, 32, 2))})
        if model.get_output_embeddings() is None and model_type not in IMAGE_MODEL_TYPES:
            factor_embedding(model, 8)
            record = record.model_copy(update={"embedding_rank": 8})
        reader = load_image_reader(folder) if model_type in IMAGE_MODEL_TYPES else load_text_reader(folder, 64)
        save_checkpoint(model, tmp_path / "pruned", record=record, reader=reader)
        folder = tmp_path / "pruned"
    text = torch.full((1, TOKENS), 7)
    inputs = {"input_ids": text, "attention_mask": torch.ones_like(text)}
    if model_type in IMAGE_MODEL_TYPES:
        inputs = {"pixel_values": torch.zeros(1, 3, 16, 16)}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    expected = counter.get_total_flops() // 2
    if model_type == "deberta-v2":  # queries and keys of the positions don't depend on the text
        heads = sum(parts.attention_output.linear.in_features for parts in layers_of(model))
        expected -= 2 * POSITIONS * hidden_size_of(model) * heads
    found = inspect_model(
        str(folder), tokens=TOKENS if model_type in MODEL_TYPES else None, store=Store(tmp_path / "store")
    )
    assert found.total.multiply_adds == expected
    assert found.pruned is is_pruned
    assert (found.hidden_size, found.dense_hidden_size) == (16 if is_pruned else 32, 32)


def test_an_image_has_a_length_of_its_own(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    folder, store = tiny_model_folder("vit", "Model"), Store(tmp_path / "store")
    assert inspect_model(str(folder), tokens=None, store=store).tokens == 17
    with pytest.raises(UsageError, match=r"--tokens is the length of a text, but .* reads images of 17 tokens each"):
        inspect_model(str(folder), tokens=128, store=store)
    assert inspect_model(str(tiny_model_folder()), tokens=None, store=store).tokens == 128

"""Every family's token embedding, as a narrow table and a projection."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.models.checkpoint import count_parameters, load_any, save_checkpoint
from edgeprune.models.factored import embedding_rank, factor_embedding, token_table
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.models.resize import keep_tokens
from edgeprune.models.text_reader import load_text_reader
from edgeprune.models.width import hidden_size_of, keep_hidden
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.models.test_width import KEPT, outputs_of

RANK = 8


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_factored_model_is_saved_and_loaded(tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str) -> None:
    """With fewer tokens and a narrower stream too, in either order."""
    folder = tiny_model_folder(model_type)
    model, other = load_any(folder), load_any(folder)
    size, tokens = model.get_input_embeddings().embedding_dim, tuple(range(20))
    factor_embedding(model, RANK)
    assert count_parameters(model.get_input_embeddings()) == RANK * (token_table(model).num_embeddings + size)
    for one in (model, other):
        keep_tokens(one, tokens)
        keep_hidden(one, KEPT)
    narrowed = other.get_input_embeddings().embedding_dim
    assert narrowed == (size if size != 32 else len(KEPT)), "an embedding of its own size keeps it"
    factor_embedding(other, RANK)
    for one in (model, other):
        assert hidden_size_of(one) == len(KEPT)
        embedding = one.get_input_embeddings()
        assert tuple(embedding.table.weight.shape) == (20, RANK)
        assert (embedding.projection.out_features, embedding.projection.in_features) == (narrowed, RANK)
    record = PruningRecord.dense(load_any(folder), "d" * 64)
    record = record.model_copy(update={"vocabulary": tokens, "hidden": KEPT, "embedding_rank": RANK})
    save_checkpoint(model, tmp_path, record=record, reader=load_text_reader(folder, 32))
    again = load_any(tmp_path)
    assert (read_pruning(tmp_path), embedding_rank(again)) == (record, RANK)
    assert token_table(again).padding_idx == token_table(model).padding_idx
    np.testing.assert_allclose(outputs_of(again), outputs_of(model), atol=1e-6)


def test_rows_of_few_directions_lose_nothing(tiny_model_folder: ModelFactory) -> None:
    model = load_any(tiny_model_folder())
    weight = model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight.copy_(torch.randn(len(weight), 6, generator=generator) @ torch.randn(6, 32, generator=generator))
    before = outputs_of(model)
    factor_embedding(model, 6)
    np.testing.assert_allclose(outputs_of(model), before, atol=1e-4)
    factor_embedding(model, 4)
    assert embedding_rank(model) == 4
    assert not np.allclose(outputs_of(model), before, atol=1e-4)


def test_tokens_of_much_weight_are_nearest(tiny_model_folder: ModelFactory) -> None:
    def errors(weights: torch.Tensor | None) -> torch.Tensor:
        model = load_any(tiny_model_folder())
        before = model.get_input_embeddings().weight.detach().clone()
        factor_embedding(model, RANK, weights)
        return (model.get_input_embeddings().weight.detach() - before).square().sum(1)

    alike = errors(None)
    counts = torch.ones(len(alike), dtype=torch.float64)
    counts[:6] = 1000
    weighted = errors(counts)
    assert weighted[:6].sum() < 0.1 * alike[:6].sum()
    assert weighted.sum() > alike.sum()


def test_no_column_of_the_table_is_much_larger_than_another(tiny_model_folder: ModelFactory) -> None:
    """Though one direction holds nearly all there is: what a quantized table, with one step for a row, needs."""
    model = load_any(tiny_model_folder())
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    with torch.no_grad():
        embedding.weight[:, 0] += 10 * torch.randn(embedding.num_embeddings, generator=torch.Generator().manual_seed(0))
    factor_embedding(model, 16)
    largest = token_table(model).weight.detach().abs().amax(0)
    assert largest.max() < 8 * largest.median()

"""The token embedding, factored by what the texts need."""

import numpy as np
import pytest
import torch

from edgeprune.base.errors import UsageError
from edgeprune.models.factored import embedding_rank, token_table
from edgeprune.models.text_reader import TextReader
from edgeprune.profiles.steps import FactorEmbeddingsStep, VocabularyStep
from edgeprune.pruning.factor_embeddings import factor_embeddings
from edgeprune.pruning.vocabulary import count_tokens, prune_vocabulary
from tests.conftest import ModelFactory
from tests.support.pruning_context import TinyContext


def step(rank: int) -> FactorEmbeddingsStep:
    return FactorEmbeddingsStep(method="factor_embeddings", rank=rank)


def test_tokens_of_the_texts_count(tiny_model_folder: ModelFactory) -> None:
    """A token that no text has takes no part in the choice of directions."""
    context = TinyContext(tiny_model_folder())
    table = token_table(context.pruned.model)
    assert isinstance(context.pruned.reader, TextReader)
    used = set(count_tokens(context.pruned.reader.tokenizer, context.contents))
    others = [token for token in range(table.num_embeddings) if token not in used]
    assert others
    with torch.no_grad():
        table.weight[others] *= 1000
    before = context.outputs()
    factor_embeddings(step(30), context.pruned, context)
    assert context.pruned.record.embedding_rank == embedding_rank(context.pruned.model) == 30
    np.testing.assert_allclose(context.outputs(), before, atol=0.05)
    assert context.notes[-1].endswith("parameters, with rank 30")


def test_a_later_round_changes_nothing(tiny_model_folder: ModelFactory) -> None:
    context = TinyContext(tiny_model_folder())
    factor_embeddings(step(8), context.pruned, context)
    before = token_table(context.pruned.model).weight.detach().clone()
    factor_embeddings(step(8), context.pruned, context)
    assert torch.equal(token_table(context.pruned.model).weight, before)
    factor_embeddings(step(4), context.pruned, context)
    assert context.pruned.record.embedding_rank == 4


def test_the_vocabulary_of_a_factored_embedding(tiny_model_folder: ModelFactory) -> None:
    """Texts of the corpus are answered as before."""
    context = TinyContext(tiny_model_folder(), rows=4)
    factor_embeddings(step(8), context.pruned, context)
    before, tokens = context.outputs(), token_table(context.pruned.model).num_embeddings
    prune_vocabulary(VocabularyStep(method="vocabulary", floor=1), context.pruned, context)
    assert token_table(context.pruned.model).num_embeddings < tokens
    np.testing.assert_allclose(context.outputs(), before, atol=1e-6)


@pytest.mark.parametrize("rank", [32, 40])
def test_a_rank_that_makes_nothing_smaller(tiny_model_folder: ModelFactory, rank: int) -> None:
    context = TinyContext(tiny_model_folder())
    with pytest.raises(UsageError, match=rf"rank is {rank}, but the token embedding has 32 columns; lower the rank"):
        factor_embeddings(step(rank), context.pruned, context)

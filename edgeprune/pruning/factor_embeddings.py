"""Do the `factor_embeddings` step: the token embedding becomes a narrow table and one projection of its rows.

Rows count by how often their token stands in the corpus, so that the product is nearest where texts need it. Its error is
part of what the fine-tune learns to make up for.
"""

from typing import TYPE_CHECKING, cast

import torch

from edgeprune.base.errors import UsageError
from edgeprune.data.table import Text, flat
from edgeprune.models.factored import embedding_rank, factor_embedding, token_table
from edgeprune.models.text_reader import TextReader
from edgeprune.profiles.steps import FactorEmbeddingsStep
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.vocabulary import count_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["factor_embeddings"]


def factor_embeddings(step: FactorEmbeddingsStep, pruned: Pruned, context: Context) -> None:
    """Factor the token embedding, unless an earlier round did.

    Raises:
        UsageError: The embedding has no more columns than the rank asks for, or the model reads images.
    """
    model = pruned.model
    if not isinstance(pruned.reader, TextReader):
        raise UsageError("factor_embeddings: the model reads images; it has no token embedding that could be factored")
    if embedding_rank(model) == step.rank:
        return
    table = token_table(model)
    if step.rank >= table.embedding_dim:
        raise UsageError(
            f"factor_embeddings: rank is {step.rank}, but the token embedding has {table.embedding_dim} columns; lower the "
            f"rank, or leave the step out"
        )
    counts = count_tokens(pruned.reader.tokenizer, flat(cast("Sequence[Text]", context.corpus)))
    weights = torch.tensor([counts[token] for token in range(table.num_embeddings)], dtype=torch.float64)
    before = table.weight.numel()
    factor_embedding(model, step.rank, weights)
    pruned.record = pruned.record.model_copy(update={"embedding_rank": step.rank})
    after = sum(one.numel() for one in model.get_input_embeddings().parameters())
    context.note(f"the token embedding has {after:,} of {before:,} parameters, with rank {step.rank}")

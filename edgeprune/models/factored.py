"""Factor the token embedding: a narrow table of rows, and one projection that all rows share.

    [tokens, size]   →   [tokens, rank] · [rank, size]

The narrow table has rank / size of the numbers, and the projection is one small product for each token of a text (ALBERT,
https://arxiv.org/abs/1909.11942, is trained so). The product is best in the sense of a weighted sum of squares:

    min over R, P   Σ w_t ‖e_t - R_t P‖²

e_t [size] is a token's row and w_t its weight. The solution projects every row to the first eigenvectors of Σ w_t e_t e_tᵀ.
These have very different lengths, on which a quantized table, with one step for a whole row, would waste its levels. The
factors are therefore turned by a random rotation Q: (R Q) (Qᵀ P) is the same product, and no column is larger than another.
"""

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

__all__ = ["FactoredEmbedding", "embedding_rank", "factor_embedding", "token_table"]

_SEED = 0
"""Of the rotation, which is the same for all models of one rank."""


class FactoredEmbedding(nn.Module):
    """Look up the rows of a narrow table, and project them.

    Args:
        table: The narrow table, [tokens, rank].
        projection: What makes rows of the embedding's size of them, [size, rank], without a bias.
    """

    def __init__(self, table: nn.Embedding, projection: nn.Linear) -> None:
        super().__init__()
        self.table = table
        self.projection = projection

    @property
    def weight(self) -> torch.Tensor:
        """The embedding that the factors stand for, [tokens, size]."""
        return self.table.weight @ self.projection.weight.T

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Turn ids [batch, tokens] into rows [batch, tokens, size]."""
        rows: torch.Tensor = self.projection(self.table(ids))
        return rows


def token_table(model: PreTrainedModel) -> nn.Embedding:
    """Return the table of the token embedding, which is narrow in a factored model."""
    embedding = model.get_input_embeddings()
    table = embedding.table if isinstance(embedding, FactoredEmbedding) else embedding
    assert isinstance(table, nn.Embedding)  # noqa: S101 (every family's is one)
    return table


def embedding_rank(model: PreTrainedModel) -> int | None:
    """Return the rank of a factored token embedding; None: it isn't factored."""
    embedding = model.get_input_embeddings()
    return embedding.table.embedding_dim if isinstance(embedding, FactoredEmbedding) else None


def factor_embedding(model: PreTrainedModel, rank: int, weights: torch.Tensor | None = None) -> None:
    """Factor the token embedding of a model that has no decoder; a factored one is factored anew, from its product.

    Args:
        model: The model, changed in place. On the meta device, it gets factors without values.
        rank: The columns of the narrow table, fewer than the embedding has.
        weights: How much each token counts, [tokens]; None: all count alike.
    """
    old = token_table(model)
    embedding: torch.Tensor = model.get_input_embeddings().weight.detach()
    tokens, size = embedding.shape
    table = nn.Embedding(tokens, rank, padding_idx=old.padding_idx, device="meta")
    projection = nn.Linear(rank, size, bias=False, device="meta")
    if not embedding.is_meta:
        rows, columns = _factors(embedding.double(), rank, weights)
        table.weight = nn.Parameter(rows.to(embedding.dtype))
        projection.weight = nn.Parameter(columns.T.to(embedding.dtype).contiguous())
    model.set_input_embeddings(FactoredEmbedding(table, projection))


def _factors(embedding: torch.Tensor, rank: int, weights: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors, [tokens, rank] and [rank, size]."""
    weighted = embedding if weights is None else embedding * weights[:, None]
    _, vectors = torch.linalg.eigh(embedding.T @ weighted)  # ascending
    turned = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((rank, rank)))[0]
    columns = torch.from_numpy(turned) @ vectors[:, -rank:].T
    return embedding @ columns.T, columns

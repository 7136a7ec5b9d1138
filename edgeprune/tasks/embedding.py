"""Embed texts or images, and keep the embeddings close to the dense model's embeddings. These tasks have no labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from edgeprune.data.table import Content, Table
from edgeprune.models.architectures import ARCHITECTURES
from edgeprune.models.reader import Array
from edgeprune.tasks.example import Batch, model_inputs
from edgeprune.tasks.losses import random_signs
from edgeprune.tasks.roles import Reduction, Task
from edgeprune.tasks.spec import TaskSpec

__all__ = ["Embedder", "Embedding"]


class Embedder(nn.Module):
    """Join an encoder and the pooling that makes one vector of the encoder's token states.

    Args:
        encoder: The encoder.
        spec: Says how states are pooled.
        output_name: The name of the embeddings.
        states_names: The names under which the token states are put out too: one, or none.
    """

    def __init__(
        self, encoder: PreTrainedModel, spec: TaskSpec, output_name: str, states_names: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self._output_name = output_name
        self._states_names = states_names
        self._pooling = spec.pooling
        self._normalize = spec.normalize

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Turn the model's inputs, [batch, …] each, into embeddings, [batch, hidden], and states, [batch, tokens, hidden]."""
        states = self.encoder(**inputs).last_hidden_state
        pooled = self.pool(states, inputs.get("attention_mask"))
        return dict.fromkeys(self._states_names, states) | {self._output_name: pooled}

    def pool(self, states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Turn states, [batch, tokens, hidden], and a mask, [batch, tokens] (None: images), into [batch, hidden]."""
        if self._pooling == "cls":
            pooled = states[:, 0]
        else:
            assert attention_mask is not None  # noqa: S101 (images are pooled by their first token)
            weights = attention_mask[:, :, None].to(states.dtype)
            pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return functional.normalize(pooled, dim=-1) if self._normalize else pooled


class Embedding(Task):
    """Embed rows. Outputs are embeddings, [hidden]; references are the dense model's embeddings."""

    metric_name = "cosine_to_dense"

    def model_arguments(self, model_type: str) -> dict[str, Any]:
        return {"add_pooling_layer": False} if ARCHITECTURES[model_type].pooler else {}

    def references(self, table: Table, *, where: str) -> None:
        return None

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        result = model(**model_inputs(batch), output_hidden_states=hidden)
        pooled = self._embedder(model).pool(result.last_hidden_state, batch.get("attention_mask"))
        return pooled, result.hidden_states if hidden else ()

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        raise AssertionError("a task without labels trains by distillation alone")

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute one minus the cosine, as a mean over the rows. The temperature changes nothing."""
        return (1 - functional.cosine_similarity(student.float(), teacher.float(), dim=-1)).mean()

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum the outputs, each with a random sign: squared gradients average to ‖∂outputs/∂m‖² (Hutchinson)."""
        return (outputs * random_signs(outputs, generator)).sum()

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        return self._embedder(model)

    def _embedder(self, model: Any) -> Embedder:
        return Embedder(model, self.spec, self.output_names[0], self.unread_names)

    def statistics(self, outputs: Sequence[Array], references: Sequence[Array]) -> Array:
        a, b = np.stack(outputs), np.stack(references)
        norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        return np.asarray(((a * b).sum(-1) / np.maximum(norms, 1e-12))[:, None])

    def summary(self, statistics: Array) -> dict[str, float]:
        return {self.metric_name: float(statistics.mean())}

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        return {"embedding": output.tolist()}

    def same_answer(self, a: Array, b: Array) -> bool:
        return bool((a * b).sum() >= 0.99 * np.linalg.norm(a) * np.linalg.norm(b))

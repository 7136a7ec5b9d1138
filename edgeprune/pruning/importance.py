"""How much each attention head and each FFN neuron matters: one function a criterion.

Shapes: a score array has a row a layer; `heads[l]` is [heads left in layer l], `neurons[l]` is [neurons left].

The gradient criteria put a mask m of ones on every unit's output and read ∂L/∂m. The mask has a row an example, so one
backward pass gives every example's own gradient, and only the masks need gradients: a pass costs about a forward and
the activations' half of a backward.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from edgeprune.models.architectures import LayerParts, layers_of

__all__ = ["Criterion", "Scores", "fisher", "magnitude", "taylor"]

Criterion = Literal["magnitude", "taylor", "fisher"]
FloatArray = npt.NDArray[np.float64]
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Scores:
    """Importance by layer; larger matters more."""

    heads: list[FloatArray]
    neurons: list[FloatArray]


def magnitude(model: PreTrainedModel, head_dim: int) -> Scores:
    """L2 norm of all the weights that would go with a unit (Li et al., https://arxiv.org/abs/1608.08710)."""
    heads, neurons = [], []
    for parts in layers_of(model):
        squares = [linear.weight.detach().square().sum(1) for linear in (parts.query, parts.key, parts.value)]
        squares.append(parts.attention_output.weight.detach().square().sum(0))
        heads.append(torch.stack(squares).sum(0).view(-1, head_dim).sum(1).sqrt().double().numpy())
        ffn = parts.ffn_in.weight.detach().square().sum(1) + parts.ffn_out.weight.detach().square().sum(0)
        neurons.append(ffn.sqrt().double().numpy())
    return Scores(heads, neurons)


def taylor(
    model: PreTrainedModel, head_dim: int, batches: Iterable[Batch], loss: Callable[[Batch], torch.Tensor]
) -> Scores:
    """Mean over examples of |∂L/∂m|, the first-order change of the loss when the unit goes.

    Molchanov et al., https://arxiv.org/abs/1611.06440; for heads, Michel et al., https://arxiv.org/abs/1905.10650.
    """
    return _from_gradients(model, head_dim, batches, loss, torch.abs)


def fisher(
    model: PreTrainedModel, head_dim: int, batches: Iterable[Batch], loss: Callable[[Batch], torch.Tensor]
) -> Scores:
    """Mean over examples of (∂L/∂m)², the diagonal of the masks' empirical Fisher information.

    Kwon et al., "A Fast Post-Training Pruning Framework for Transformers", https://arxiv.org/abs/2204.09656.
    """
    return _from_gradients(model, head_dim, batches, loss, torch.square)


def _from_gradients(
    model: PreTrainedModel,
    head_dim: int,
    batches: Iterable[Batch],
    loss: Callable[[Batch], torch.Tensor],
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> Scores:
    """Accumulate `reduce`d per-example mask gradients; `loss` is the sum over a batch's examples."""
    layers = layers_of(model)
    totals: list[tuple[torch.Tensor, torch.Tensor]] = [
        (
            torch.zeros(parts.attention_output.in_features // head_dim, dtype=torch.float64),
            torch.zeros(parts.ffn_out.in_features, dtype=torch.float64),
        )
        for parts in layers
    ]
    examples = 0
    with _frozen(model):
        for batch in batches:
            size = len(next(iter(batch.values())))
            examples += size
            with _masked(layers, head_dim, size) as masks:
                gradients = torch.autograd.grad(loss(batch), masks)
            for index, (heads, neurons) in enumerate(totals):
                heads.add_(reduce(gradients[2 * index].double()).sum(0))
                neurons.add_(reduce(gradients[2 * index + 1].double()).sum(0))
    count = max(examples, 1)
    return Scores(
        [(heads / count).numpy() for heads, _ in totals], [(neurons / count).numpy() for _, neurons in totals]
    )


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside the block."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for parameter, value in before:
            parameter.requires_grad_(value)


@contextmanager
def _masked(layers: list[LayerParts], head_dim: int, batch_size: int) -> Iterator[list[torch.Tensor]]:
    """Masks of ones on the inputs of every layer's two output projections: [batch, heads], [batch, neurons]."""
    masks: list[torch.Tensor] = []
    handles = []

    def mask(linear: nn.Linear, unit: int) -> None:
        values = torch.ones(batch_size, linear.in_features // unit, requires_grad=True)
        masks.append(values)

        def apply(_module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            (hidden,) = inputs
            return (hidden * values.repeat_interleave(unit, dim=1)[:, None, :].to(hidden.dtype),)

        handles.append(linear.register_forward_pre_hook(apply))

    for parts in layers:
        mask(parts.attention_output, head_dim)
        mask(parts.ffn_out, 1)
    try:
        yield masks
    finally:
        for handle in handles:
            handle.remove()

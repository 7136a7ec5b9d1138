"""Do the steps `magnitude`, `gradient` and `n_m`: set single weights of the encoder's projections to zero.

Dense kernels multiply zeros like any other number: the zeros make a model smaller after compression, but not faster.
They stay through fine-tuning (`PruningRecord.sparse` says so).
"""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedModel

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import layers_of
from edgeprune.models.record import dense_layers
from edgeprune.profiles.steps import GradientStep, MagnitudeStep, NMStep
from edgeprune.pruning.context import Context, Pruned, by_layer

__all__ = ["prune_gradient", "prune_magnitude", "prune_n_m", "sparsity_of"]


def prune_magnitude(step: MagnitudeStep, pruned: Pruned, context: Context) -> None:
    """Set the weights with the smallest absolute value to zero (Han et al., https://arxiv.org/abs/1506.02626)."""
    weights = _weights(pruned)
    if step.threshold is not None:
        masks = {name: weight.abs() >= step.threshold for name, weight in weights.items()}
    else:
        assert step.sparsity is not None  # noqa: S101 (the step's model demands one of the two)
        scores = {name: weight.abs() for name, weight in weights.items()}
        masks = _masks(scores, step.sparsity, step.scope, pruned, context)
    _apply(masks, pruned)


def prune_gradient(step: GradientStep, pruned: Pruned, context: Context) -> None:
    """Set the weights with the smallest mean |∂L/∂w| or |w · ∂L/∂w| over batches to zero.

    The product is the first-order change of the loss when the weight goes (Molchanov et al.,
    https://arxiv.org/abs/1906.10771).
    """
    weights = _weights(pruned)
    scores = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    modules = _projections(pruned)
    wanted = [module.weight for module in modules.values()]
    for batch in context.batches(step.batches * step.batch_size, size=step.batch_size):
        gradients = torch.autograd.grad(context.loss(batch, step.signal), wanted)
        for name, gradient in zip(modules, gradients, strict=True):
            score = gradient * weights[name] if step.criterion == "weight_gradient" else gradient
            scores[name] += score.abs()
    for name, weight in weights.items():
        scores[name].masked_fill_(weight == 0, -1.0)  # weights that are zero already go first
    _apply(_masks(scores, step.sparsity, step.scope, pruned, context), pruned)


def prune_n_m(step: NMStep, pruned: Pruned) -> None:
    """Keep the n largest of every m neighbours along the input dimension (Mishra et al., https://arxiv.org/abs/2104.08378).

    Raises:
        UsageError: A projection has an input dimension that m doesn't divide.
    """
    masks = {}
    for name, weight in _weights(pruned).items():
        if weight.shape[1] % step.m:
            raise UsageError(
                f"n_m: {name} has {weight.shape[1]} inputs, which {step.m} doesn't divide; align the widths to {step.m}"
            )
        groups = weight.abs().view(len(weight), -1, step.m)
        mask = torch.zeros_like(groups, dtype=torch.bool)
        masks[name] = mask.scatter_(2, groups.topk(step.n, dim=2).indices, value=True).view_as(weight)
    _apply(masks, pruned)


def _projections(pruned: Pruned) -> dict[str, nn.Linear]:
    """Return the encoder's projections that have weights, by their tensors' names.

    Raises:
        UsageError: No projection has weights.
    """
    linears = {id(linear): linear for linears in _by_layer(pruned.model) for linear in linears}
    found = {
        f"{name}.weight": linears[id(module)]
        for name, module in pruned.model.named_modules()
        if id(module) in linears and module.weight.numel()
    }
    if not found:
        raise UsageError("no layer has heads or neurons left whose weights could be set to zero")
    return found


def _by_layer(model: PreTrainedModel) -> list[list[nn.Linear]]:
    return [[projection.linear for projection in parts.projections] for parts in layers_of(model)]


def _weights(pruned: Pruned) -> dict[str, torch.Tensor]:
    return {name: linear.weight.detach() for name, linear in _projections(pruned).items()}


def _masks(
    scores: Mapping[str, torch.Tensor],
    sparsity: float | tuple[float, ...],
    scope: str,
    pruned: Pruned,
    context: Context,
) -> dict[str, torch.Tensor]:
    """Choose the weights that stay, by one ranking of all weights or by a ranking for each layer."""
    if isinstance(sparsity, float) and scope == "global":
        return _ranked(scores, sparsity)
    layers = _by_layer(pruned.model)
    count = len(context.dense.layers)
    chosen = by_layer(sparsity, dense_layers(pruned.record, context.dense, count), count, "sparsity")
    fractions = chosen if isinstance(chosen, tuple) else (chosen,) * len(layers)
    projections = _projections(pruned)
    masks: dict[str, torch.Tensor] = {}
    for linears, fraction in zip(layers, fractions, strict=True):
        ids = {id(linear) for linear in linears}
        own = {name: score for name, score in scores.items() if id(projections[name]) in ids}
        masks |= _ranked(own, fraction) if own else {}
    return masks


def _ranked(scores: Mapping[str, torch.Tensor], sparsity: float) -> dict[str, torch.Tensor]:
    """Keep the highest scores, exactly as many as the sparsity leaves. Of equal scores, the earlier ones go."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    mask = torch.ones(len(flat), dtype=torch.bool)
    mask[torch.sort(flat, stable=True).indices[: round(sparsity * len(flat))]] = False
    parts = torch.split(mask, [score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def _apply(masks: Mapping[str, torch.Tensor], pruned: Pruned) -> None:
    weights = _weights(pruned)
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)  # a product would leave -0.0, which compresses worse
    pruned.record = pruned.record.model_copy(update={"sparse": True})


def sparsity_of(model: PreTrainedModel) -> float:
    """Compute the fraction of the encoder's projection weights that is zero; 0 if there are no weights."""
    weights = [linear.weight for linears in _by_layer(model) for linear in linears]
    return sum(int((weight == 0).sum()) for weight in weights) / max(1, sum(map(torch.numel, weights)))

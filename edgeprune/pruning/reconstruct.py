"""`reconstruct`: make up for removed units without training.

From the bottom layer up, the attention output and then the second FFN projection are solved again, so that with the
units that are left the residual stream after them comes closest to the dense model's, errors of the layers below
included:

    min over W, b   ‖X Wᵀ + b - (D + R_dense - R)‖² + λ ‖(W, b) - (W₀, b₀)‖²

X [tokens, kept] is the projection's input, R [tokens, hidden] the residual that its output is added to, D the dense
projection's output; a layer that the text goes through many times has the tokens of every time. K-prune (https://arxiv.org/abs/2308.03449) solves the same per sublayer; Kwon et al.
(https://arxiv.org/abs/2204.09656) tune one factor a unit instead.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from edgeprune.errors import UsageError
from edgeprune.models.architectures import LayerParts, depth_of, layers_of
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.importance import Batch
from edgeprune.steps import ReconstructStep

__all__ = ["prune_reconstruct", "ridge"]


class _Reached(Exception):  # noqa: N818 (no error: it ends a forward pass)
    """The forward pass has gone as far as is needed."""


def prune_reconstruct(step: ReconstructStep, pruned: Pruned, context: Context) -> None:
    """Solve every layer's two output projections.

    Raises:
        UsageError: The model is sparse.
    """
    if pruned.record.sparse:
        raise UsageError("reconstruct belongs before the step that sets single weights to zero: it would undo them")
    dense, where = context.dense_model(), context.dense.positions()
    batches, done = list(context.batches(step.samples)), 0
    depth, count = depth_of(pruned.model.config), 2 * len(pruned.record.layers)
    for position, layer in enumerate(pruned.record.layers):
        ours, theirs = layers_of(pruned.model)[position], layers_of(dense)[where[layer.index]]
        for (residual, linear), (dense_residual, dense_linear) in zip(
            _sublayers(ours), _sublayers(theirs), strict=True
        ):
            size = linear.in_features + (linear.bias is not None)
            gram = torch.zeros(size, size, dtype=torch.float64)
            cross = torch.zeros(size, linear.out_features, dtype=torch.float64)
            for batch in batches:
                states, inputs = _inputs(residual, linear, depth, batch, partial(context.run, pruned.model))
                dense_states, dense_inputs = _inputs(
                    dense_residual, dense_linear, depth, context.dense_batch(batch), partial(context.run, dense)
                )
                with torch.inference_mode():
                    missing = dense_linear(dense_inputs) - linear(inputs) + dense_states - states
                inputs = inputs[:, : linear.in_features].double()
                if linear.bias is not None:
                    inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
                gram.add_(inputs.T @ inputs)
                cross.add_(inputs.T @ missing.double())
            done += 1
            context.progress(done, count, "projections")
            if not size:
                continue
            change = ridge(gram, cross, step.ridge)
            with torch.no_grad():
                linear.weight.add_(change[: linear.in_features].T.to(linear.weight.dtype))
                if linear.bias is not None:
                    linear.bias.add_(change[-1].to(linear.bias.dtype))


def _sublayers(parts: LayerParts) -> tuple[tuple[nn.Module, nn.Linear], ...]:
    """The module that is given the residual, and the projection whose output is added to it: attention's, the FFN's."""
    return (
        (parts.attention_residual, parts.attention_output.linear),
        (parts.ffn_residual, parts.ffn_out.linear),
    )


def ridge(gram: torch.Tensor, cross: torch.Tensor, strength: float) -> torch.Tensor:
    """(G + λI)⁻¹ C with λ = `strength` times G's mean diagonal.

    Args:
        gram: XᵀX, [inputs, inputs].
        cross: XᵀY, [inputs, outputs].
        strength: Relative weight of the penalty, above 0.
    """
    penalty = strength * gram.diagonal().mean()
    solution: torch.Tensor = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), cross)
    return solution


def _inputs(
    residual: nn.Module, writer: nn.Linear, times: int, batch: Batch, run: Callable[[Batch], object]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What two modules are given in a forward pass, [unpadded tokens, features] each; the pass ends after so many times."""
    mask = batch["attention_mask"].bool()
    states: list[torch.Tensor] = []
    inputs: list[torch.Tensor] = []

    def keep(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        states.append(arguments[0][mask])

    def keep_and_stop(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        inputs.append(arguments[0][mask])
        if len(inputs) == times:
            raise _Reached

    handles = [residual.register_forward_pre_hook(keep), writer.register_forward_pre_hook(keep_and_stop)]
    try:
        with torch.inference_mode():
            run(batch)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat(states), torch.cat(inputs)

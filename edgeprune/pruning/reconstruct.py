"""`reconstruct`: make up for removed units without training.

From the bottom layer up, the attention output and then the second FFN projection are solved again, so that with the
units that are left the residual stream after them comes closest to the dense model's, errors of the layers below
included:

    min over W, b   ‖X Wᵀ + b - (D + R_dense - R)‖² + λ ‖(W, b) - (W₀, b₀)‖²

X [tokens, kept] is the projection's input, R [tokens, hidden] the residual that its output is added to, D the dense
projection's output. K-prune (https://arxiv.org/abs/2308.03449) solves the same per sublayer; Kwon et al.
(https://arxiv.org/abs/2204.09656) tune one factor a unit instead.
"""

from collections.abc import Callable

import torch
from torch import nn

from edgeprune.errors import UsageError
from edgeprune.models.architectures import layers_of
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.importance import Batch
from edgeprune.steps import ReconstructStep

__all__ = ["prune_reconstruct", "ridge"]

_SUBLAYERS = (("query", "attention_output"), ("ffn_in", "ffn_out"))
"""The projection that reads the residual, and the one whose output is added to it (layers normalise after the sum)."""


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
    for position, layer in enumerate(pruned.record.layers):
        ours, theirs = layers_of(pruned.model)[position], layers_of(dense)[where[layer.index]]
        for reader, writer in _SUBLAYERS:
            linear: nn.Linear = getattr(ours, writer)
            size = linear.in_features + 1
            gram = torch.zeros(size, size, dtype=torch.float64)
            cross = torch.zeros(size, linear.out_features, dtype=torch.float64)
            for batch in batches:
                residual, inputs = _inputs(
                    getattr(ours, reader), linear, batch, lambda batch: context.run(pruned.model, batch)
                )
                dense_linear: nn.Linear = getattr(theirs, writer)
                dense_residual, dense_inputs = _inputs(
                    getattr(theirs, reader),
                    dense_linear,
                    context.dense_batch(batch),
                    lambda batch: context.run(dense, batch),
                )
                with torch.inference_mode():
                    missing = dense_linear(dense_inputs) - linear(inputs) + dense_residual - residual
                inputs = inputs[:, : linear.in_features].double()
                inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
                gram.add_(inputs.T @ inputs)
                cross.add_(inputs.T @ missing.double())
            change = ridge(gram, cross, step.ridge)
            done += 1
            context.progress(done, len(_SUBLAYERS) * len(pruned.record.layers), "projections")
            with torch.no_grad():
                linear.weight.add_(change[:-1].T.to(linear.weight.dtype))
                linear.bias.add_(change[-1].to(linear.bias.dtype))


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
    reader: nn.Linear, writer: nn.Linear, batch: Batch, run: Callable[[Batch], object]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What two projections are given in a forward pass, [unpadded tokens, features] each; the pass ends there."""
    mask = batch["attention_mask"].bool()
    found: list[torch.Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        found.append(inputs[0][mask])

    def keep_and_stop(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        found.append(inputs[0][mask])
        raise _Reached

    handles = [reader.register_forward_pre_hook(keep), writer.register_forward_pre_hook(keep_and_stop)]
    try:
        with torch.inference_mode():
            run(batch)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    residual, inputs = found
    return residual, inputs

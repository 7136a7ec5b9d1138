"""Do the `reconstruct` step: make up for removed units without training.

From the bottom layer up, the attention output and then the second FFN projection are solved again with the units that
are left. After each projection, the residual stream then comes closest to the dense model's. This includes the errors
of the layers below:

    min over W, b   ‖X Wᵀ + b - (D + R_dense - R)‖² + λ ‖(W, b) - (W₀, b₀)‖²

X [tokens, kept] is the projection's input, R [tokens, hidden] is the residual that its output is added to, and D is the
dense projection's output. If a model runs one shared layer many times, X has the tokens of every run, and R_dense - R
is left out. A layer's outputs are kept once its projections are solved, so every layer is computed only a few times,
however many layers lie above it. K-prune (https://arxiv.org/abs/2308.03449) solves the same problem for each sublayer;
Kwon et al. (https://arxiv.org/abs/2204.09656) tune one factor for each unit instead.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import LayerParts, depth_of, layers_of
from edgeprune.models.reader import unpadded
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.importance import Batch

__all__ = ["prune_reconstruct", "ridge"]


class _Reached(Exception):  # noqa: N818 (no error: it ends a forward pass)
    """Signal that a forward pass has gone as far as is needed."""


def prune_reconstruct(step: ReconstructStep, pruned: Pruned, context: Context) -> None:
    """Solve every layer's two output projections again.

    Raises:
        UsageError: The model is sparse, and the step would fill its zeros.
    """
    if pruned.record.sparse:
        raise UsageError(
            "reconstruct belongs before the step that sets single weights to zero; later, it would change the zeros"
        )
    dense, where = context.dense_model(), context.dense.positions()
    batches, done = list(context.batches(step.samples)), 0
    ours = _FromBelow(batches, partial(context.run, pruned.model))
    theirs = _FromBelow([context.dense_batch(batch) for batch in batches], partial(context.run, dense))
    our_layers, their_layers = layers_of(pruned.model), layers_of(dense)
    times = depth_of(pruned.model.config)
    for position, layer in enumerate(pruned.record.layers):
        place = where[layer.index]
        ours.keep_below(our_layers[:position])
        theirs.keep_below(their_layers[:place])
        for (residual, linear), (dense_residual, dense_linear) in zip(
            _sublayers(our_layers[position]), _sublayers(their_layers[place]), strict=True
        ):
            size = linear.in_features + (linear.bias is not None)
            gram = torch.zeros(size, size, dtype=torch.float64)
            cross = torch.zeros(size, linear.out_features, dtype=torch.float64)
            for number in range(len(batches)):
                states, inputs = ours.inputs(number, residual, linear, times)
                dense_states, dense_inputs = theirs.inputs(number, dense_residual, dense_linear, times)
                with torch.inference_mode():
                    missing = dense_linear(dense_inputs) - linear(inputs)
                    if times == 1:  # a shared layer takes away most of the error itself, in each of its runs
                        missing += dense_states - states
                    inputs = inputs[:, : linear.in_features]
                    if linear.bias is not None:
                        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
                    gram.add_(inputs.T @ inputs)  # one batch is summed in fp32, all batches in fp64
                    cross.add_(inputs.T @ missing)
            done += 1
            context.progress(done, 2 * len(our_layers), "projections")
            if not size:
                continue
            change = ridge(gram, cross, step.ridge)
            with torch.no_grad():
                linear.weight.add_(change[: linear.in_features].T.to(linear.weight.dtype))
                if linear.bias is not None:
                    linear.bias.add_(change[-1].to(linear.bias.dtype))


def _sublayers(parts: LayerParts) -> tuple[tuple[nn.Module, nn.Linear], ...]:
    """Return the module that is given the residual and the projection whose output is added to it.

    The first pair is the attention's, the second the FFN's.
    """
    return (
        (parts.attention_residual, parts.attention_output.linear),
        (parts.ffn_residual, parts.ffn_out.linear),
    )


def ridge(gram: torch.Tensor, cross: torch.Tensor, strength: float) -> torch.Tensor:
    """Compute (G + λI)⁻¹ C, with λ = `strength` times the mean of G's diagonal.

    Args:
        gram: XᵀX, [inputs, inputs]; it is changed in place, because it is large.
        cross: XᵀY, [inputs, outputs].
        strength: Relative weight of the penalty, above 0.

    Raises:
        UsageError: The penalty is too weak for sums of so few rows.
    """
    gram.diagonal().add_(strength * gram.diagonal().mean())
    factor, fault = torch.linalg.cholesky_ex(gram)
    if fault:
        raise UsageError(
            f"reconstruct: a ridge of {strength:g} is too small for so few samples; raise ridge or samples"
        )
    solution: torch.Tensor = torch.cholesky_solve(cross, factor)
    return solution


class _FromBelow:
    """Run one model over the same batches many times, and compute no layer again that stays as it is.

    Args:
        batches: The batches that the model is given.
        run: Runs the model on one batch.
    """

    def __init__(self, batches: Sequence[Batch], run: Callable[[Batch], object]) -> None:
        self._batches = batches
        self._run = run
        self._below: list[nn.Module] = []
        self._outputs: list[Any] = [None] * len(batches)
        """By batch, the output of the last layer that stays as it is."""

    def keep_below(self, layers: Sequence[LayerParts]) -> None:
        """Keep the output of the last of these layers, and use it in every later pass.

        Args:
            layers: The layers from the bottom up, which must not change again.
        """
        for parts in layers[len(self._below) :]:
            layer = parts.attention_residual
            for number in range(len(self._batches)):

                def keep(_module: nn.Module, _arguments: object, output: object, number: int = number) -> None:
                    self._outputs[number] = output
                    raise _Reached

                self._pass(number, [layer.register_forward_hook(keep)])
            self._below.append(layer)

    def inputs(
        self, number: int, residual: nn.Module, writer: nn.Linear, times: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of two modules in a pass of one batch, [unpadded tokens, features] each.

        Args:
            number: The batch's number.
            residual: The module that is given the residual.
            writer: The projection whose output is added to the residual.
            times: How many times the pass runs both modules; the inputs of all runs are put together.
        """
        batch = self._batches[number]
        states: list[torch.Tensor] = []
        inputs: list[torch.Tensor] = []

        def keep(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            states.append(unpadded(arguments[0], batch))

        def keep_and_stop(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            inputs.append(unpadded(arguments[0], batch))
            if len(inputs) == times:
                raise _Reached

        self._pass(number, [residual.register_forward_pre_hook(keep), writer.register_forward_pre_hook(keep_and_stop)])
        return torch.cat(states), torch.cat(inputs)

    def _pass(self, number: int, handles: Sequence[RemovableHandle]) -> None:
        """Run the model until a hook has seen enough. The layers below only hand on the output that was kept."""
        for layer in self._below:
            layer.forward = lambda *_arguments, **_keywords: self._outputs[number]
        try:
            with torch.inference_mode():
                self._run(self._batches[number])
        except _Reached:
            pass
        finally:
            for layer in self._below:
                del layer.forward
            for handle in handles:
                handle.remove()

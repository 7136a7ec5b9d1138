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

from functools import partial

import torch

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import depth_of, layers_of
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.least_squares import gram_size, ridge, with_ones
from edgeprune.pruning.sublayers import FromBelow, sublayers

__all__ = ["prune_reconstruct"]


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
    ours = FromBelow(batches, partial(context.run, pruned.model))
    theirs = FromBelow([context.dense_batch(batch) for batch in batches], partial(context.run, dense))
    our_layers, their_layers = layers_of(pruned.model), layers_of(dense)
    times = depth_of(pruned.model.config)
    for position, layer in enumerate(pruned.record.layers):
        place = where[layer.index]
        ours.keep_below(our_layers[:position])
        theirs.keep_below(their_layers[:place])
        for (residual, linear), (dense_residual, dense_linear) in zip(
            sublayers(our_layers[position]), sublayers(their_layers[place]), strict=True
        ):
            size = gram_size(linear)
            gram = torch.zeros(size, size, dtype=torch.float64)
            cross = torch.zeros(size, linear.out_features, dtype=torch.float64)
            for number in range(len(batches)):
                states, inputs = ours.inputs(number, residual, linear, times)
                dense_states, dense_inputs = theirs.inputs(number, dense_residual, dense_linear, times)
                with torch.inference_mode():
                    missing = dense_linear(dense_inputs) - linear(inputs)
                    if times == 1:  # a shared layer takes away most of the error itself, in each of its runs
                        missing += dense_states - states
                    inputs = with_ones(inputs, linear)
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

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

If the stream has lost dimensions, D and R_dense are those of the dimensions that are left. What reads the stream is then
solved too, before the projection behind it, so that it gives from fewer dimensions what the dense reader gave:

    min over W, b   ‖X Wᵀ + b - Y‖² + λ ‖(W, b) - (W₀, b₀)‖²

X [tokens, hidden left] is the reader's input, and Y is the dense reader's output for the units that are left. Readers are
queries, keys and values, the FFN's first projections, and at last the linear layers behind the encoder. Rows of a table
of relative positions that queries and keys are computed of too count like tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import depth_of, layers_of
from edgeprune.models.record import dense_hidden
from edgeprune.models.width import head_readers
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.least_squares import gram_size, ridge, with_ones
from edgeprune.pruning.sublayers import FromBelow, sublayers
from edgeprune.pruning.surgery import unit_index

__all__ = ["prune_reconstruct"]

_Rows = tuple[torch.Tensor, torch.Tensor]
"""What a projection is given, [rows, inputs], and what its output lacks, [rows, outputs]."""


def prune_reconstruct(step: ReconstructStep, pruned: Pruned, context: Context) -> None:
    """Solve every layer's two output projections again; and what reads the stream, if that has lost dimensions.

    Raises:
        UsageError: The model is sparse, and the step would fill its zeros.
    """
    if pruned.record.sparse:
        raise UsageError(
            "reconstruct belongs before the step that sets single weights to zero; later, it would change the zeros"
        )
    dense, where = context.dense_model(), context.dense.positions()
    both = _Both(pruned, dense, context, step.samples)
    our_layers, their_layers = layers_of(pruned.model), layers_of(dense)
    heads = both.heads()
    total, done = len(our_layers) * (2 if both.hidden is None else 4) + len(heads), 0

    def solve(linears: Sequence[nn.Linear], passes: Iterable[Sequence[_Rows]]) -> None:
        nonlocal done
        _solve(linears, passes, step.ridge)
        done += 1
        context.progress(done, total, "projections")

    for position, layer in enumerate(pruned.record.layers):
        place = where[layer.index]
        both.ours.keep_below(our_layers[:position])
        both.theirs.keep_below(their_layers[:place])
        mine, taught, whole = our_layers[position], their_layers[place], context.dense.layers[place]
        for inputs, dense_inputs, writer, dense_writer in zip(
            (mine.attention_inputs, mine.ffn_inputs),
            (taught.attention_inputs, taught.ffn_inputs),
            sublayers(mine),
            sublayers(taught),
            strict=True,
        ):
            if both.hidden is not None:
                readers = [
                    _Reader(one.linear, other.linear, unit_index(other, whole, layer, pruned.record.head_dim))
                    for one, other in zip(inputs, dense_inputs, strict=True)
                    if one.linear.out_features
                ]
                solve([one.linear for one in readers], both.read(readers, writer[1], dense_writer[1]))
            solve([writer[1]], both.written(writer, dense_writer))
    if heads and both.times == 1:  # what is kept of a layer is the output of its first run
        both.ours.keep_below(our_layers)
        both.theirs.keep_below(their_layers)
    for head in heads:
        solve([head.linear], both.read([head], None, None))


@dataclass(frozen=True)
class _Reader:
    """Hold a linear layer that reads the stream, beside the dense model's."""

    linear: nn.Linear
    dense: nn.Linear
    rows: torch.Tensor | None
    """Which of the dense layer's outputs are left; None: all."""


class _Both:
    """Run the pruned model and the dense model on the same batches."""

    def __init__(self, pruned: Pruned, dense: nn.Module, context: Context, samples: int) -> None:
        batches = list(context.batches(samples))
        self.ours = FromBelow(batches, partial(context.run, pruned.model))
        self.theirs = FromBelow([context.dense_batch(batch) for batch in batches], partial(context.run, dense))
        self.hidden = dense_hidden(pruned.record, context.dense)
        self._models = (pruned.model, dense)
        self._batches = len(batches)
        self.times = depth_of(pruned.model.config)

    def heads(self) -> list[_Reader]:
        """List the linear layers behind the encoder that read the stream, if it has lost dimensions."""
        if self.hidden is None:
            return []
        pairs = zip(*(head_readers(model) for model in self._models), strict=True)
        return [
            _Reader(one, other, self.hidden if one.out_features < other.out_features else None) for one, other in pairs
        ]

    def read(
        self, readers: Sequence[_Reader], writer: nn.Module | None, dense_writer: nn.Module | None
    ) -> Iterator[list[_Rows]]:
        """Yield for each batch what readers are given, and what their outputs lack."""
        for number in range(self._batches):
            given = self.ours.reads(number, [one.linear for one in readers], writer, self.times)
            taught = self.theirs.reads(number, [one.dense for one in readers], dense_writer, self.times)
            with torch.inference_mode():
                rows = [
                    (mine, _left(one.dense(theirs), one.rows) - one.linear(mine))
                    for one, mine, theirs in zip(readers, given, taught, strict=True)
                ]
            yield rows

    def written(
        self, writer: tuple[nn.Module, nn.Linear], dense_writer: tuple[nn.Module, nn.Linear]
    ) -> Iterator[list[_Rows]]:
        """Yield for each batch what a projection is given that writes to the stream, and what the stream behind it lacks.

        Args:
            writer: The module that is given the residual, and the projection.
            dense_writer: The same of the dense model.
        """
        for number in range(self._batches):
            states, inputs = self.ours.inputs(number, *writer, self.times)
            dense_states, dense_inputs = self.theirs.inputs(number, *dense_writer, self.times)
            with torch.inference_mode():
                missing = _left(dense_writer[1](dense_inputs), self.hidden) - writer[1](inputs)
                if self.times == 1:  # a shared layer takes away most of the error itself, in each of its runs
                    missing += _left(dense_states, self.hidden) - states
            yield [(inputs, missing)]


def _left(outputs: torch.Tensor, index: torch.Tensor | None) -> torch.Tensor:
    return outputs if index is None else outputs[:, index]


def _solve(linears: Sequence[nn.Linear], passes: Iterable[Sequence[_Rows]], strength: float) -> None:
    """Solve linear layers again, from what they are given and what they lack in each pass."""
    sums = [
        (
            torch.zeros(gram_size(one), gram_size(one), dtype=torch.float64),
            torch.zeros(gram_size(one), one.out_features, dtype=torch.float64),
        )
        for one in linears
    ]
    for found in passes:
        for linear, (gram, cross), (inputs, missing) in zip(linears, sums, found, strict=True):
            with torch.inference_mode():
                rows = with_ones(inputs, linear)
                gram.add_(rows.T @ rows)  # one batch is summed in fp32, all batches in fp64
                cross.add_(rows.T @ missing)
    for linear, (gram, cross) in zip(linears, sums, strict=True):
        if not gram.any():  # nothing was given: it has no inputs, or the outputs don't need it
            continue
        change = ridge(gram, cross, strength)
        with torch.no_grad():
            linear.weight.add_(change[: linear.in_features].T.to(linear.weight.dtype))
            if linear.bias is not None:
                linear.bias.add_(change[-1].to(linear.bias.dtype))

"""Score the dimensions of the residual stream, and narrow the stream to the best of them: `keep_hidden`.

All layers share the stream's dimensions, so there is one score for each, and a dimension is cut from the whole model.
Scores are [hidden dimensions left]. Each criterion is the one that scores heads and neurons, for what a dimension is
here:

    magnitude       the L2 norm of all weights that would go with the dimension
    activation      √Σ (w · rms)² over the weights w that read the dimension, with the root mean square of their input
    taylor, fisher  a mask of ones on the states before, between and after the layers; mean over examples of |∂L/∂m| or
                    of (∂L/∂m)²

What norms do with fewer dimensions is not foreseen by any of them: their means and variances are those of the
dimensions that are left. `reconstruct` and distillation make up for that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from edgeprune.models.architectures import layers_of
from edgeprune.models.record import hidden_size_left
from edgeprune.models.width import head_readers, hidden_size_of, keep_hidden, stream_axes
from edgeprune.profiles.steps import StructuredStep
from edgeprune.pruning.allocation import FloatArray, keep_counts, strongest
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.importance import Batch, frozen
from edgeprune.pruning.sublayers import rows_of

__all__ = ["narrow", "narrow_to", "ordered_dimensions", "score_stream"]


def score_stream(step: StructuredStep, pruned: Pruned, context: Context) -> FloatArray:
    """Score every dimension that the stream has, by the step's importance."""
    model = pruned.model
    match step.importance:
        case "random":
            return np.random.default_rng(context.seed).random(hidden_size_of(model))
        case "magnitude":
            return _magnitude(model)
        case "activation":
            return _activation(model, context.batches(step.samples), lambda batch: context.run(model, batch))
        case "taylor" | "fisher":
            reduce = {"taylor": torch.abs, "fisher": torch.square}[step.importance]
            return _from_gradients(
                model, context.batches(step.samples), lambda batch: context.loss(batch, step.signal), reduce
            )


def ordered_dimensions(pruned: Pruned, context: Context, *, samples: int) -> tuple[int, ...]:
    """List the dimensions that are left, in the dense model's numbers, the most important first by mask Fisher scores.

    Args:
        pruned: The model, which is left as it is.
        context: The task and the data.
        samples: How many training rows are read.
    """
    scores = score_stream(StructuredStep(method="structured", importance="fisher", samples=samples), pruned, context)
    before = pruned.record.hidden or range(len(scores))
    return tuple(before[position] for position in np.argsort(-scores, kind="stable"))


def narrow(step: StructuredStep, scores: FloatArray, pruned: Pruned, context: Context) -> None:
    """Keep the dimensions with the highest scores, as many as the step says, in multiples of its `align`.

    Args:
        step: The step, with the amounts of this round.
        scores: The scores of all dimensions that are left, [hidden].
        pruned: The model, which is changed in place.
        context: Knows the dense model.
    """
    dense = hidden_size_left(context.dense, pruned.model.config.hidden_size)
    (count,) = keep_counts([scores], [dense], step.keep_hidden, allocation="uniform", align=step.align)
    context.note(f"{count} of {dense} dimensions of the hidden states are left")
    if count == len(scores):
        return
    before = pruned.record.hidden or range(len(scores))
    narrow_to([before[position] for position in strongest(scores, count)], pruned)


def narrow_to(dimensions: Sequence[int], pruned: Pruned) -> None:
    """Keep these dimensions of the hidden states.

    Args:
        dimensions: Their numbers in the dense model, ascending. Every one must be left.
        pruned: The model, which is changed in place.
    """
    before = pruned.record.hidden or range(hidden_size_of(pruned.model))
    where = {dimension: position for position, dimension in enumerate(before)}
    keep_hidden(pruned.model, [where[dimension] for dimension in dimensions])
    pruned.record = pruned.record.model_copy(update={"hidden": tuple(dimensions)})


def _magnitude(model: PreTrainedModel) -> FloatArray:
    total = torch.zeros(hidden_size_of(model), dtype=torch.float64)
    seen: set[int] = set()
    for name, axes in stream_axes(model).items():
        parameter = model.get_parameter(name)
        if id(parameter) not in seen:  # tied weights go once
            seen.add(id(parameter))
            for axis in axes:
                others = [other for other in range(parameter.ndim) if other != axis]
                squares = parameter.detach().double().square()
                total += squares.sum(others) if others else squares
    scores: FloatArray = total.sqrt().numpy()
    return scores


def _activation(model: PreTrainedModel, batches: Iterable[Batch], run: Callable[[Batch], object]) -> FloatArray:
    """Score by the weights of all readers and their inputs. Queries, keys and values are given what values are given."""
    layers = [
        [one.linear for one in group if not one.of_positions]
        for parts in layers_of(model)
        for group in (parts.attention_inputs, parts.ffn_inputs)
    ]
    groups = [*layers, *([one] for one in head_readers(model))]
    size = hidden_size_of(model)
    squares = torch.zeros(len(groups), size, dtype=torch.float64)
    rows = torch.zeros(len(groups), 1, dtype=torch.float64)

    def listen(number: int, linear: nn.Linear) -> Any:
        def add(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            states = rows_of(inputs[0], batch)
            squares[number].add_(states.double().square().sum(0))
            rows[number].add_(len(states))

        return linear.register_forward_pre_hook(add)

    handles = [listen(number, group[-1]) for number, group in enumerate(groups)]
    try:
        with torch.inference_mode():
            for batch in batches:
                run(batch)
    finally:
        for handle in handles:
            handle.remove()
    weights = torch.stack(
        [sum((one.weight.detach().double().square().sum(0) for one in group), torch.zeros(size)) for group in groups]
    )
    scores: FloatArray = (squares / rows.clamp(min=1) * weights).sum(0).sqrt().numpy()
    return scores


def _from_gradients(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    loss: Callable[[Batch], torch.Tensor],
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> FloatArray:
    """Average the mask's gradient over examples, after `reduce`; `loss` is the sum over a batch's examples."""
    total, examples = torch.zeros(hidden_size_of(model), dtype=torch.float64), 0
    with frozen(model):
        for batch in batches:
            size = len(next(iter(batch.values())))
            examples += size
            with _masked(model, size) as mask:
                (gradient,) = torch.autograd.grad(loss(batch), [mask])
            total.add_(reduce(gradient.double()).sum(0))
    scores: FloatArray = (total / max(examples, 1)).numpy()
    return scores


@contextmanager
def _masked(model: PreTrainedModel, batch_size: int) -> Iterator[torch.Tensor]:
    """Put a mask of ones on the states that each layer is given and that the last one gives; yield it, [batch, hidden]."""
    values = torch.ones(batch_size, hidden_size_of(model), requires_grad=True)

    def masked(states: torch.Tensor) -> torch.Tensor:
        return states * values[:, None, :].to(states.dtype)

    def before(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (masked(arguments[0]), *arguments[1:])

    def after(_module: nn.Module, _arguments: object, output: Any) -> Any:
        return masked(output) if isinstance(output, torch.Tensor) else (masked(output[0]), *output[1:])

    layers = [parts.attention_residual for parts in layers_of(model)]
    handles = [*(layer.register_forward_pre_hook(before) for layer in layers), layers[-1].register_forward_hook(after)]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()

"""Score how much each attention head and each FFN neuron matters, with one function for each criterion.

Shapes: scores have one array for each layer; `heads[l]` is [heads left in layer l], `neurons[l]` is
[neurons left in layer l]. A layer may have no heads or no neurons left; its array is then empty.

The gradient criteria put a mask m of ones on every unit's output and read ∂L/∂m. The mask has a row for each example,
so one backward pass gives every example's own gradient. Only the masks need gradients: a pass costs about a forward
pass and the activations' half of a backward pass.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn
from transformers import PreTrainedModel

from edgeprune.base.errors import UsageError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.base.wording import first_line
from edgeprune.models.architectures import LayerParts, Projection, layers_of
from edgeprune.models.reader import unpadded
from edgeprune.models.record import LayerRecord
from edgeprune.pruning.allocation import FloatArray

__all__ = [
    "Batch",
    "SavedScores",
    "Scores",
    "activation",
    "fisher",
    "frozen",
    "magnitude",
    "open_scores",
    "random",
    "read_scores",
    "taylor",
    "write_scores",
]

Batch = dict[str, torch.Tensor]


class _Origin(Frozen):
    """Hold what a file of scores says about itself."""

    checkpoint: str
    criteria: dict[int, str]
    layers: dict[int, tuple[LayerRecord, ...]]


@dataclass(frozen=True)
class Scores:
    """Hold importance scores by layer. A unit with a larger score matters more."""

    heads: list[FloatArray]
    neurons: list[FloatArray]
    layers: tuple[LayerRecord, ...] = ()
    """The layers and units of the dense model that were scored; empty: they aren't filled in yet."""
    criterion: str = ""
    """The `importance` of the structured step that asked for the scores; empty: it isn't filled in yet."""


@dataclass(frozen=True)
class SavedScores:
    """Hold the content of a file of scores."""

    checkpoint_digest: str
    """SHA-256 of the weights that the steps were given."""
    scores: dict[int, Scores]
    """The scores, by the number of the step that computed them."""


def write_scores(scores: Mapping[int, Scores], path: Path, checkpoint_digest: str) -> None:
    """Write the scores of several steps to a file, as `<step>.<layer>.heads` and `<step>.<layer>.neurons`.

    Args:
        scores: The scores, by the number of the step that computed them.
        path: The safetensors file to write.
        checkpoint_digest: SHA-256 of the weights that the steps were given.
    """
    tensors = {}
    origin = _Origin(
        checkpoint=checkpoint_digest,
        criteria={step: found.criterion for step, found in scores.items()},
        layers={step: found.layers for step, found in scores.items()},
    )
    for step, found in scores.items():
        for layer, (heads, neurons) in enumerate(zip(found.heads, found.neurons, strict=True)):
            tensors[f"{step}.{layer}.heads"], tensors[f"{step}.{layer}.neurons"] = heads, neurons
    # One entry holds everything: safetensors writes several entries in an order that changes from time to time.
    save_file(tensors, path, metadata={"origin": origin.model_dump_json()})


def open_scores(path: Path) -> SavedScores:
    """Read everything that `write_scores` wrote.

    Raises:
        UsageError: The file doesn't exist, or isn't a file of scores.
    """
    try:
        with safe_open(path, framework="np") as file:
            origin = _Origin.model_validate_json((file.metadata() or {}).get("origin", ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        scores = {
            step: Scores(
                [_of_units(tensors[f"{step}.{number}.heads"], layer.heads) for number, layer in enumerate(layers)],
                [_of_units(tensors[f"{step}.{number}.neurons"], layer.neurons) for number, layer in enumerate(layers)],
                layers,
                origin.criteria[step],
            )
            for step, layers in origin.layers.items()
        }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UsageError(f"{path} is not a readable file of scores: {first_line(error)}") from error
    return SavedScores(origin.checkpoint, scores)


def _of_units(values: FloatArray, units: Sequence[int]) -> FloatArray:
    if values.shape != (len(units),):
        raise ValueError(f"it has scores of shape {values.shape} for {len(units)} units")
    return values


def read_scores(path: Path, criterion: str, step: int, left: tuple[LayerRecord, ...], checkpoint_digest: str) -> Scores:
    """Read a step's scores from a file that `write_scores` wrote.

    Args:
        path: The file of scores.
        criterion: The criterion that the step asks for.
        step: The number of the step.
        left: The layers and units that the model has left.
        checkpoint_digest: SHA-256 of the weights that are to be pruned by these scores.

    Raises:
        UsageError: The file doesn't exist, or holds scores of another model, step or criterion.
    """
    saved = open_scores(path)
    if saved.checkpoint_digest != checkpoint_digest:
        raise UsageError(
            f"{path} holds the scores of another checkpoint; remove `scores` from the step to compute new scores"
        )
    if step not in saved.scores or saved.scores[step].layers != left:
        raise UsageError(
            f"{path} holds no scores for step {step} of this pipeline; remove `scores` from the step to compute new scores"
        )
    found = saved.scores[step]
    if found.criterion != criterion:
        raise UsageError(
            f"{path} holds {found.criterion} scores, but the step's importance is {criterion}; set importance to {found.criterion}"
        )
    return found


def random(model: PreTrainedModel, head_dim: int, seed: int) -> Scores:
    """Draw uniform random scores: the baseline that every criterion should beat."""
    generator = np.random.default_rng(seed)
    sizes = [
        (parts.attention_output.linear.in_features // head_dim, parts.ffn_out.linear.in_features)
        for parts in layers_of(model)
    ]
    return Scores([generator.random(heads) for heads, _ in sizes], [generator.random(neurons) for _, neurons in sizes])


def magnitude(model: PreTrainedModel, head_dim: int) -> Scores:
    """Compute the L2 norm of all weights that would go with a unit (Li et al., https://arxiv.org/abs/1608.08710)."""
    heads, neurons = [], []
    for parts in layers_of(model):
        attention = _squares(parts.attention_inputs, parts.attention_output)
        heads.append(attention.view(-1, head_dim).sum(1).sqrt().double().numpy())
        neurons.append(_squares(parts.ffn_inputs, parts.ffn_out).sqrt().double().numpy())
    return Scores(heads, neurons)


def _squares(inputs: Sequence[Projection], output: Projection) -> torch.Tensor:
    """Sum the squares of each neuron's weights, or of the weights of each of a head's `head_dim` features."""
    total = output.linear.weight.detach().square().sum(0)
    for projection in inputs:
        total = total + projection.linear.weight.detach().square().sum(1).view(projection.blocks, -1).sum(0)
    return total


def activation(
    model: PreTrainedModel, head_dim: int, batches: Iterable[Batch], run: Callable[[Batch], object]
) -> Scores:
    """Score units by their output weights and the inputs of these weights.

    The score is √Σ (w · rms)², summed over a unit's output weights w, where rms is the root mean square over tokens of
    a weight's input. For a neuron, this is the root mean square of what it adds to its layer's output. Sun et al., "A
    Simple and Effective Pruning Approach for Large Language Models" (Wanda), https://arxiv.org/abs/2306.11695, define
    the score of one weight.

    Args:
        run: Runs the model on a batch.
    """
    layers = layers_of(model)
    linears = [output.linear for parts in layers for output in (parts.attention_output, parts.ffn_out)]
    squares = [torch.zeros(linear.in_features, dtype=torch.float64) for linear in linears]
    tokens = 0

    def listen(number: int, linear: nn.Linear) -> Any:
        def add(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            if linear.in_features:
                states = unpadded(inputs[0], batch)
                squares[number].add_(states.double().square().sum(0))
                seen.add(len(states))

        return linear.register_forward_pre_hook(add)

    handles = [listen(number, linear) for number, linear in enumerate(linears)]
    try:
        with torch.inference_mode():
            for batch in batches:
                seen: set[int] = set()  # every projection is shown the same tokens
                run(batch)
                tokens += max(seen, default=0)
    finally:
        for handle in handles:
            handle.remove()
    columns = [
        total / max(tokens, 1) * linear.weight.detach().double().square().sum(0)
        for total, linear in zip(squares, linears, strict=True)
    ]
    return Scores(
        [column.view(-1, head_dim).sum(1).sqrt().numpy() for column in columns[::2]],
        [column.sqrt().numpy() for column in columns[1::2]],
    )


def taylor(
    model: PreTrainedModel, head_dim: int, batches: Iterable[Batch], loss: Callable[[Batch], torch.Tensor]
) -> Scores:
    """Compute the mean over examples of |∂L/∂m|, the first-order change of the loss when the unit goes.

    Molchanov et al., https://arxiv.org/abs/1611.06440; for heads, Michel et al., https://arxiv.org/abs/1905.10650.
    """
    return _from_gradients(model, head_dim, batches, loss, torch.abs)


def fisher(
    model: PreTrainedModel, head_dim: int, batches: Iterable[Batch], loss: Callable[[Batch], torch.Tensor]
) -> Scores:
    """Compute the mean over examples of (∂L/∂m)², the diagonal of the masks' empirical Fisher information.

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
    """Average the masks' gradients over examples, each after `reduce`; `loss` is the sum over a batch's examples."""
    layers = layers_of(model)
    totals: list[tuple[torch.Tensor, torch.Tensor]] = [
        (
            torch.zeros(parts.attention_output.linear.in_features // head_dim, dtype=torch.float64),
            torch.zeros(parts.ffn_out.linear.in_features, dtype=torch.float64),
        )
        for parts in layers
    ]
    examples = 0
    with frozen(model):
        for batch in batches:
            size = len(next(iter(batch.values())))
            examples += size
            with _masked(layers, head_dim, size) as masks:
                gradients = torch.autograd.grad(loss(batch), masks, allow_unused=True, materialize_grads=True)
            for index, (heads, neurons) in enumerate(totals):
                heads.add_(reduce(gradients[2 * index].double()).sum(0))
                neurons.add_(reduce(gradients[2 * index + 1].double()).sum(0))
    count = max(examples, 1)
    return Scores(
        [(heads / count).numpy() for heads, _ in totals], [(neurons / count).numpy() for _, neurons in totals]
    )


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Freeze the model inside the block: no parameter asks for a gradient."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for parameter, value in before:
            parameter.requires_grad_(value)


@contextmanager
def _masked(layers: list[LayerParts], head_dim: int, batch_size: int) -> Iterator[list[torch.Tensor]]:
    """Put masks of ones on the inputs of every layer's two output projections, and yield the masks.

    The masks are [batch, heads] and [batch, neurons] by turns.
    """
    masks: list[torch.Tensor] = []
    handles = []

    def mask(linear: nn.Linear, unit: int) -> None:
        values = torch.ones(batch_size, linear.in_features // unit, requires_grad=True)
        masks.append(values)

        def apply(_module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            (hidden,) = inputs
            if not linear.in_features:
                return inputs
            return (hidden * values.repeat_interleave(unit, dim=1)[:, None, :].to(hidden.dtype),)

        handles.append(linear.register_forward_pre_hook(apply))

    for parts in layers:
        mask(parts.attention_output.linear, head_dim)
        mask(parts.ffn_out.linear, 1)
    try:
        yield masks
    finally:
        for handle in handles:
            handle.remove()

"""Do the steps `structured` and `masks`: remove whole attention heads and FFN neurons, and hidden dimensions."""

from dataclasses import replace

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import counted_tokens, layers_of, unit_multiply_adds
from edgeprune.models.record import LayerRecord, dense_layers
from edgeprune.profiles.steps import MasksStep, StructuredStep
from edgeprune.pruning import importance
from edgeprune.pruning.allocation import FloatArray, keep_by_cost, keep_counts, strongest
from edgeprune.pruning.context import Context, Pruned, by_layer
from edgeprune.pruning.importance import Scores
from edgeprune.pruning.masks import read_masks
from edgeprune.pruning.stream import narrow, score_stream
from edgeprune.pruning.surgery import cut

__all__ = ["prune_masks", "prune_structured"]


def prune_structured(step: StructuredStep, number: int, pruned: Pruned, context: Context) -> None:
    """Keep the units and the hidden dimensions with the highest scores. All are scored before anything is cut.

    Raises:
        UsageError: No layer has units left, or the step's saved scores don't belong to this step and model.
    """
    if not any(layer.heads or layer.neurons for layer in pruned.record.layers):
        raise UsageError("structured: no layer has heads or neurons left that could be pruned")
    dimensions = score_stream(step, pruned, context) if step.keep_hidden < 1 else None
    scores = replace(_scores(step, number, pruned, context), layers=pruned.record.layers, criterion=step.importance)
    places = dense_layers(pruned.record, context.dense, len(context.dense.layers))
    dense = [context.dense.layers[place] for place in places]
    if step.allocation == "multiply_adds":
        head_counts, neuron_counts = _by_cost(scores, dense, step, pruned)
    else:
        layers = len(context.dense.layers)
        keep_heads = by_layer(step.keep_heads, places, layers, "keep_heads")
        keep_ffn = by_layer(step.keep_ffn, places, layers, "keep_ffn")
        head_counts = _counts(scores.heads, [len(layer.heads) for layer in dense], keep_heads, step, align=1)
        neuron_counts = _counts(
            scores.neurons, [len(layer.neurons) for layer in dense], keep_ffn, step, align=step.align
        )
    heads = [strongest(values, count) for values, count in zip(scores.heads, head_counts, strict=True)]
    neurons = [strongest(values, count) for values, count in zip(scores.neurons, neuron_counts, strict=True)]
    keep = tuple(
        LayerRecord(
            index=layer.index,
            heads=tuple(layer.heads[unit] for unit in heads[position]),
            neurons=tuple(layer.neurons[unit] for unit in neurons[position]),
        )
        for position, layer in enumerate(pruned.record.layers)
    )
    pruned.scores[number] = scores
    pruned.record = cut(pruned.model, pruned.record, keep)
    if dimensions is not None:
        narrow(step, dimensions, pruned, context)


def prune_masks(step: MasksStep, pruned: Pruned, context: Context) -> None:
    """Keep exactly the units that a file's masks name. Units that are gone already stay gone.

    Raises:
        UsageError: The file can't be read, or its masks don't have the dense model's sizes.
    """
    masks = read_masks(step.file, len(context.dense.layers))
    where = context.dense.positions()
    keep = []
    for layer in pruned.record.layers:
        position = where[layer.index]
        whole = context.dense.layers[position]
        kept = {"head_mask": layer.heads, "ffn_mask": layer.neurons}
        for name, all_units in (("head_mask", whole.heads), ("ffn_mask", whole.neurons)):
            if name in masks:
                row = masks[name][position]
                if len(row) != len(all_units):
                    raise UsageError(
                        f"{step.file}: {name}, row {position}: expected {len(all_units)} values of 0 or 1, got {len(row)}"
                    )
                wanted = {unit for unit, flag in zip(all_units, row, strict=True) if flag}
                kept[name] = tuple(unit for unit in kept[name] if unit in wanted)
        keep.append(LayerRecord(index=layer.index, heads=kept["head_mask"], neurons=kept["ffn_mask"]))
    pruned.record = cut(pruned.model, pruned.record, tuple(keep))


def _scores(step: StructuredStep, number: int, pruned: Pruned, context: Context) -> Scores:
    model, head_dim = pruned.model, pruned.record.head_dim
    if step.scores is not None:
        return importance.read_scores(
            step.scores, step.importance, number, pruned.record.layers, context.checkpoint_digest
        )
    match step.importance:
        case "random":
            return importance.random(model, head_dim, context.seed)
        case "magnitude":
            return importance.magnitude(model, head_dim)
        case "activation":
            return importance.activation(
                model, head_dim, context.batches(step.samples), lambda batch: context.run(model, batch)
            )
        case "taylor" | "fisher":
            score = {"taylor": importance.taylor, "fisher": importance.fisher}[step.importance]
            return score(model, head_dim, context.batches(step.samples), lambda batch: context.loss(batch, step.signal))


def _counts(
    scores: list[FloatArray],
    dense_widths: list[int],
    keep: float | tuple[float, ...],
    step: StructuredStep,
    *,
    align: int,
) -> list[int]:
    """Compute how many units of one kind each layer keeps."""
    if isinstance(keep, tuple):
        return [
            keep_counts([values], [width], fraction, allocation="uniform", align=align)[0]
            for values, width, fraction in zip(scores, dense_widths, keep, strict=True)
        ]
    return keep_counts(
        scores, dense_widths, keep, allocation=step.allocation, align=align, allow_empty=step.allow_empty
    )


def _by_cost(
    scores: Scores, dense: list[LayerRecord], step: StructuredStep, pruned: Pruned
) -> tuple[list[int], list[int]]:
    """Compute how many heads and neurons each layer keeps, within the cost of the uniform fractions."""
    assert isinstance(step.keep_heads, float)  # noqa: S101 (the step's model demands fractions)
    assert isinstance(step.keep_ffn, float)  # noqa: S101
    config, parts = pruned.model.config, layers_of(pruned.model)[0]
    multiply_adds, neuron = unit_multiply_adds(config, parts, pruned.record.head_dim, counted_tokens(config))
    head = step.head_cost * multiply_adds
    budget = sum(
        step.keep_heads * len(layer.heads) * head + step.keep_ffn * len(layer.neurons) * neuron for layer in dense
    )
    return keep_by_cost(
        scores.heads,
        scores.neurons,
        costs=(head, neuron),
        budget=budget,
        align=step.align,
        allow_empty=step.allow_empty,
    )

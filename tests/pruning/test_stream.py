"""The residual stream, narrowed to its best dimensions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.models.checkpoint import save_checkpoint
from edgeprune.models.record import LayerRecord
from edgeprune.models.width import hidden_size_of, keep_hidden, stream_axes
from edgeprune.profiles.steps import ReconstructStep, StructuredStep
from edgeprune.pruning.reconstruct import prune_reconstruct
from edgeprune.pruning.structured import prune_structured
from edgeprune.pruning.surgery import cut
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.pruning_context import TinyContext

CRITERIA = ("random", "magnitude", "activation", "taylor", "fisher")


def step(keep_hidden: float, **values: object) -> StructuredStep:
    return StructuredStep.model_validate({"method": "structured", "keep_hidden": keep_hidden, "align": 4, **values})


@pytest.mark.parametrize("importance", CRITERIA[1:])
@pytest.mark.parametrize("model_type", ["bert", "albert", "deberta-v2", "modernbert"])
def test_the_dimensions_in_which_something_happens_stay(
    tiny_model_folder: ModelFactory, model_type: str, importance: str
) -> None:
    """Twelve of 32; without norms, which see how many dimensions there are, nothing is lost with the others."""
    context = TinyContext(tiny_model_folder(model_type))
    model = context.pruned.model
    alive = (1, 2, 3, 5, 8, 13, 14, 15, 20, 21, 30, 31)
    for name in [name for name, one in model.named_modules() if isinstance(one, nn.LayerNorm)]:
        model.set_submodule(name, nn.Identity())
    with torch.no_grad():
        for name, axes in stream_axes(model).items():
            for axis in axes:
                others = torch.tensor([one for one in range(32) if one not in alive])
                model.get_parameter(name).index_fill_(axis, others, 0.0)
    before = context.outputs()
    prune_structured(step(12 / 32, importance=importance), 0, context.pruned, context)
    assert context.pruned.record.hidden == alive
    np.testing.assert_allclose(context.outputs(), before, rtol=1e-4, atol=1e-4)
    assert context.notes == ["12 of 32 dimensions of the hidden states are left"]


def test_random_is_seeded(tiny_model_folder: ModelFactory) -> None:
    found = []
    for seed in (0, 0, 1):
        context = TinyContext(tiny_model_folder(), seed=seed)
        prune_structured(step(0.5, importance="random"), 0, context.pruned, context)
        found.append(context.pruned.record.hidden)
    assert found[0] == found[1] != found[2]
    assert found[0] is not None
    assert len(found[0]) == 16


def test_fractions_are_of_the_dense_model_in_every_round(tiny_model_folder: ModelFactory) -> None:
    context = TinyContext(tiny_model_folder())
    prune_structured(step(0.75), 0, context.pruned, context)
    first = context.pruned.record.hidden
    assert first is not None
    prune_structured(step(0.5), 0, context.pruned, context)
    second = context.pruned.record.hidden
    assert second is not None
    assert (len(first), len(second), hidden_size_of(context.pruned.model)) == (24, 16, 16)
    assert set(second) < set(first)
    assert np.isfinite(context.outputs()).all()


def test_a_dense_model_that_was_narrowed_before(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    whole = TinyContext(tiny_model_folder())
    kept = tuple(range(0, 32, 2))
    keep_hidden(whole.pruned.model, kept)
    record = whole.pruned.record.model_copy(update={"hidden": kept})
    save_checkpoint(whole.pruned.model, tmp_path, record=record, reader=whole.pruned.reader)
    context = TinyContext(tmp_path)
    context.dense = context.pruned.record = record
    prune_structured(step(0.5), 0, context.pruned, context)
    left = context.pruned.record.hidden
    assert left is not None
    assert len(left) == 8
    assert set(left) < set(kept)
    before = distance(context)
    prune_reconstruct(ReconstructStep(method="reconstruct", samples=48), context.pruned, context)
    assert distance(context) < before


def test_where_one_multiple_of_align_is_all_there_is_everything_stays(tiny_model_folder: ModelFactory) -> None:
    context = TinyContext(tiny_model_folder())
    prune_structured(step(0.5, align=64), 0, context.pruned, context)
    assert context.pruned.record.hidden is None
    assert context.notes == ["32 of 32 dimensions of the hidden states are left"]


def test_units_are_chosen_by_scores_and_costs_of_before(tiny_model_folder: ModelFactory) -> None:
    found = []
    for fraction in (1.0, 0.5):
        context = TinyContext(tiny_model_folder())
        chosen = step(fraction, keep_heads=0.5, keep_ffn=0.5, allocation="multiply_adds")
        prune_structured(chosen, 0, context.pruned, context)
        found.append((context.pruned.scores[0].neurons[0].tolist(), context.pruned.record.layers))
    assert found[0] == found[1]


def distance(context: TinyContext, *, of_outputs: bool = False) -> float:
    """Mean squared difference to the dense model, of the last states in the dimensions that are left, or of outputs."""
    dense, hidden = context.dense_model(), context.pruned.record.hidden
    assert hidden is not None
    everything = context.dense.hidden or range(32)
    places = [list(everything).index(one) for one in hidden]
    errors = []
    with torch.inference_mode():
        for batch in context.batches(48):
            if of_outputs:
                ours, theirs = context.run(context.pruned.model, batch), context.run(dense, batch)
            else:
                read = batch["attention_mask"].bool()
                ours = context.states(context.pruned.model, batch)[-1][read]
                theirs = context.states(dense, batch)[-1][read][:, places]
            errors.append((ours - theirs).square().mean().item())
    return float(np.mean(errors))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_reads_the_stream_is_solved_again(tiny_model_folder: ModelFactory, model_type: str) -> None:
    """Together with heads and neurons that went: states and outputs come closer to the dense model's."""
    context = TinyContext(tiny_model_folder(model_type))
    half = (
        LayerRecord(index=0, heads=(0, 2, 3), neurons=tuple(range(0, 128, 2))),
        LayerRecord(index=1, heads=(3,), neurons=tuple(range(64))),
    )
    context.pruned.record = cut(context.pruned.model, context.pruned.record, half[: len(context.dense.layers)])
    kept = tuple(one for one in range(32) if one % 3)
    keep_hidden(context.pruned.model, kept)
    context.pruned.record = context.pruned.record.model_copy(update={"hidden": kept})
    before = distance(context), distance(context, of_outputs=True)
    prune_reconstruct(ReconstructStep(method="reconstruct", samples=48, ridge=1e-3), context.pruned, context)
    assert distance(context) < 0.8 * before[0]
    assert distance(context, of_outputs=True) < 0.3 * before[1]


def test_every_reader_of_a_layer_gives_nearly_what_the_dense_one_gave(tiny_model_folder: ModelFactory) -> None:
    """Position and token come from fewer numbers than there are dimensions left, so little is lost."""
    context = TinyContext(tiny_model_folder("deberta-v2"))
    kept = tuple(range(24))
    keep_hidden(context.pruned.model, kept)
    context.pruned.record = context.pruned.record.model_copy(update={"hidden": kept})

    def asked(model: nn.Module) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        layer = model.get_submodule("deberta.encoder.layer.0")
        readers = [layer.get_submodule(f"attention.self.{one}_proj") for one in ("query", "key", "value")]
        handles = [one.register_forward_hook(lambda _m, _i, output: found.append(output)) for one in readers]
        with torch.inference_mode():
            context.run(model, next(iter(context.batches(8))))  # type: ignore[arg-type]
        for handle in handles:
            handle.remove()
        return found

    def errors() -> list[float]:
        pairs = zip(asked(context.pruned.model), asked(context.dense_model()), strict=True)
        return [float((ours - theirs).square().mean()) for ours, theirs in pairs]

    before = errors()
    assert len(before) == 5, "queries and keys are computed of relative positions too"
    prune_reconstruct(ReconstructStep(method="reconstruct", samples=48, ridge=1e-3), context.pruned, context)
    for now, was in zip(errors(), before, strict=True):
        assert now < 0.9 * was

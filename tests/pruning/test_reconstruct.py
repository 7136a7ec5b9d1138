from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_any, save_checkpoint
from edgeprune.models.record import LayerRecord
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.reconstruct import prune_reconstruct
from edgeprune.pruning.surgery import cut
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.pruning_context import TinyContext

HALF = (
    LayerRecord(index=0, heads=(0, 2), neurons=tuple(range(0, 128, 2))),
    LayerRecord(index=1, heads=(3,), neurons=tuple(range(64))),
)


def distance(context: TinyContext) -> float:
    """Mean squared difference of the last token states to the dense model's."""
    dense = load_any(context.folder)
    errors = []
    with torch.inference_mode():
        for batch in context.batches(48):
            read = batch["attention_mask"].bool()
            ours = context.states(context.pruned.model, batch)[-1][read]
            theirs = context.states(dense, context.dense_batch(batch))[-1][read]
            errors.append((ours - theirs).square().mean().item())
    return float(np.mean(errors))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_states_come_closer_to_the_dense_models(tiny_model_folder: ModelFactory, model_type: str):
    context = TinyContext(tiny_model_folder(model_type))
    half = HALF[: len(context.dense.layers)]
    context.pruned.record = cut(context.pruned.model, context.pruned.record, half)
    before = distance(context)
    prune_reconstruct(ReconstructStep(method="reconstruct", samples=48, ridge=1e-3), context.pruned, context)
    assert distance(context) < 0.5 * before


@pytest.mark.parametrize(
    "keep", [HALF[1:], (LayerRecord(index=0, heads=(), neurons=()), HALF[1])], ids=["layer", "units"]
)
def test_after_a_layer_or_all_units_of_one_are_gone(tiny_model_folder: ModelFactory, keep: tuple[LayerRecord, ...]):
    context = TinyContext(tiny_model_folder())
    context.pruned.record = cut(context.pruned.model, context.pruned.record, keep)
    before = distance(context)
    prune_reconstruct(ReconstructStep(method="reconstruct", samples=48), context.pruned, context)
    assert distance(context) < before


def test_what_lost_nothing_stays_as_it_is(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder())
    before = context.outputs()
    prune_reconstruct(ReconstructStep(method="reconstruct", samples=48), context.pruned, context)
    np.testing.assert_allclose(context.outputs(), before, atol=1e-5)


def test_a_sparse_model_is_refused(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder())
    context.pruned.record = context.pruned.record.model_copy(update={"sparse": True})
    with pytest.raises(UsageError, match="reconstruct belongs before the step that sets single weights to zero"):
        prune_reconstruct(ReconstructStep(method="reconstruct"), context.pruned, context)


def test_a_model_that_lacked_layers_from_the_start(tiny_model_folder: ModelFactory, tmp_path: Path):
    """Its only layer is called 1: that is the teacher's first."""
    whole = TinyContext(tiny_model_folder())
    record = cut(whole.pruned.model, whole.pruned.record, whole.pruned.record.layers[1:])
    save_checkpoint(whole.pruned.model, tmp_path, record=record, reader=whole.pruned.reader)
    context = TinyContext(tmp_path)
    context.dense = context.pruned.record = record
    half = LayerRecord(index=1, heads=(0, 2), neurons=tuple(range(0, 128, 2)))
    context.pruned.record = cut(context.pruned.model, record, (half,))
    before = distance(context)
    prune_reconstruct(ReconstructStep(method="reconstruct", samples=48, ridge=1e-3), context.pruned, context)
    assert distance(context) < 0.5 * before


def test_a_layer_is_computed_as_often_however_many_lie_above_it(tiny_model_folder: ModelFactory):
    calls = []
    for layers in (2, 4):
        context = TinyContext(tiny_model_folder(layers=layers))
        halves = (LayerRecord(index=index, heads=(0, 1), neurons=tuple(range(64))) for index in range(layers))
        context.pruned.record = cut(context.pruned.model, context.pruned.record, tuple(halves))
        seen: list[int] = []
        lowest = layers_of(context.pruned.model)[0].ffn_inputs[0].linear
        lowest.register_forward_hook(lambda *_given, seen=seen: seen.append(1))
        prune_reconstruct(ReconstructStep(method="reconstruct", samples=48), context.pruned, context)
        calls.append(len(seen))
    assert calls[0] == calls[1] > 0


def test_a_layer_gone_through_many_times_is_solved_for_all_of_them(
    tiny_model_folder: ModelFactory, monkeypatch: pytest.MonkeyPatch
):
    def error() -> float:
        context = TinyContext(tiny_model_folder("albert", layers=4))
        context.pruned.record = cut(context.pruned.model, context.pruned.record, HALF[:1])
        prune_reconstruct(ReconstructStep(method="reconstruct", samples=48), context.pruned, context)
        return distance(context)

    for_all = error()
    monkeypatch.setattr("edgeprune.pruning.reconstruct.depth_of", lambda _config: 1)
    assert for_all < 0.9 * error()

from collections.abc import Callable

import pytest
import torch

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_any
from edgeprune.profiles.steps import GradientStep, MagnitudeStep, NMStep
from edgeprune.pruning.sparse import prune_gradient, prune_magnitude, prune_n_m, sparsity_of
from edgeprune.pruning.surgery import cut
from tests.conftest import ModelFactory
from tests.support.pruning_context import TinyContext


@pytest.fixture
def context(tiny_model_folder: ModelFactory) -> TinyContext:
    return TinyContext(tiny_model_folder())


def weights(context: TinyContext) -> list[list[torch.Tensor]]:
    return [[part.linear.weight.detach() for part in parts.projections] for parts in layers_of(context.pruned.model)]


def zeros(tensors: list[torch.Tensor]) -> float:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    return float((flat == 0).double().mean())


def test_global_magnitude_zeroes_exactly_the_smallest(context: TinyContext):
    before = torch.cat([one.flatten().clone() for layer in weights(context) for one in layer])
    prune_magnitude(MagnitudeStep(method="magnitude", sparsity=0.3), context.pruned, context)
    after = torch.cat([one.flatten() for layer in weights(context) for one in layer])
    gone = after == 0
    assert int(gone.sum()) == round(0.3 * len(before))
    assert before[gone].abs().max() <= before[~gone].abs().min()
    assert torch.equal(before[~gone], after[~gone])
    assert sparsity_of(context.pruned.model) == pytest.approx(0.3, abs=1e-4)
    assert context.pruned.record.sparse


def test_a_threshold_zeroes_what_is_below_it(context: TinyContext):
    before = torch.cat([one.flatten().clone() for layer in weights(context) for one in layer])
    prune_magnitude(MagnitudeStep(method="magnitude", threshold=0.05), context.pruned, context)
    after = torch.cat([one.flatten() for layer in weights(context) for one in layer])
    assert torch.equal(after == 0, before.abs() < 0.05)


@pytest.mark.parametrize(("sparsity", "expected"), [(0.4, (0.4, 0.4)), ((0.2, 0.7), (0.2, 0.7))])
def test_by_layer_every_layer_has_its_own_sparsity(
    context: TinyContext, sparsity: float | tuple[float, float], expected: tuple[float, float]
):
    scale = layers_of(context.pruned.model)[0].attention_inputs[0].linear.weight
    with torch.no_grad():
        scale.mul_(100)  # one ranking of all would spare this layer
    scope = "layer" if isinstance(sparsity, float) else "global"  # a list is by layer of itself
    prune_magnitude(MagnitudeStep(method="magnitude", sparsity=sparsity, scope=scope), context.pruned, context)
    assert [zeros(layer) for layer in weights(context)] == pytest.approx(expected, abs=1e-4)


def test_a_list_of_the_wrong_length_is_refused(context: TinyContext):
    with pytest.raises(UsageError, match="sparsity should list a value for each of the model's 2 layers, got 3"):
        prune_magnitude(MagnitudeStep(method="magnitude", sparsity=(0.1, 0.2, 0.3)), context.pruned, context)


@pytest.mark.parametrize("criterion", ["gradient", "weight_gradient"])
def test_gradients_are_accumulated_over_the_batches_asked_for(context: TinyContext, criterion: str):
    step = GradientStep(method="gradient", criterion=criterion, sparsity=0.5, batches=4, batch_size=8)  # type: ignore[arg-type]
    model = load_any(context.folder)
    expected = [[torch.zeros_like(one) for one in layer] for layer in weights(context)]
    for start in range(0, 32, 8):
        batch = list(context.batches(48))[start // 8]
        loss = context.task.label_loss(context.run(model, batch), batch["targets"]) * 8
        for layer, parts in zip(expected, layers_of(model), strict=True):
            for total, linear in zip(layer, (part.linear for part in parts.projections), strict=True):
                (gradient,) = torch.autograd.grad(loss, [linear.weight], retain_graph=True)
                score = gradient * linear.weight if criterion == "weight_gradient" else gradient
                total.add_(score.detach().abs())
    context.asked.clear()
    prune_gradient(step, context.pruned, context)
    assert context.asked == [(32, 8)]
    scores = torch.cat([one.flatten() for layer in expected for one in layer])
    gone = torch.cat([one.flatten() for layer in weights(context) for one in layer]) == 0
    assert int(gone.sum()) == round(0.5 * len(scores))
    assert scores[gone].max() <= scores[~gone].min() * 1.001 + 1e-12


@pytest.mark.parametrize("criterion", ["gradient", "weight_gradient"])
def test_a_later_round_ends_at_its_own_sparsity(context: TinyContext, criterion: str):
    for sparsity in (0.25, 0.5):
        step = GradientStep(method="gradient", criterion=criterion, sparsity=sparsity, batches=2, batch_size=8)  # type: ignore[arg-type]
        prune_gradient(step, context.pruned, context)
        assert sparsity_of(context.pruned.model) == pytest.approx(sparsity, abs=1e-4)


def test_a_list_is_by_the_dense_models_layers(context: TinyContext):
    context.pruned.record = cut(context.pruned.model, context.pruned.record, context.pruned.record.layers[1:])
    prune_magnitude(MagnitudeStep(method="magnitude", sparsity=(0.2, 0.7)), context.pruned, context)
    assert [zeros(layer) for layer in weights(context)] == pytest.approx([0.7], abs=1e-4)


def test_two_of_every_four_neighbours_stay(context: TinyContext):
    before = [[one.clone() for one in layer] for layer in weights(context)]
    prune_n_m(NMStep(method="n_m"), context.pruned)
    for layer, old in zip(weights(context), before, strict=True):
        for after, whole in zip(layer, old, strict=True):
            groups, all_of_them = after.view(-1, 4), whole.view(-1, 4)
            assert ((groups != 0).sum(1) == 2).all()
            kept = torch.where(groups != 0, all_of_them.abs(), torch.inf).min(1).values
            lost = torch.where(groups == 0, all_of_them.abs(), 0.0).max(1).values
            assert (kept >= lost).all()


def test_n_of_m_needs_widths_that_m_divides(context: TinyContext):
    with pytest.raises(UsageError, match=r"has 32 inputs, which 5 doesn't divide"):
        prune_n_m(NMStep(method="n_m", n=2, m=5), context.pruned)


def test_zeros_are_the_zeros_that_compress_best(context: TinyContext):
    prune_magnitude(MagnitudeStep(method="magnitude", sparsity=0.5), context.pruned, context)
    zero = torch.cat([one.flatten() for layer in weights(context) for one in layer])
    assert not torch.signbit(zero[zero == 0]).any()


def empty(context: TinyContext, *positions: int) -> None:
    """Take all heads and neurons of these layers."""
    keep = tuple(
        layer.model_copy(update={"heads": (), "neurons": ()}) if position in positions else layer
        for position, layer in enumerate(context.pruned.record.layers)
    )
    context.pruned.record = cut(context.pruned.model, context.pruned.record, keep)


STEPS = [
    lambda context: prune_magnitude(
        MagnitudeStep(method="magnitude", sparsity=0.5, scope="layer"), context.pruned, context
    ),
    lambda context: prune_magnitude(MagnitudeStep(method="magnitude", sparsity=(0.5, 0.5)), context.pruned, context),
    lambda context: prune_gradient(
        GradientStep(method="gradient", sparsity=0.5, scope="layer", batches=2), context.pruned, context
    ),
    lambda context: prune_n_m(NMStep(method="n_m"), context.pruned),
]


@pytest.mark.parametrize("prune", STEPS)
def test_a_layer_without_units_is_passed_over(context: TinyContext, prune: Callable[[TinyContext], None]):
    empty(context, 0)
    prune(context)
    assert sparsity_of(context.pruned.model) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("prune", STEPS)
def test_a_model_without_units_is_refused(context: TinyContext, prune: Callable[[TinyContext], None]):
    empty(context, 0, 1)
    with pytest.raises(UsageError, match="no layer has heads or neurons left whose weights could be set to zero"):
        prune(context)
    assert sparsity_of(context.pruned.model) == 0

"""Every criterion against the definition, computed one example and one unit at a time in double precision."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from edgeprune.data.table import Table
from edgeprune.models.architectures import LayerParts, layers_of
from edgeprune.models.checkpoint import load_any
from edgeprune.models.text_reader import load_text_reader
from edgeprune.pruning.importance import Batch, Scores, activation, fisher, magnitude, taylor
from edgeprune.tasks.evaluation import to_batch
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import MODEL_TYPES, ModelFactory, synthetic_rows

HEAD_DIM = 8
EXAMPLES = 7


@pytest.fixture
def model(tiny_model_folder: ModelFactory) -> PreTrainedModel:
    return load_any(tiny_model_folder()).double()


def loss_of(model: PreTrainedModel) -> Callable[[Batch], torch.Tensor]:
    """The sum of the examples' cross entropies."""

    def loss(batch: Batch) -> torch.Tensor:
        inputs = {name: value for name, value in batch.items() if name != "targets"}
        return torch.nn.functional.cross_entropy(model(**inputs).logits, batch["targets"], reduction="sum")

    return loss


def run_on(model: PreTrainedModel, batch: Batch) -> object:
    return model(**{name: value for name, value in batch.items() if name != "targets"})


@pytest.fixture(scope="module")
def examples(tiny_model_folder: ModelFactory) -> list[Batch]:
    """Batches of one, of several lengths, unpadded."""
    return batches_of(tiny_model_folder, [[row] for row in range(EXAMPLES)])


def batches_of(tiny_model_folder: ModelFactory, groups: list[list[int]], model_type: str = "bert") -> list[Batch]:
    reader = load_text_reader(tiny_model_folder(model_type), 16)
    rows = synthetic_rows(EXAMPLES, seed=3)
    spec = TaskSpec(
        task="text-classification",
        problem_type="single_label_classification",
        labels=("neg", "pos"),
        max_length=16,
        inputs=reader.inputs,
    )
    table, task = Table([str(row["text"]) for row in rows], [str(row["label"]) for row in rows]), task_for(spec)
    found = task.encode(reader, table.texts, task.references(table, where="here"))
    return [to_batch([found[row] for row in group], reader) for group in groups]


def by_hand(model: PreTrainedModel, examples: list[Batch], reduce: Callable[[torch.Tensor], torch.Tensor]) -> Scores:
    """∂L/∂m of a unit is the inner product of the weights that read it with their gradient; one example at a time."""
    loss = loss_of(model)
    layers = layers_of(model)
    heads = [torch.zeros(4, dtype=torch.float64) for _ in layers]
    neurons = [torch.zeros(128, dtype=torch.float64) for _ in layers]
    for example in examples:
        model.zero_grad()
        loss(example).backward()
        for index, parts in enumerate(layers):
            output, ffn = parts.attention_output.linear.weight, parts.ffn_out.linear.weight
            heads[index] += reduce((output * output.grad).sum(0).view(4, HEAD_DIM).sum(1)).detach()
            neurons[index] += reduce((ffn * ffn.grad).sum(0)).detach()
    model.zero_grad()
    count = len(examples)
    return Scores([(value / count).numpy() for value in heads], [(value / count).numpy() for value in neurons])


def assert_equal(found: Scores, expected: Scores, rtol: float = 1e-5) -> None:
    for ours, theirs in [
        *zip(found.heads, expected.heads, strict=True),
        *zip(found.neurons, expected.neurons, strict=True),
    ]:
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-12)
        assert ours.max() > 0


@pytest.mark.parametrize(("criterion", "reduce"), [(taylor, torch.abs), (fisher, torch.square)])
def test_a_gradient_criterion_is_the_mean_over_examples(
    model: PreTrainedModel,
    examples: list[Batch],
    criterion: Callable[..., Scores],
    reduce: Callable[[torch.Tensor], torch.Tensor],
):
    assert_equal(criterion(model, HEAD_DIM, examples, loss_of(model)), by_hand(model, examples, reduce))


@pytest.mark.parametrize(("criterion", "reduce"), [(taylor, torch.abs), (fisher, torch.square)])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_batches_and_their_padding_change_nothing(
    tiny_model_folder: ModelFactory,
    model_type: str,
    criterion: Callable[..., Scores],
    reduce: Callable[[torch.Tensor], torch.Tensor],
):
    model = load_any(tiny_model_folder(model_type)).double()
    batches = batches_of(tiny_model_folder, [[0, 1, 2, 3], [4, 5], [6]], model_type)
    alone = batches_of(tiny_model_folder, [[row] for row in range(EXAMPLES)], model_type)
    assert len({batch["input_ids"].shape[1] for batch in alone}) > 1
    assert_equal(criterion(model, HEAD_DIM, batches, loss_of(model)), by_hand(model, alone, reduce))


@pytest.mark.parametrize("layer", [0, 1])
def test_taylor_is_the_slope_of_the_loss_as_a_unit_fades(model: PreTrainedModel, examples: list[Batch], layer: int):
    """Central differences, with the unit's outgoing weights scaled a little up and down."""
    found = taylor(model, HEAD_DIM, examples[:2], loss_of(model))
    parts = layers_of(model)[layer]
    step = 1e-4

    def slope(weight: torch.Tensor, columns: slice) -> float:
        total = 0.0
        for example in examples[:2]:
            losses = []
            for scale in (1 + step, 1 - step):
                weight[:, columns] *= scale
                losses.append(loss_of(model)(example).item())
                weight[:, columns] /= scale
            total += abs(losses[0] - losses[1]) / (2 * step)
        return total / 2

    with torch.no_grad():
        heads = [
            slope(parts.attention_output.linear.weight, slice(head * HEAD_DIM, (head + 1) * HEAD_DIM))
            for head in range(4)
        ]
        neurons = [slope(parts.ffn_out.linear.weight, slice(unit, unit + 1)) for unit in range(0, 128, 16)]
    np.testing.assert_allclose(found.heads[layer], heads, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(found.neurons[layer][::16], neurons, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_magnitude_is_the_norm_of_what_goes_with_a_unit(tiny_model_folder: ModelFactory, model_type: str):
    model = load_any(tiny_model_folder(model_type))
    found = magnitude(model, HEAD_DIM)
    for parts, heads, neurons in zip(layers_of(model), found.heads, found.neurons, strict=True):
        units = {"head": 4 * HEAD_DIM, "neuron": 128}

        def norm(unit: str, of: slice, parts: LayerParts = parts, units: dict[str, int] = units) -> float:
            gone = [
                one.linear.weight.view(one.blocks, units[unit], -1)[:, of].flatten()
                if one.side == "out"
                else one.linear.weight[:, of].flatten()
                for one in parts.projections
                if one.unit == unit
            ]
            return torch.cat(gone).norm().item()

        for head in range(4):
            assert heads[head] == pytest.approx(norm("head", slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)), rel=1e-5)
        for unit in range(128):
            assert neurons[unit] == pytest.approx(norm("neuron", slice(unit, unit + 1)), rel=1e-5)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_activation_is_the_size_of_what_the_weights_are_given(tiny_model_folder: ModelFactory, model_type: str):
    model = load_any(tiny_model_folder(model_type)).double()
    batches = batches_of(tiny_model_folder, [[0, 1, 2, 3], [4, 5], [6]], model_type)
    alone = batches_of(tiny_model_folder, [[row] for row in range(EXAMPLES)], model_type)
    found = activation(model, HEAD_DIM, batches, lambda batch: run_on(model, batch))
    given: dict[int, list[torch.Tensor]] = {}
    linears = [one.linear for parts in layers_of(model) for one in (parts.attention_output, parts.ffn_out)]
    handles = [
        linear.register_forward_pre_hook(lambda _, inputs, at=at: given.setdefault(at, []).append(inputs[0][0]))
        for at, linear in enumerate(linears)
    ]
    with torch.no_grad():
        for example in alone:
            run_on(model, example)
    for handle in handles:
        handle.remove()
    for at, linear in enumerate(linears):
        states = torch.cat(given[at])
        tokens = sum(example["input_ids"].numel() for example in alone)  # each in several turns, where layers are one
        of_weights = (linear.weight.square() * states.square().sum(0) / tokens).detach()
        expected = of_weights.sum(0).view(-1, HEAD_DIM if at % 2 == 0 else 1).sum(1).sqrt()
        scores = (found.neurons if at % 2 else found.heads)[at // 2]
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
        if at % 2:  # a neuron's is the size of what it adds
            added = states[:, :, None] * linear.weight.T[None]
            np.testing.assert_allclose(scores, (added.square().sum((0, 2)) / tokens).sqrt().detach(), rtol=1e-6)


@pytest.mark.parametrize("criterion", [taylor, fisher])
def test_a_unit_that_nothing_reads_has_no_importance(
    model: PreTrainedModel, examples: list[Batch], criterion: Callable[..., Scores]
):
    with torch.no_grad():
        layers_of(model)[0].attention_output.linear.weight[:, HEAD_DIM : 2 * HEAD_DIM] = 0
        layers_of(model)[1].ffn_out.linear.weight[:, 17] = 0
    found = criterion(model, HEAD_DIM, examples, loss_of(model))
    assert found.heads[0][1] == 0
    assert found.neurons[1][17] == 0
    assert np.count_nonzero(found.heads[0]) == 3


@pytest.mark.parametrize("criterion", [taylor, fisher])
def test_the_model_is_left_as_it_was(model: PreTrainedModel, examples: list[Batch], criterion: Callable[..., Scores]):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.base_model.embeddings.requires_grad_(requires_grad=False)
    wanted = {name: value.requires_grad for name, value in model.named_parameters()}
    with torch.no_grad():
        outputs = model(input_ids=examples[0]["input_ids"]).logits
    criterion(model, HEAD_DIM, examples, loss_of(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: value.requires_grad for name, value in model.named_parameters()} == wanted
    assert all(value.grad is None for value in model.parameters())
    with torch.no_grad():
        assert torch.equal(model(input_ids=examples[0]["input_ids"]).logits, outputs)


def test_the_model_is_left_as_it_was_when_the_loss_fails(model: PreTrainedModel, examples: list[Batch]):
    def failing(_batch: Batch) -> torch.Tensor:
        raise ValueError("no loss today")

    with pytest.raises(ValueError, match="no loss today"):
        fisher(model, HEAD_DIM, examples, failing)
    assert all(value.requires_grad for value in model.parameters())
    assert model(input_ids=examples[0]["input_ids"].repeat(3, 1)).logits.shape == (3, 2)  # no mask of one row is left

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from edgeprune.base.errors import UsageError
from edgeprune.models.record import PruningRecord
from edgeprune.profiles.steps import MasksStep, StructuredStep
from edgeprune.pruning.importance import write_scores
from edgeprune.pruning.structured import prune_masks, prune_structured
from edgeprune.pruning.surgery import cut
from tests.conftest import ModelFactory
from tests.support.pruning_context import TinyContext


@pytest.fixture
def context(tiny_model_folder: ModelFactory) -> TinyContext:
    return TinyContext(tiny_model_folder())


def sizes(record: PruningRecord) -> list[tuple[int, int]]:
    return [(len(layer.heads), len(layer.neurons)) for layer in record.layers]


@pytest.mark.parametrize(
    ("importance", "signal"),
    [
        *product(["taylor", "fisher"], ["labels", "divergence"]),
        *product(["random", "magnitude", "activation"], ["auto"]),
    ],
)
def test_half_of_everything_by_every_criterion(context: TinyContext, importance: str, signal: str):
    step = StructuredStep(
        method="structured",
        keep_heads=0.5,
        keep_ffn=0.5,
        importance=importance,
        signal=signal,
        align=8,  # type: ignore[arg-type]
    )
    prune_structured(step, 0, context.pruned, context)
    assert sizes(context.pruned.record) == [(2, 64), (2, 64)]
    assert np.isfinite(context.outputs()).all()
    (scores,) = context.pruned.scores.values()
    assert [len(heads) for heads in scores.heads] == [4, 4]


def test_random_is_seeded(tiny_model_folder: ModelFactory):
    step = StructuredStep(method="structured", keep_heads=0.5, keep_ffn=0.5, importance="random", align=8)
    found = []
    for seed in (0, 0, 1):
        context = TinyContext(tiny_model_folder(), seed=seed)
        prune_structured(step, 0, context.pruned, context)
        found.append(context.pruned.record)
    assert found[0] == found[1] != found[2]


def test_each_layer_may_have_its_own_fraction(context: TinyContext):
    step = StructuredStep(method="structured", keep_heads=(0.25, 1.0), keep_ffn=(0.5, 0.25), align=8)
    prune_structured(step, 0, context.pruned, context)
    assert sizes(context.pruned.record) == [(1, 64), (4, 32)]
    with pytest.raises(UsageError, match="keep_heads should list a value for each of the model's 2 layers, got 3"):
        prune_structured(StructuredStep(method="structured", keep_heads=(0.5, 0.5, 0.5)), 1, context.pruned, context)


def test_a_list_is_by_the_dense_models_layers(context: TinyContext):
    context.pruned.record = cut(context.pruned.model, context.pruned.record, context.pruned.record.layers[1:])
    step = StructuredStep(method="structured", keep_heads=(1.0, 0.25), keep_ffn=(1.0, 0.5), align=8)
    prune_structured(step, 0, context.pruned, context)
    assert sizes(context.pruned.record) == [(1, 64)]


def saved_scores(context: TinyContext, path: Path, digest: str) -> None:
    """Random numbers in a file, as Fisher scores."""
    step = StructuredStep(method="structured", keep_heads=1, keep_ffn=1, importance="random", align=8)
    prune_structured(step, 0, context.pruned, context)
    context.pruned.scores[0] = replace(context.pruned.scores[0], criterion="fisher")
    write_scores(context.pruned.scores, path, digest)


def test_saved_scores_are_used_instead_of_computing_them(context: TinyContext, tmp_path: Path):
    saved_scores(context, tmp_path / "scores.safetensors", context.checkpoint_digest)
    (expected,) = context.pruned.scores.values()
    context.asked.clear()
    step = StructuredStep(
        method="structured", keep_heads=0.5, keep_ffn=0.5, align=8, scores=tmp_path / "scores.safetensors"
    )
    prune_structured(step, 0, context.pruned, context)
    assert context.asked == []
    best = set(np.argsort(expected.heads[0])[2:].tolist())
    assert set(context.pruned.record.layers[0].heads) == best


def test_scores_of_something_else_are_refused(context: TinyContext, tmp_path: Path):
    path = tmp_path / "scores.safetensors"
    saved_scores(context, path, "e" * 64)
    step = StructuredStep(method="structured", keep_heads=0.5, scores=path)
    with pytest.raises(UsageError, match="holds the scores of another checkpoint"):
        prune_structured(step, 0, context.pruned, context)
    saved_scores(context, path, context.checkpoint_digest)
    with pytest.raises(UsageError, match="holds no scores for step 1"):
        prune_structured(step, 1, context.pruned, context)
    other = step.model_copy(update={"importance": "magnitude"})
    with pytest.raises(UsageError, match="holds fisher scores, but the step's importance is magnitude"):
        prune_structured(other, 0, context.pruned, context)
    path.write_bytes(b"no scores")
    with pytest.raises(UsageError, match="is not a readable file of scores"):
        prune_structured(step, 0, context.pruned, context)


@pytest.mark.parametrize("damage", ["a tensor is missing", "a tensor is short"])
def test_scores_that_are_not_whole_are_refused(context: TinyContext, tmp_path: Path, damage: str):
    path = tmp_path / "scores.safetensors"
    saved_scores(context, path, context.checkpoint_digest)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    whole = tensors.pop("0.1.heads")
    save_file(tensors if "missing" in damage else {**tensors, "0.1.heads": whole[1:]}, path, metadata=metadata)
    step = StructuredStep(method="structured", keep_heads=0.5, scores=path)
    with pytest.raises(UsageError, match="is not a readable file of scores"):
        prune_structured(step, 0, context.pruned, context)


def test_nothing_is_left_to_score_where_no_layer_has_units(context: TinyContext):
    keep = tuple(layer.model_copy(update={"heads": (), "neurons": ()}) for layer in context.pruned.record.layers)
    context.pruned.record = cut(context.pruned.model, context.pruned.record, keep)
    with pytest.raises(UsageError, match="no layer has heads or neurons left that could be pruned"):
        prune_structured(StructuredStep(method="structured", keep_heads=0.5), 0, context.pruned, context)


@pytest.mark.parametrize(("allow_empty", "expected"), [(False, [(1, 8), (3, 120)]), (True, [(0, 0), (4, 128)])])
def test_a_layer_loses_its_last_units_only_when_asked(
    context: TinyContext, tmp_path: Path, allow_empty: bool, expected: list[tuple[int, int]]
):
    path = tmp_path / "scores.safetensors"
    saved_scores(context, path, context.checkpoint_digest)
    (scores,) = context.pruned.scores.values()
    scores.heads[0][:], scores.neurons[0][:] = 0, 0  # the first layer does nothing
    write_scores(context.pruned.scores, path, context.checkpoint_digest)
    step = StructuredStep(
        method="structured", keep_heads=0.5, keep_ffn=0.5, allocation="global", allow_empty=allow_empty, align=8,
        scores=path,
    )  # fmt: skip
    prune_structured(step, 0, context.pruned, context)
    assert sizes(context.pruned.record) == expected
    assert np.isfinite(context.outputs()).all()


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "albert"])
@pytest.mark.parametrize("head_cost", [1.0, 3.0])
def test_by_multiply_adds_heads_and_neurons_cost_what_uniform_ones_would(
    tiny_model_folder: ModelFactory, model_type: str, head_cost: float
):
    context = TinyContext(tiny_model_folder(model_type))
    step = StructuredStep(
        method="structured", keep_heads=0.5, keep_ffn=0.5, allocation="multiply_adds", head_cost=head_cost, align=8
    )
    prune_structured(step, 0, context.pruned, context)
    found = sizes(context.pruned.record)
    inputs = 3 if model_type == "modernbert" else 2  # a gated FFN has two projections in, one out
    head, neuron = head_cost * 8 * (4 * 32 + 2 * 128), inputs * 32
    budget = len(found) * (2 * head + 64 * neuron)
    cost = sum(heads * head + neurons * neuron for heads, neurons in found)
    assert budget - max(head, 8 * neuron) < cost <= budget
    assert all(heads >= 1 and neurons >= 8 for heads, neurons in found)
    assert np.isfinite(context.outputs()).all()


def test_heads_that_cost_more_are_kept_less_often(tiny_model_folder: ModelFactory, tmp_path: Path):
    heads = []
    for head_cost in (0.01, 1.0):
        context = TinyContext(tiny_model_folder())
        path = tmp_path / f"{head_cost}.safetensors"
        saved_scores(context, path, context.checkpoint_digest)
        step = StructuredStep(
            method="structured", keep_heads=0.5, keep_ffn=0.5, allocation="multiply_adds", head_cost=head_cost, align=8,
            scores=path,
        )  # fmt: skip
        prune_structured(step, 0, context.pruned, context)
        heads.append(sum(count for count, _ in sizes(context.pruned.record)))
    assert heads[1] < heads[0]


@pytest.mark.parametrize("kind", ["yaml", "safetensors"])
def test_masks_keep_exactly_what_they_name(context: TinyContext, tmp_path: Path, kind: str):
    heads = np.array([[1, 0, 0, 1], [0, 0, 0, 0]])
    neurons = np.zeros((2, 128), np.int64)
    neurons[0, [3, 100]] = neurons[1, 7] = 1
    path = tmp_path / f"masks.{kind}"
    if kind == "yaml":
        path.write_text(yaml.safe_dump({"head_mask": heads.tolist(), "ffn_mask": neurons.tolist()}), encoding="utf-8")
    else:
        save_file({"head_mask": heads, "ffn_mask": neurons}, path)
    prune_masks(MasksStep(method="masks", file=path), context.pruned, context)
    first, second = context.pruned.record.layers
    assert (first.heads, first.neurons) == ((0, 3), (3, 100))
    assert (second.heads, second.neurons) == ((), (7,))
    assert np.isfinite(context.outputs()).all()


def test_masks_are_of_the_dense_model_whatever_is_gone_already(context: TinyContext, tmp_path: Path):
    step = StructuredStep(method="structured", keep_heads=0.5, keep_ffn=1, importance="random", align=8)
    prune_structured(step, 0, context.pruned, context)
    before = context.pruned.record.layers
    gone = next(unit for unit in range(4) if unit not in before[0].heads)
    mask = [[int(unit in (gone, before[0].heads[0])) for unit in range(4)], [1, 1, 1, 1]]
    path = tmp_path / "masks.yaml"
    path.write_text(yaml.safe_dump({"head_mask": mask}), encoding="utf-8")
    for _ in range(2):
        prune_masks(MasksStep(method="masks", file=path), context.pruned, context)
        assert [layer.heads for layer in context.pruned.record.layers] == [before[0].heads[:1], before[1].heads]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "but holds nothing"),
        ("{head_masks: [[1]]}", "but holds head_masks"),
        ("{head_mask: [[1, 1, 1, 1]]}", "a row for each of the 2 layers"),
        ("{head_mask: [[1, 1, 1, 1], [1, 1, 1]]}", "row 1: expected 4 values of 0 or 1"),
        ("{head_mask: [[1, 1, 1, 1], [1, 1, 1, 2]]}", "row 1: expected values of 0 or 1"),
        ("{head_mask: [[1, 1, 1, 1], [1, [0], 1, 1]]}", "row 1: expected values of 0 or 1"),
        ("{head_mask: [[[1], [1], [1], [1]], [[1], [1], [0], [0]]]}", "row 0: expected values of 0 or 1"),
        ("{head_mask: [[1, 1, 1, 1], [1, 1, 1, yes please]]}", "row 1: expected values of 0 or 1"),
        ("{1: [[1]]}", "but holds 1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(context: TinyContext, tmp_path: Path, content: str, message: str):
    path = tmp_path / "masks.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        prune_masks(MasksStep(method="masks", file=path), context.pruned, context)
    broken = tmp_path / "masks.safetensors"
    save_file({"head_mask": np.ones((2, 4, 1, 1), np.int64)}, broken)
    with pytest.raises(UsageError, match="head_mask, row 0: expected values of 0 or 1"):
        prune_masks(MasksStep(method="masks", file=broken), context.pruned, context)
    broken.write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a readable safetensors file"):
        prune_masks(MasksStep(method="masks", file=broken), context.pruned, context)

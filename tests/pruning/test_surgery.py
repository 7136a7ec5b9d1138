from copy import deepcopy

import pytest
import torch
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedModel

from edgeprune.models.architectures import architecture_of, layers_of
from edgeprune.models.checkpoint import count_parameters, load_any, load_tokenizer
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.pruning.surgery import cut
from tests.conftest import MODEL_TYPES, ModelFactory

KEEP = (
    LayerRecord(index=0, heads=(0, 2), neurons=tuple(range(3, 128, 5))),
    LayerRecord(index=1, heads=(3,), neurons=(0, 64, 127)),
)
EMPTY = (
    LayerRecord(index=0, heads=(), neurons=(5, 6)),
    LayerRecord(index=1, heads=(1,), neurons=()),
)
TEXTS = ["the film was good .", "a very dull story with an awful ending and a weak plot ."]


def kept_of(model: PreTrainedModel, keep: tuple[LayerRecord, ...]) -> tuple[LayerRecord, ...]:
    """As many of them as the model has layers."""
    return keep[: len(layers_of(model))]


def silence(model: PreTrainedModel, keep: tuple[LayerRecord, ...]) -> None:
    """Zero the outgoing weights of every unit that isn't kept."""
    with torch.no_grad():
        for parts, kept in zip(layers_of(model), keep, strict=True):
            for head in set(range(4)) - set(kept.heads):
                parts.attention_output.linear.weight[:, head * 8 : head * 8 + 8] = 0
            parts.ffn_out.linear.weight[:, [unit for unit in range(128) if unit not in kept.neurons]] = 0


@pytest.mark.parametrize("keep", [KEEP, EMPTY], ids=["some", "none of a kind"])
@pytest.mark.parametrize("head", ["ForSequenceClassification", "Model"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_cutting_units_out_is_silencing_them(
    tiny_model_folder: ModelFactory, model_type: str, head: str, keep: tuple[LayerRecord, ...]
):
    folder = tiny_model_folder(model_type, head)
    inputs = load_tokenizer(folder)(TEXTS, padding=True, return_tensors="pt")
    silenced, pruned = load_any(folder), load_any(folder)
    keep = kept_of(pruned, keep)
    silence(silenced, keep)
    record = cut(pruned, PruningRecord.dense(pruned, "d" * 64), keep)
    with torch.inference_mode():
        before = load_any(folder)(**inputs)[0]
        expected = silenced(**inputs)[0]
        found = pruned(**inputs)[0]
    assert not torch.allclose(before, expected, atol=1e-2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert record == PruningRecord(base_digest="d" * 64, head_dim=8, layers=keep)


@pytest.mark.parametrize("keep", [KEEP, EMPTY], ids=["some", "none of a kind"])
def test_a_deberta_with_projections_of_positions_loses_their_heads_too(keep: tuple[LayerRecord, ...]):
    config = DebertaV2Config(
        vocab_size=40, hidden_size=32, num_attention_heads=4, intermediate_size=128, num_hidden_layers=2,
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4, initializer_range=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    silenced = DebertaV2Model(config).eval()
    pruned = deepcopy(silenced)
    silence(silenced, keep)
    cut(pruned, PruningRecord.dense(pruned, ""), keep)
    text = torch.arange(1, 25).reshape(2, 12)
    with torch.inference_mode():
        torch.testing.assert_close(pruned(text)[0], silenced(text)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("model_type", [name for name in MODEL_TYPES if name != "albert"])  # its layers are one
def test_a_dropped_layer_is_not_computed(tiny_model_folder: ModelFactory, model_type: str, index: int):
    folder = tiny_model_folder(model_type)
    inputs = load_tokenizer(folder)(TEXTS, padding=True, return_tensors="pt")
    skipping, pruned = load_any(folder), load_any(folder)
    layers = skipping.base_model.get_submodule(architecture_of(skipping.config).layers)
    del layers[index]
    record = PruningRecord.dense(pruned, "d" * 64)
    left = cut(pruned, record, tuple(layer for layer in record.layers if layer.index != index))
    with torch.inference_mode():
        torch.testing.assert_close(pruned(**inputs).logits, skipping(**inputs).logits, atol=0, rtol=0)
    assert [layer.index for layer in left.layers] == [1 - index]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_is_cut_is_gone(tiny_model_folder: ModelFactory, model_type: str):
    model = load_any(tiny_model_folder(model_type))
    before, expected = count_parameters(model), 0
    keep = kept_of(model, KEEP)
    for parts, kept in zip(layers_of(model), keep, strict=True):
        gone = {"head": 8 * (4 - len(kept.heads)), "neuron": 128 - len(kept.neurons)}
        for projection in parts.projections:
            bias = projection.side == "out" and projection.linear.bias is not None
            expected += projection.blocks * gone[projection.unit] * (32 + bias)
    cut(model, PruningRecord.dense(model, ""), keep)
    assert before - count_parameters(model) == expected
    for parts, kept in zip(layers_of(model), keep, strict=True):
        units = {"head": 8 * len(kept.heads), "neuron": len(kept.neurons)}
        for projection in parts.projections:
            linear, width = projection.linear, projection.blocks * units[projection.unit]
            sizes = (32, width) if projection.side == "out" else (width, 32)
            assert (linear.in_features, linear.out_features) == sizes


def test_keeping_everything_changes_nothing(tiny_model_folder: ModelFactory):
    model, untouched = load_any(tiny_model_folder()), load_any(tiny_model_folder())
    record = PruningRecord.dense(model, "")
    assert cut(model, record, record.layers) == record
    for name, value in untouched.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_two_cuts_are_one_cut_to_what_both_kept(tiny_model_folder: ModelFactory, model_type: str):
    once, twice = load_any(tiny_model_folder(model_type)), load_any(tiny_model_folder(model_type))
    last = (LayerRecord(index=0, heads=(2,), neurons=(8, 13)), LayerRecord(index=1, heads=(3,), neurons=(64,)))
    last = kept_of(once, last)
    record = cut(twice, PruningRecord.dense(twice, ""), kept_of(once, KEEP))
    assert cut(twice, record, last) == cut(once, PruningRecord.dense(once, ""), last)
    for name, value in once.state_dict().items():
        assert torch.equal(twice.state_dict()[name], value)
    inputs = load_tokenizer(tiny_model_folder(model_type))(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(once(**inputs).logits, twice(**inputs).logits)


def test_a_unit_that_is_gone_cannot_be_kept(tiny_model_folder: ModelFactory):
    model = load_any(tiny_model_folder())
    record = cut(model, PruningRecord.dense(model, ""), KEEP)
    with pytest.raises(KeyError):
        cut(model, record, (LayerRecord(index=0, heads=(1,), neurons=(3,)), KEEP[1]))


def test_a_pruned_model_can_be_trained(tiny_model_folder: ModelFactory):
    folder = tiny_model_folder()
    model = load_any(folder)
    cut(model, PruningRecord.dense(model, ""), KEEP)
    inputs = load_tokenizer(folder)(TEXTS, padding=True, return_tensors="pt")
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    assert all(value.grad is not None for value in model.parameters())

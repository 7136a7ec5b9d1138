from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoConfig,
    BertConfig,
    DebertaV2Config,
    DebertaV2Model,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    ViTConfig,
    ViTModel,
)

from edgeprune.base.errors import ModelError
from edgeprune.models.architectures import (
    ARCHITECTURES,
    architecture_of,
    head_dim_of,
    image_tokens,
    layers_of,
    longest_text,
    unit_multiply_adds,
)
from edgeprune.models.checkpoint import load_any, load_tokenizer
from tests.conftest import IMAGE_MODEL_TYPES, MODEL_TYPES, ModelFactory


def test_every_family_of_the_table_is_tested():
    assert {*MODEL_TYPES, *IMAGE_MODEL_TYPES} == set(ARCHITECTURES)


def inputs_of(folder: Path, model_type: str) -> dict[str, torch.Tensor]:
    """One text, or one image."""
    if model_type in IMAGE_MODEL_TYPES:
        return {"pixel_values": torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))}
    return dict(load_tokenizer(folder)(["the film was good ."], return_tensors="pt"))


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        *((model_type, f"For{one}") for model_type in MODEL_TYPES for one in ("SequenceClassification", "MaskedLM")),
        *((model_type, "ForImageClassification") for model_type in IMAGE_MODEL_TYPES),
        *((model_type, "Model") for model_type in (*MODEL_TYPES, *IMAGE_MODEL_TYPES)),
    ],
)
def test_the_table_finds_every_projection(tiny_model_folder: ModelFactory, model_type: str, head: str):
    model = load_any(tiny_model_folder(model_type, head))
    layers = layers_of(model)
    assert len(layers) == (1 if model_type == "albert" else 2)
    for parts in layers:
        shapes = {"head": 32, "neuron": 128}
        for projection in parts.projections:
            units, weight = shapes[projection.unit], projection.linear.weight
            assert weight.shape == ((projection.blocks * units, 32) if projection.side == "out" else (32, units))
        assert sum(projection.blocks for projection in parts.attention_inputs) == 3
        assert [projection.side for projection in (parts.attention_output, parts.ffn_out)] == ["in", "in"]
        linears = {id(module) for module in parts.attention_residual.modules() if isinstance(module, nn.Linear)}
        assert {id(projection.linear) for projection in parts.projections} == linears
    assert head_dim_of(model.config) == 8


def test_deberta_has_projections_of_positions_unless_it_shares_the_texts():
    config = DebertaV2Config(
        vocab_size=40, hidden_size=16, num_attention_heads=2, intermediate_size=32, num_hidden_layers=1,
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4,
    )  # fmt: skip
    (parts,) = layers_of(DebertaV2Model(config))
    assert [one.path.rpartition("_proj")[0].rpartition(".")[2] for one in parts.attention_inputs] == [
        "query", "key", "value", "pos_key", "pos_query",
    ]  # fmt: skip


def test_albert_with_several_groups_is_refused():
    with pytest.raises(ModelError, match="this one has 2 groups of 1"):
        architecture_of(AlbertConfig(num_hidden_groups=2))


@pytest.mark.parametrize("model_type", [name for name in (*MODEL_TYPES, *IMAGE_MODEL_TYPES) if name != "modernbert"])
def test_each_projection_is_what_the_table_calls_it(tiny_model_folder: ModelFactory, model_type: str):
    """The keys' bias is the one of the three that attention doesn't see, unless positions have keys too.

    ModernBERT has queries, keys and values in one projection without a bias.
    """
    folder = tiny_model_folder(model_type, "Model")
    model = load_any(folder)
    inputs = inputs_of(folder, model_type)
    parts = layers_of(model)[0]
    query, key, value = (one.linear for one in parts.attention_inputs)
    linears = {
        "query": query, "key": key, "value": value, "attention_output": parts.attention_output.linear,
        "ffn_in": parts.ffn_inputs[0].linear, "ffn_out": parts.ffn_out.linear,
    }  # fmt: skip
    changed = {}
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
        for name, linear in linears.items():
            saved = linear.bias.clone()
            linear.bias += torch.linspace(-1, 1, len(saved))
            changed[name] = not torch.allclose(model(**inputs).last_hidden_state, before, atol=1e-5)
            linear.bias.copy_(saved)
    assert changed == {name: name != "key" or model_type == "deberta-v2" for name in changed}


@pytest.mark.parametrize("model_type", [*MODEL_TYPES, *IMAGE_MODEL_TYPES])
def test_the_residuals_are_what_the_outputs_are_added_to(tiny_model_folder: ModelFactory, model_type: str):
    """Silenced, a sublayer gives what the table calls its residual, normalised if the family does so after the sum."""
    folder = tiny_model_folder(model_type, "Model")
    model = load_any(folder)
    inputs = inputs_of(folder, model_type)
    parts = layers_of(model)[-1]
    layer = parts.attention_residual
    seen: dict[str, torch.Tensor] = {}
    layer.register_forward_pre_hook(lambda _module, given: seen.update(attention=given[0]))
    parts.ffn_residual.register_forward_pre_hook(lambda _module, given: seen.update(ffn=given[0]))
    layer.register_forward_hook(
        lambda _module, _given, found: seen.update(out=found[0] if isinstance(found, tuple) else found)
    )
    norms = [module for module in layer.modules() if isinstance(module, nn.LayerNorm)]
    with torch.no_grad():
        for output in (parts.attention_output.linear, parts.ffn_out.linear):
            output.weight.zero_()
            if output.bias is not None:
                output.bias.zero_()
        model(**inputs)
        for residual, after in ((seen["attention"], seen["ffn"]), (seen["ffn"], seen["out"])):
            assert any(torch.allclose(after, one, atol=1e-6) for one in (residual, *(norm(residual) for norm in norms)))


@pytest.mark.parametrize("share_att_key", [True, False])
def test_what_is_computed_of_positions_alone_costs_nothing(share_att_key: bool):
    config = DebertaV2Config(
        vocab_size=40, hidden_size=16, num_attention_heads=2, intermediate_size=32, num_hidden_layers=1,
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4, share_att_key=share_att_key,
    )  # fmt: skip
    (parts,) = layers_of(DebertaV2Model(config))
    # Queries, keys, values and output of 8 x 16 weights; scores and mixing over 10 tokens and 2 x 4 positions.
    assert unit_multiply_adds(config, parts, 8, 10) == (10 * 8 * (4 * 16 + 2 * (10 + 8)), 10 * 2 * 16)


@pytest.mark.parametrize("model_type", [*MODEL_TYPES, *IMAGE_MODEL_TYPES])
def test_the_embeddings_are_where_the_table_says(tiny_model_folder: ModelFactory, model_type: str):
    model = load_any(tiny_model_folder(model_type, "Model"))
    embeddings = model.base_model.get_submodule(architecture_of(model.config).embeddings)
    assert any(module is model.get_input_embeddings() for module in embeddings.modules())


@pytest.mark.parametrize("model_type", [*MODEL_TYPES, *IMAGE_MODEL_TYPES])
def test_the_pooler_is_where_the_table_says(tiny_model_folder: ModelFactory, model_type: str):
    model = load_any(tiny_model_folder(model_type, "Model"))
    poolers = {name for name, module in model.named_children() if "pooler" in name and list(module.parameters())}
    assert poolers == {architecture_of(model.config).pooler} - {None}


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_longest_text_fits_and_no_longer_one(tiny_model_folder: ModelFactory, model_type: str):
    folder = tiny_model_folder(model_type)
    model = load_any(folder)
    longest = longest_text(model.config)
    text = torch.full((1, longest), 7)
    with torch.no_grad():
        assert model(input_ids=text, attention_mask=torch.ones_like(text)).logits.isfinite().all()
        longer = torch.full((1, longest + 1), 7)
        if model_type in ("deberta-v2", "modernbert"):  # positions without a table
            return
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=longer, attention_mask=torch.ones_like(longer))


@pytest.mark.parametrize(
    ("image_size", "patch_size", "tokens"),
    [(224, 16, 197), (30, 16, 2), ([32, 48], [16, 8], 13), ((384, 384), 32, 145)],
)
def test_an_image_has_a_token_a_whole_patch_and_one_more(image_size: object, patch_size: object, tokens: int):
    config = ViTConfig(
        image_size=image_size, patch_size=patch_size, hidden_size=8, num_attention_heads=2, num_hidden_layers=0,
        intermediate_size=8,
    )  # fmt: skip
    model = ViTModel(config)
    assert image_tokens(config) == tokens == model.embeddings.position_embeddings.shape[1]
    assert longest_text(config) is None
    assert image_tokens(BertConfig()) is None


@pytest.mark.parametrize("pad_token_id", [0, 5])
def test_the_positions_that_roberta_reserves_follow_its_padding(pad_token_id: int):
    config = RobertaConfig(
        vocab_size=40, max_position_embeddings=20, pad_token_id=pad_token_id, num_hidden_layers=0, hidden_size=12
    )
    model = RobertaModel(config).eval()
    text = torch.full((1, longest_text(config)), 7)
    with torch.no_grad():
        assert model(input_ids=text).last_hidden_state.isfinite().all()
    assert longest_text(config) == 19 - pad_token_id


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GPT2Config(), "this is a 'gpt2' model"),
        (T5Config(), "this is a 't5' model"),
        (BertConfig(is_decoder=True), "this is a 'bert' decoder"),
    ],
)
def test_what_is_no_known_encoder_is_refused_with_those_that_are(config: BertConfig, message: str):
    with pytest.raises(ModelError) as caught:
        architecture_of(config)
    assert (
        str(caught.value) == f"edgeprune prunes the encoders {', '.join((*MODEL_TYPES, *IMAGE_MODEL_TYPES))}; {message}"
    )


def test_a_saved_decoder_is_refused_before_its_weights_are_read(tmp_path: Path):
    config = GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=10, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert AutoConfig.from_pretrained(tmp_path).model_type == "gpt2"
    with pytest.raises(ModelError, match="this is a 'gpt2' model"):
        load_any(tmp_path)

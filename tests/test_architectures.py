from pathlib import Path

import pytest
import torch
from conftest import MODEL_TYPES, ModelFactory
from transformers import AutoConfig, BertConfig, GPT2Config, GPT2LMHeadModel, RobertaConfig, RobertaModel, T5Config

from edgeprune.errors import ModelError
from edgeprune.models.architectures import ARCHITECTURES, architecture_of, head_dim_of, layers_of, longest_text
from edgeprune.models.checkpoint import load_any, load_tokenizer


def test_every_family_of_the_table_is_tested():
    assert set(MODEL_TYPES) == set(ARCHITECTURES)


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForMaskedLM", "Model"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_table_finds_every_projection(tiny_model_folder: ModelFactory, model_type: str, head: str):
    model = load_any(tiny_model_folder(model_type, head))
    layers = layers_of(model)
    assert len(layers) == 2
    for parts in layers:
        for linear in (parts.query, parts.key, parts.value, parts.attention_output):
            assert linear.weight.shape == (32, 32)
        assert parts.ffn_in.weight.shape == (128, 32)
        assert parts.ffn_out.weight.shape == (32, 128)
        assert len({id(linear) for linear in vars(parts).values()}) == 6
    assert head_dim_of(model.config) == 8


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_projection_is_what_the_table_calls_it(tiny_model_folder: ModelFactory, model_type: str):
    """The keys' bias is the one of the three that attention doesn't see."""
    folder = tiny_model_folder(model_type, "Model")
    model = load_any(folder)
    inputs = load_tokenizer(folder)(["the film was good ."], return_tensors="pt")
    changed = {}
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
        for name in ("query", "key", "value", "attention_output", "ffn_in", "ffn_out"):
            bias = getattr(layers_of(model)[0], name).bias
            saved = bias.clone()
            bias += torch.linspace(-1, 1, len(bias))
            changed[name] = not torch.allclose(model(**inputs).last_hidden_state, before, atol=1e-5)
            bias.copy_(saved)
    assert changed == {name: name != "key" for name in changed}


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_embeddings_are_where_the_table_says(tiny_model_folder: ModelFactory, model_type: str):
    model = load_any(tiny_model_folder(model_type))
    embeddings = model.base_model.get_submodule(architecture_of(model.config).embeddings)
    assert any(module is model.get_input_embeddings() for module in embeddings.modules())


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_pooler_is_where_the_table_says(tiny_model_folder: ModelFactory, model_type: str):
    model = load_any(tiny_model_folder(model_type, "Model"))
    poolers = {name for name, _ in model.named_children() if "pooler" in name}
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
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=longer, attention_mask=torch.ones_like(longer))


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
    assert str(caught.value) == f"edgeprune prunes the encoders {', '.join(MODEL_TYPES)}; {message}"


def test_a_saved_decoder_is_refused_before_its_weights_are_read(tmp_path: Path):
    config = GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=10, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert AutoConfig.from_pretrained(tmp_path).model_type == "gpt2"
    with pytest.raises(ModelError, match="this is a 'gpt2' model"):
        load_any(tmp_path)

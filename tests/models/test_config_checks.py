"""What is said of a config.json before a model class sees it, through the commands that read one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import ModelError
from edgeprune.models.checkpoint import load_any, load_config
from edgeprune.models.config_checks import config_fault
from edgeprune.models.config_file import read_config
from edgeprune.models.sizes import inspect_model
from edgeprune.store.store import Store
from tests.conftest import IMAGE_MODEL_TYPES, MODEL_TYPES, ModelFactory

BILLION = 1_000_000_000


@pytest.fixture
def edited(tiny_model_folder: ModelFactory, tmp_path: Path) -> Any:
    """`edited(changes, model_type="bert")` → a classifier's folder with these changes to its config.json; ... removes."""

    def edit(changes: dict[str, Any], model_type: str = "bert") -> Path:
        head = "ForImageClassification" if model_type in IMAGE_MODEL_TYPES else "ForSequenceClassification"
        folder = Path(shutil.copytree(tiny_model_folder(model_type, head), tmp_path / "edited"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
        config = {key: value for key, value in config.items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return edit


@pytest.mark.parametrize(
    "head", ["ForSequenceClassification", "ForTokenClassification", "ForMaskedLM", "ForQuestionAnswering", "Model"]
)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_transformers_saved_is_without_fault(tiny_model_folder: ModelFactory, model_type: str, head: str) -> None:
    assert read_config(tiny_model_folder(model_type, head))["model_type"] == model_type


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": BILLION}, "num_hidden_layers should be a whole number from 1 to 10000000, not 1000000000"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, but the weights have 2 layers"),
        ({"num_hidden_layers": "x"}, "num_hidden_layers should be a whole number"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers should be a whole number .* not 2.5"),
        ({"num_hidden_layers": 0}, "num_hidden_layers should be a whole number from 1"),
        ({"num_hidden_layers": True}, "num_hidden_layers should be a whole number"),
        ({"num_attention_heads": 0}, "num_attention_heads should be a whole number from 1"),
        ({"num_attention_heads": 5}, "5 heads don't divide a hidden size of 32"),
        ({"hidden_size": 64}, "hidden_size is 64, but bert.encoder.layer.0.attention.self.query.weight in the weights has 32"),
        ({"vocab_size": BILLION}, "vocab_size should be a whole number"),
        ({"vocab_size": 1000}, "vocab_size is 1000, but bert.embeddings.word_embeddings.weight in the weights has"),
        ({"intermediate_size": 9}, "intermediate_size is 9, but .* has 128"),
        ({"max_position_embeddings": 512}, "max_position_embeddings is 512, but .* has 66"),
        ({"type_vocab_size": 0}, "type_vocab_size is 0, but .* has 2"),
        ({"pad_token_id": 35}, "pad_token_id should be the number of a token below the vocab_size of 35, not 35"),
        ({"pad_token_id": -1}, "pad_token_id should be the number of a token"),
        ({"num_labels": BILLION}, "num_labels should be a whole number from 1 to 1000000"),
        ({"num_labels": 3}, "it names 3 labels .* but the classifier in the weights has 2 outputs"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "it names 3 labels .* has 2 outputs"),
        ({"id2label": ["a", "b"]}, "id2label should give each output a name"),
        ({"id2label": {"a": "b"}}, "id2label should give each output a name"),
        ({"id2label": {"0": None, "1": "b"}}, "id2label should give each output a name, but that of 0 is None"),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "num_labels is 3, but id2label names 2 labels"),
        ({"problem_type": "ranking"}, "problem_type should be one of single_label_classification"),
        ({"hidden_act": "nonsense"}, "hidden_act is 'nonsense', which is no activation"),
        ({"hidden_dropout_prob": 7}, "dropout probability has to be between 0 and 1"),
        ({"architectures": [None]}, "architectures should be a list of class names"),
        ({"architectures": {}}, "architectures should be a list of class names"),
        ({"architectures": "BertModel"}, "architectures should be a list of class names"),
        ({"architectures": ["Trainer"]}, "names the architecture 'Trainer', which is no model class"),
        ({"architectures": ["pipeline"]}, "names the architecture 'pipeline', which is no model class"),
        ({"architectures": ["BertPreTrainedModel"]}, "transformers can't make the model"),
        ({"architectures": None}, "names the architecture 'none'"),
        ({"model_type": []}, "model_type should be a name"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"is quantized \(quantization_config: gptq\).*made from"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "is quantized .*compressed-tensors"),
        ({"auto_map": {"AutoModel": "code.Mine"}}, r"auto_map: AutoModel is code.Mine\), which edgeprune never runs"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads names heads"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"add_cross_attention": True}, "this is a 'bert' decoder"),
    ],
)  # fmt: skip
def test_a_config_that_is_wrong_is_said_to_be(
    edited: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = edited(changes)
    with pytest.raises(ModelError, match=message):
        load_any(folder)
    with pytest.raises(ModelError, match=message):
        inspect_model(str(folder), tokens=None, store=Store(tmp_path / "store"))


def test_layers_are_counted_by_their_numbers() -> None:
    shapes = {f"bert.encoder.layer.{number}.output.dense.weight": (8, 8) for number in range(3)}
    fault = config_fault({"model_type": "bert", "num_hidden_layers": 2}, shapes)
    assert str(fault).startswith("num_hidden_layers is 2, but the weights have 3 layers")


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("distilbert", {"n_layers": 3}, "n_layers is 3, but the weights have 2 layers"),
        ("distilbert", {"dim": 64}, "dim is 64, but .*q_lin.weight in the weights has 32"),
        ("distilbert", {"n_heads": 0}, "n_heads should be a whole number"),
        ("distilbert", {"activation": "nonsense"}, "activation is 'nonsense', which is no activation"),
        ("albert", {"num_hidden_layers": 5000}, "through the one layer more than 1000 times"),
        ("albert", {"embedding_size": 99}, "embedding_size is 99, but .* has 16"),
        ("modernbert", {"intermediate_size": 100}, "intermediate_size is 100, but .*mlp.Wo.weight in the weights has 128"),
        ("mpnet", {"hidden_size": 64}, "hidden_size is 64, but .*attn.q.weight"),
        ("roberta", {"pad_token_id": None}, "counts its positions from the padding token's id"),
        ("vit", {"image_size": "x"}, "image_size should be a whole number of pixels"),
        ("vit", {"patch_size": [4, 4, 4]}, "patch_size should be a whole number of pixels"),
        ("vit", {"image_size": 32}, r"position_embeddings has shape \(1, 17, 32\) in the weights, but \(1, 65, 32\)"),
        ("vit", {"num_channels": 1}, "num_channels is 1, but .* has 3"),
    ],
)  # fmt: skip
def test_every_familys_own_names_are_read(edited: Any, model_type: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_any(edited(changes, model_type))


@pytest.mark.parametrize(
    "changes",
    [
        {"_attn_implementation": "flash_attention_2"},
        {"attn_implementation": "flash_attention_2"},
        {"return_dict": False},
        {"torchscript": True},
        {"output_attentions": True},
        {"output_hidden_states": True},
        {"chunk_size_feed_forward": 2},
        {"auto_map": {"AutoTokenizer": ["code.Mine", None]}},
        {"position_embedding_type": "absolute"},
        {"pad_token_id": None},
    ],
)
def test_how_the_machine_that_trained_ran_the_model_is_no_obstacle(edited: Any, changes: dict[str, Any]) -> None:
    import torch

    answers = load_any(edited(changes))(torch.tensor([[1, 2, 3]]))
    assert list(answers) == ["logits"]


def test_an_argument_still_chooses_the_attention(edited: Any) -> None:
    folder = edited({"_attn_implementation": "flash_attention_2"})
    assert load_config(folder)._attn_implementation is None
    assert load_any(folder, attn_implementation="eager").config._attn_implementation == "eager"


def test_a_pruned_models_shapes_are_not_compared() -> None:
    config = {"model_type": "bert", "num_hidden_layers": 12, "vocab_size": 30522}
    assert config_fault(config, {}) is None
    assert config_fault(config, {"embeddings.word_embeddings.weight": (7, 32)}) is not None


def test_a_config_nested_without_end_is_refused(edited: Any) -> None:
    folder = edited({})
    (folder / "config.json").write_text('{"model_type": ' + "[" * 100_000, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config.json can't be read as JSON"):
        read_config(folder)

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import edgeprune
from edgeprune.base.errors import ModelError, SchemaVersionError
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import (
    count_parameters,
    empty_model,
    load_any,
    load_checkpoint,
    load_config,
    load_tokenizer,
    save_checkpoint,
)
from edgeprune.models.dense import load_dense
from edgeprune.models.record import LayerRecord, PruningRecord, read_pruning
from edgeprune.models.text_reader import load_text_reader
from edgeprune.pruning.surgery import cut
from tests.conftest import MODEL_TYPES, ModelFactory

KEEP = (
    LayerRecord(index=0, heads=(1, 3), neurons=tuple(range(0, 128, 2))),
    LayerRecord(index=1, heads=(0,), neurons=(5, 7, 100, 127)),
)
TEXTS = ["the film was good .", "a very dull story with an awful ending and a weak plot ."]
AUTO = {
    "ForSequenceClassification": AutoModelForSequenceClassification,
    "ForMaskedLM": AutoModelForMaskedLM,
    "Model": AutoModel,
}


def outputs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(TEXTS, padding=True, return_tensors="pt"))[0]


@pytest.fixture
def pruned(tiny_model_folder: ModelFactory, tmp_path: Path) -> Callable[..., tuple[Path, PreTrainedModel]]:
    """`pruned(model_type, head)` → a pruned checkpoint's folder, and the model that was saved there."""

    def make(model_type: str = "bert", head: str = "ForSequenceClassification") -> tuple[Path, PreTrainedModel]:
        dense = tiny_model_folder(model_type, head)
        model = load_any(dense)
        record = cut(model, PruningRecord.dense(model, "d" * 64), KEEP[: len(layers_of(model))])
        save_checkpoint(model, tmp_path / "pruned", record=record, reader=load_text_reader(dense, 64))
        return tmp_path / "pruned", model

    return make


@pytest.mark.parametrize("head", AUTO)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_pruned_model_is_loaded_as_it_was_saved(
    pruned: Callable[..., tuple[Path, PreTrainedModel]], model_type: str, head: str
):
    folder, saved = pruned(model_type, head)
    tokenizer = load_tokenizer(folder)
    expected = outputs(saved, tokenizer)
    for loaded in (load_checkpoint(folder, AUTO[head]), load_any(folder), edgeprune.load(folder)):
        assert type(loaded) is type(saved)
        assert not loaded.training
        assert torch.equal(outputs(loaded, tokenizer), expected)
        assert count_parameters(loaded) == count_parameters(saved)
        assert {name: value.shape for name, value in loaded.state_dict().items()} == {
            name: value.shape for name, value in saved.state_dict().items()
        }


@pytest.mark.parametrize("head", AUTO)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_dense_model_is_loaded_as_transformers_loads_it(tiny_model_folder: ModelFactory, model_type: str, head: str):
    folder = tiny_model_folder(model_type, head)
    tokenizer = load_tokenizer(folder)
    expected = outputs(AUTO[head].from_pretrained(folder).eval(), tokenizer)
    assert torch.equal(outputs(load_checkpoint(folder, AUTO[head]), tokenizer), expected)
    assert torch.equal(outputs(load_any(folder), tokenizer), expected)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_pruned_model_can_be_saved_and_pruned_again(
    pruned: Callable[..., tuple[Path, PreTrainedModel]], tmp_path: Path, model_type: str
):
    folder, _ = pruned(model_type)
    model, record = load_any(folder), read_pruning(folder)
    assert record is not None
    layers = len(layers_of(model))
    assert record.layers == KEEP[:layers]
    less = (LayerRecord(index=0, heads=(3,), neurons=(0, 2)), LayerRecord(index=1, heads=(0,), neurons=(127,)))[:layers]
    save_checkpoint(model, tmp_path / "again", record=cut(model, record, less), reader=load_text_reader(folder, 64))
    again = read_pruning(tmp_path / "again")
    assert again == PruningRecord(base_digest="d" * 64, head_dim=8, layers=less)
    tokenizer = load_tokenizer(folder)
    assert torch.equal(outputs(load_any(tmp_path / "again"), tokenizer), outputs(model, tokenizer))


def test_tied_weights_are_one_tensor_again(pruned: Callable[..., tuple[Path, PreTrainedModel]]):
    folder, saved = pruned("bert", "ForMaskedLM")
    loaded = load_any(folder)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert count_parameters(loaded) == count_parameters(saved)
    assert "cls.predictions.decoder.weight" not in load_file(folder / "model.safetensors")


def test_a_pruned_checkpoint_is_small_and_holds_no_pickle(pruned: Callable[..., tuple[Path, PreTrainedModel]]):
    folder, _ = pruned()
    tensors = load_file(folder / "model.safetensors")
    assert tensors["bert.encoder.layer.0.attention.self.query.weight"].shape == (16, 32)
    assert tensors["bert.encoder.layer.1.output.dense.weight"].shape == (32, 4)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "pruning.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_empty_model_has_the_shapes_and_no_weights(
    pruned: Callable[..., tuple[Path, PreTrainedModel]], model_type: str
):
    folder, saved = pruned(model_type)
    empty = empty_model(load_config(folder), read_pruning(folder))
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert {name: value.shape for name, value in empty.named_parameters()} == {
        name: value.shape for name, value in saved.named_parameters()
    }


@pytest.mark.parametrize("is_pruned", [True, False])
def test_half_precision_weights_are_loaded_in_single_precision(
    pruned: Callable[..., tuple[Path, PreTrainedModel]],
    tiny_model_folder: ModelFactory,
    tmp_path: Path,
    is_pruned: bool,
):
    folder = pruned()[0] if is_pruned else shutil.copytree(tiny_model_folder(), tmp_path / "dense")
    path = folder / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("float32", "float16"))
    assert {value.dtype for value in load_any(folder).parameters()} == {torch.float32}


def edit_record(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "pruning.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda record: record["layers"][0]["heads"].pop(),
            r"layer\.0\.attention.* has shape .*16.*, but pruning\.json says",
        ),
        (
            lambda record: record["layers"][1]["neurons"].append(9),
            r"layer\.1\..* has shape .*4.*, but pruning\.json says .*5",
        ),
        (lambda record: record.update(head_dim=4), "the files don't belong together"),
        (lambda record: record["layers"].pop(), r"pruning\.json"),
        (
            lambda record: record["layers"].append({"index": 2, "heads": [0], "neurons": [0]}),
            r"keeps the layers \[0, 1, 2\], but config\.json has 2",
        ),
        (lambda record: record.pop("head_dim"), "not a valid pruning record"),
        (lambda record: record.update(more=1), "not a valid pruning record"),
    ],
)
def test_a_record_that_does_not_fit_the_weights_is_refused(
    pruned: Callable[..., tuple[Path, PreTrainedModel]], edit: Callable[[dict[str, Any]], None], message: str
):
    folder, _ = pruned()
    edit_record(folder, edit)
    with pytest.raises(ModelError, match=message):
        load_any(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000])
def test_a_record_that_cannot_be_read_is_refused(pruned: Callable[..., tuple[Path, PreTrainedModel]], content: str):
    folder, _ = pruned()
    (folder / "pruning.json").write_text(content)
    with pytest.raises(ModelError, match=r"pruning\.json is not a valid pruning record"):
        load_any(folder)


def test_a_record_of_a_newer_edgeprune_is_refused(pruned: Callable[..., tuple[Path, PreTrainedModel]]):
    folder, _ = pruned()
    edit_record(folder, lambda record: record.update(schema_version=2))
    with pytest.raises(SchemaVersionError, match="has schema_version 2, but this edgeprune reads 1"):
        load_any(folder)


BIAS = "bert.encoder.layer.1.output.dense.bias"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop(BIAS), f"lacks the weights {BIAS}"),
        (lambda tensors: tensors.pop("classifier.weight"), r"lacks the weights classifier\.weight"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "the tensor extra belongs to no part of"),
        (
            lambda tensors: tensors.update({BIAS: torch.zeros(31)}),
            rf"{BIAS} has shape \(31,\), but pruning.json says \(32,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_the_record_are_refused(
    pruned: Callable[..., tuple[Path, PreTrainedModel]],
    edit: Callable[[dict[str, torch.Tensor]], None],
    message: str,
):
    folder, _ = pruned()
    edit_tensors(folder, edit)
    with pytest.raises(ModelError, match=message):
        load_any(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda tensors: tensors.pop(BIAS),
            "lacks 1 of the encoder's weights, encoder.layer.1.output.dense.bias|lacks 1",
        ),
        (lambda tensors: tensors.pop("classifier.weight"), r"lacks the weights classifier\.weight"),
        (
            lambda tensors: tensors.update({BIAS: torch.zeros(31)}),
            rf"{BIAS} has shape \(31,\) in the weights, but \(32,\) by config\.json",
        ),
    ],
)
def test_a_dense_model_that_is_not_whole_is_refused(
    tiny_model_folder: ModelFactory,
    tmp_path: Path,
    edit: Callable[[dict[str, torch.Tensor]], None],
    message: str,
):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    edit_tensors(folder, edit)
    with pytest.raises(ModelError, match=message):
        load_any(folder)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_head_that_the_checkpoint_lacks_is_named(tiny_model_folder: ModelFactory, model_type: str):
    folder = tiny_model_folder(model_type, "ForMaskedLM")
    dense = load_dense(folder, AutoModelForSequenceClassification, load_config(folder))
    missing = dense.missing
    assert missing
    assert dense.unused
    prefix = f"{dense.model.base_model_prefix}."
    assert all("classifier" in name or "pooler" in name for name in missing)
    assert not any(name.startswith(prefix) and "pooler" not in name for name in missing)


@pytest.mark.parametrize("is_pruned", [True, False])
@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_weights_that_are_cut_short_are_refused(
    pruned: Callable[..., tuple[Path, PreTrainedModel]],
    tiny_model_folder: ModelFactory,
    tmp_path: Path,
    is_pruned: bool,
    length: int,
):
    folder = pruned()[0] if is_pruned else shutil.copytree(tiny_model_folder(), tmp_path / "dense")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cut short"):
        load_any(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_never_opened(tiny_model_folder: ModelFactory, tmp_path: Path, name: str):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / name)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"has pickled weights only \({name}\)"):
        load_any(folder)


def test_a_folder_without_weights_or_config_is_refused(tiny_model_folder: ModelFactory, tmp_path: Path):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        load_any(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_any(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't be read as JSON"),
        ('{"hidden_size": 32}', "names no model_type"),
        ('{"model_type": "bert", "layer_norm_eps": NaN}', "a number is NaN"),
        ('{"model_type": "no-such-type"}', "can't be used"),
        ('{"model_type": "gpt2"}', "this is a 'gpt2' model"),
        ('{"model_type": "bert", "architectures": ["NoSuchModel"]}', "names the architecture 'NoSuchModel'"),
        ('{"model_type": "bert"}', "names the architecture 'none'"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(
    tiny_model_folder: ModelFactory, tmp_path: Path, content: str, message: str
):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        load_any(folder)


def test_a_config_in_a_folder_cannot_run_code(tiny_model_folder: ModelFactory, tmp_path: Path):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError):
        load_any(folder)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_neither_pads_nor_cuts_unless_asked(tiny_model_folder: ModelFactory, tmp_path: Path):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    expected = tokenizer(TEXTS)["input_ids"]
    tokenizer.backend_tokenizer.enable_padding(length=40)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    again = load_tokenizer(folder)
    assert [again.backend_tokenizer.encode(text).ids for text in TEXTS] == expected
    assert again(TEXTS)["input_ids"] == expected
    assert [len(ids) for ids in expected] == [7, 15]


@pytest.mark.parametrize("lost", [["tokenizer.json"], ["tokenizer.json", "tokenizer_config.json"]])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_folder_without_a_tokenizer_is_refused(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str, lost: list[str]
):
    folder = shutil.copytree(tiny_model_folder(model_type), tmp_path / "model")
    for name in lost:
        (folder / name).unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_tokenizer(folder)


def test_a_slow_tokenizer_is_refused(tiny_model_folder: ModelFactory, tmp_path: Path):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(ModelError, match=r"has a slow tokenizer only \(CanineTokenizer\)"):
        load_tokenizer(folder)


def test_a_damaged_tokenizer_is_refused(tiny_model_folder: ModelFactory, tmp_path: Path):
    folder = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ModelError, match="has no tokenizer that loads"):
        load_tokenizer(folder)


def test_weights_without_a_place_are_told(tiny_model_folder: ModelFactory, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_model_folder("bert", "ForSequenceClassification"), tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "head.scale": torch.ones(1)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.warns(
        UserWarning, match=r"1 of the weights in .* are not used, for a BertForSequenceClassification .*head\.scale"
    ):
        edgeprune.load(folder)

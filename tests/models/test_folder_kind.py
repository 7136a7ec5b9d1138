import shutil
from pathlib import Path

import pytest

from edgeprune.base.errors import ModelError
from edgeprune.models.folder_kind import other_weights, require_checkpoint
from edgeprune.models.reference import resolve_model
from tests.conftest import ModelFactory


@pytest.fixture
def model(tiny_model_folder: ModelFactory, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder(), tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "adapter_config.json",
            '{"base_model_name_or_path": "org/base"}',
            r"holds a PEFT adapter \(adapter_config.json\) beside a model.*merge the adapter .*from_pretrained\(org/base, ",
        ),
        ("adapter_config.json", "{", r"PEFT adapter .*from_pretrained\(base model, "),
        ("adapter_model.safetensors", "", r"holds a PEFT adapter \(adapter_model.safetensors\)"),
        ("config_setfit.json", "{}", r"is a SetFit model \(config_setfit.json\).*say with --task"),
        ("model_head.pkl", "", r"is a SetFit model \(model_head.pkl\)"),
        ("edgeprune.json", "{}", "is a package of edgeprune's.*give the checkpoint that it was made from"),
        (
            "model.safetensors",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "model.safetensors is a pointer of Git LFS, not the file itself; fetch the files with git lfs pull",
        ),
        ("config.json", "version https://git-lfs.github.com/spec/v1\n", "config.json is a pointer of Git LFS"),
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n", "tokenizer.json is a pointer of Git LFS"),
    ],
)
def test_a_folder_of_another_kind_is_named_when_it_is_found(model: Path, name: str, content: str, message: str) -> None:
    require_checkpoint(model)
    (model / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        resolve_model(str(model))


def test_an_adapter_without_a_model_is_an_adapter_too(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match=r"holds a PEFT adapter \(adapter_config.json\), which would not be read"):
        require_checkpoint(tmp_path)


def test_the_folder_inside_that_holds_the_model_is_named(model: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config.json, but .*/model does; give that folder"):
        require_checkpoint(model.parent)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pytorch_model.bin", "training_args.bin"], "pickled weights only (pytorch_model.bin), which can run code"),
        (["model.gguf"], "GGUF weights only (model.gguf)"),
        (["onnx/model.onnx", "README.md"], "an ONNX graph only (onnx/model.onnx)"),
        (["tf_model.h5"], "TensorFlow weights only (tf_model.h5)"),
        (["model.ckpt.index", "model.ckpt.data-00000-of-00001"], "TensorFlow weights only (model.ckpt.data"),
        (["flax_model.msgpack"], "Flax weights only (flax_model.msgpack)"),
        (["openvino_model.xml"], "an OpenVINO graph only"),
    ],
)
def test_weights_in_another_format_are_named(names: list[str], message: str) -> None:
    found = other_weights(names, "BertForMaskedLM")
    assert found is not None
    assert found.startswith(message)
    assert "BertForMaskedLM" in found


@pytest.mark.parametrize(
    "names", [[], ["README.md"], ["training_args.bin", "optimizer.pt", "rng_state.pth"], ["a/b.bin"]]
)
def test_other_files_are_no_weights(names: list[str]) -> None:
    assert other_weights(names) is None


@pytest.mark.parametrize(("name", "kind"), [("model.gguf", "GGUF weights"), ("flax_model.msgpack", "Flax weights")])
def test_a_folder_without_safetensors_says_what_it_has(model: Path, name: str, kind: str) -> None:
    (model / "model.safetensors").rename(model / name)
    with pytest.raises(ModelError, match=rf"has {kind} only \({name}\).*BertForSequenceClassification"):
        resolve_model(str(model))
    (model / "config.json").unlink()
    with pytest.raises(ModelError, match=rf"holds no config.json; .* \(this one has {kind} only"):
        resolve_model(str(model))

"""Checkpoints as people have them: sharded, in half precision, with added tokens, of sentence-transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoModel, AutoModelForSequenceClassification

from edgeprune.models.checkpoint import load_checkpoint, load_tokenizer
from edgeprune.ondevice.run import Model
from tests.conftest import ModelFactory
from tests.support.e2e import call, target_text, write_data

TEXTS = ["a very good film with a superb plot .", "the story was dull .", "a <brand> film"]
PIPELINE = {
    "schema_version": 1, "name": "few", "description": "Half of the heads",
    "stages": {
        "prepare": {"max_length": 16},
        "prune": {"steps": [{"method": "structured", "keep_heads": 0.5, "align": 8}]},
        "finetune": {"epochs": 1, "batch_size": 16},
    },
}  # fmt: skip


def build(model: Path, place: Path, task: str, pipeline: dict[str, Any], precision: str = "fp32") -> Path:
    """Package a model for no machine in particular; returns the package's folder."""
    (place / "pipeline.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    target = target_text("here", runner=None, precision={"mode": precision})
    (place / "here.yaml").write_text(target, encoding="utf-8")
    data = write_data(place / "data.jsonl", rows=60)
    done = call(
        "build", model, "--task", task, "--data", data, "--pipeline", place / "pipeline.yaml", "--offline", "--json",
        "--target", place / "here.yaml", "--store", place / "store", "--output", place / "dist", "--name", "odd", "--no-report",
    )  # fmt: skip
    assert done.code == 0, done.err
    return place / "dist" / "odd-0-here"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shards_in_half_precision_with_added_tokens(
    tiny_model_folder: ModelFactory, tmp_path: Path, dtype: torch.dtype
) -> None:
    folder = tmp_path / "model"
    source = tiny_model_folder("bert", "Model")
    model, tokenizer = AutoModel.from_pretrained(source), load_tokenizer(source)
    tokenizer.add_tokens(["<brand>"])
    model.resize_token_embeddings(len(tokenizer))
    model.to(dtype).save_pretrained(folder, max_shard_size="10KB")
    tokenizer.save_pretrained(folder)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    whole = load_checkpoint(folder, AutoModel)
    assert {value.dtype for value in whole.parameters()} == {torch.float32}
    package = build(folder, tmp_path, "text-classification", PIPELINE, precision="int8-dynamic")
    assert call("verify", package).code == 0
    ran = Model(package)
    assert "<brand>" in ran.inputs.tokenizer.encode(TEXTS[2]).tokens
    assert np.shape(ran.outputs(TEXTS)) == (3, 2)


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False)])
def test_a_package_embeds_as_sentence_transformers_does(
    tiny_model_folder: ModelFactory, tmp_path: Path, pooling: str, normalize: bool
) -> None:
    encoder = Transformer(str(tiny_model_folder("mpnet", "Model")), max_seq_length=16)
    parts = [encoder, Pooling(32, pooling_mode=pooling), *([Normalize()] if normalize else [])]
    folder = tmp_path / "model"
    SentenceTransformer(modules=parts, device="cpu").save(str(folder))
    nothing = {**PIPELINE, "stages": {"prepare": {"max_length": 16}, "prune": {"steps": [{"method": "structured"}]}}}
    package = build(folder, tmp_path, "feature-extraction", nothing)
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(Model(package).outputs(TEXTS), expected, atol=1e-5)


def test_a_checkpoint_that_transformers_4_saved(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    """Its config has keys that are gone, its weights the names of the first BERT."""
    source = tiny_model_folder("bert")
    folder = shutil.copytree(source, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"transformers_version": "4.41.2", "torch_dtype": "float32", "position_embedding_type": "absolute"}
    config |= {"use_cache": True, "gradient_checkpointing": False, "pruned_heads": {}}
    config.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    assert old.keys() != tensors.keys()
    save_file(old | {"bert.embeddings.position_ids": torch.arange(66)[None]}, folder / "model.safetensors")
    tokenizer = load_tokenizer(folder)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = load_checkpoint(source, AutoModelForSequenceClassification)(**inputs).logits
        found = load_checkpoint(folder, AutoModelForSequenceClassification)(**inputs).logits
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_weights_whose_file_names_no_format(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    """ml-explore/mlx#743, hiyouga/LlamaFactory#6803."""
    source = tiny_model_folder("bert", "ForSequenceClassification")
    folder = Path(shutil.copytree(source, tmp_path / "model"))
    save_file(load_file(source / "model.safetensors"), folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() is None
    found, expected = (
        load_checkpoint(one, AutoModelForSequenceClassification).state_dict() for one in (folder, source)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)

"""Every family's residual stream, narrowed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model, ElectraConfig, ElectraForMaskedLM, PreTrainedModel

from edgeprune.base.errors import ModelError
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import count_parameters, load_any, load_checkpoint, save_checkpoint
from edgeprune.models.image_reader import load_image_reader
from edgeprune.models.reader import Reader
from edgeprune.models.record import LayerRecord, PruningRecord, dense_hidden, read_pruning, write_pruning
from edgeprune.models.text_reader import load_text_reader
from edgeprune.models.width import head_readers, hidden_size_of, keep_hidden, stream_axes
from edgeprune.pruning.surgery import cut
from tests.conftest import CELLS, IMAGE_MODEL_TYPES, ModelFactory

HEADS = {
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "fill-mask": "ForMaskedLM",
    "feature-extraction": "Model",
    "image-classification": "ForImageClassification",
    "image-feature-extraction": "Model",
}
KEPT = (0, 1, 2, 3, 5, 8, 13, 14, 15, 21, 30, 31)


def inputs_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if model.config.model_type in IMAGE_MODEL_TYPES:
        return {"pixel_values": torch.rand(2, 3, 16, 16, generator=generator)}
    ids = torch.randint(5, 20, (2, 7), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def outputs_of(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model.eval()(**inputs_of(model), return_dict=True)[0])


def reader_of(folder: Path, model: PreTrainedModel) -> Reader:
    return load_image_reader(folder) if model.config.model_type in IMAGE_MODEL_TYPES else load_text_reader(folder, 32)


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_a_narrowed_model_is_saved_and_loaded(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str, task: str
) -> None:
    """All of the stream is narrow, what is not the stream isn't, and tied weights are tied."""
    folder = tiny_model_folder(model_type, HEADS[task])
    model = load_any(folder)
    dense = {name: tuple(value.shape) for name, value in model.named_parameters()}
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - dense.keys()
    keep_hidden(model, KEPT)
    assert hidden_size_of(model) == len(KEPT)
    for parts in layers_of(model):
        assert {one.linear.in_features for one in (*parts.attention_inputs, *parts.ffn_inputs)} == {len(KEPT)}
        assert (parts.attention_output.linear.in_features, parts.ffn_out.linear.in_features) == (32, 128)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape), name
        if isinstance(module, nn.Embedding):
            assert (module.num_embeddings, module.embedding_dim) == tuple(module.weight.shape), name
        if isinstance(module, nn.LayerNorm):
            assert module.normalized_shape == tuple(module.weight.shape), name
    assert {name for name, _ in model.named_parameters(remove_duplicate=False)} - {
        name for name, _ in model.named_parameters()
    } == tied
    before = outputs_of(model)
    record = PruningRecord.dense(load_any(folder), "d" * 64).model_copy(update={"hidden": KEPT})
    save_checkpoint(model, tmp_path, record=record, reader=reader_of(folder, model))
    again = load_any(tmp_path)
    assert read_pruning(tmp_path) == record
    assert count_parameters(again) == count_parameters(model)
    np.testing.assert_allclose(outputs_of(again), before, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "deberta-v2", "modernbert", "vit"])
def test_dimensions_in_which_nothing_happens_lose_nothing(tiny_model_folder: ModelFactory, model_type: str) -> None:
    """Without norms, which see how many dimensions there are."""
    head = "ForImageClassification" if model_type in IMAGE_MODEL_TYPES else "ForSequenceClassification"
    model = load_any(tiny_model_folder(model_type, head))
    gone = torch.tensor([dimension for dimension in range(32) if dimension not in KEPT])
    for name in [name for name, one in model.named_modules() if isinstance(one, nn.LayerNorm)]:
        model.set_submodule(name, nn.Identity())
    with torch.no_grad():
        for name, axes in stream_axes(model).items():
            for axis in axes:
                model.get_parameter(name).index_fill_(axis, gone, 0.0)
    before = outputs_of(model)
    assert before.std() > 0.01
    keep_hidden(model, KEPT)
    np.testing.assert_allclose(outputs_of(model), before, rtol=1e-4, atol=1e-5)


def test_a_dimension_is_cut_from_what_the_record_names_once_more(tiny_model_folder: ModelFactory) -> None:
    """Twice in a row is the same as once, and so is a model whose heads, neurons and layers were cut before."""
    folder = tiny_model_folder()
    keep = (LayerRecord(index=1, heads=(0, 3), neurons=tuple(range(40))),)
    once, twice = load_any(folder), load_any(folder)
    keep_hidden(once, KEPT[::2])
    cut(once, PruningRecord.dense(once, ""), keep)
    cut(twice, PruningRecord.dense(twice, ""), keep)
    keep_hidden(twice, KEPT)
    keep_hidden(twice, range(0, len(KEPT), 2))
    np.testing.assert_allclose(outputs_of(twice), outputs_of(once), atol=1e-6)


def test_readers_behind_the_encoder(tiny_model_folder: ModelFactory) -> None:
    """A decoder is the token embedding, and a projection of the embeddings writes to the stream."""

    def readers(model_type: str, head: str) -> list[str]:
        model = load_any(tiny_model_folder(model_type, head))
        found = head_readers(model)
        return [name for one in found for name, module in model.named_modules() if module is one]

    assert readers("bert", "ForSequenceClassification") == ["bert.pooler.dense", "classifier"]
    assert readers("bert", "ForMaskedLM") == ["cls.predictions.transform.dense"]
    assert readers("roberta", "ForSequenceClassification") == ["classifier.dense", "classifier.out_proj"]
    assert readers("albert", "ForMaskedLM") == ["predictions.dense"]
    assert readers("electra", "ForTokenClassification") == ["classifier"]
    assert readers("deberta-v2", "ForSequenceClassification") == ["pooler.dense", "classifier"]
    assert readers("modernbert", "Model") == []
    assert readers("vit", "ForImageClassification") == ["classifier"]


def test_an_embedding_of_its_own_size_keeps_it(tiny_model_folder: ModelFactory) -> None:
    for model_type, projection in (
        ("albert", "encoder.embedding_hidden_mapping_in"),
        ("electra", "embeddings_project"),
    ):
        model = load_any(tiny_model_folder(model_type, "Model"))
        keep_hidden(model, KEPT)
        assert tuple(model.get_input_embeddings().weight.shape)[1] == 16
        assert tuple(model.get_submodule(projection).weight.shape) == (len(KEPT), 16)


def test_an_embedding_that_is_the_stream_is_narrowed_with_it() -> None:
    """Most ELECTRA models project their embedding; where both sizes are the same, there is no projection."""
    sizes = {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    model = ElectraForMaskedLM(ElectraConfig(embedding_size=32, **sizes))
    keep_hidden(model, KEPT)
    assert tuple(model.get_input_embeddings().weight.shape) == (40, len(KEPT))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert outputs_of(model).shape == (2, 7, 40)


def test_a_convolution_of_the_stream() -> None:
    """DeBERTa-v2's largest models have one."""
    sizes = {
        "vocab_size": 40,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
    }
    model = DebertaV2Model(DebertaV2Config(conv_kernel_size=3, **sizes))
    keep_hidden(model, KEPT)
    assert outputs_of(model).shape == (2, 7, len(KEPT))
    grouped = DebertaV2Model(DebertaV2Config(conv_kernel_size=3, conv_groups=2, **sizes))
    with pytest.raises(
        ModelError, match=r"encoder\.conv\.conv is a convolution .* in 2 groups, so that the hidden size can't"
    ):
        keep_hidden(grouped, KEPT)


@pytest.mark.parametrize("hidden", [(), (0, 32), (3, 2), (1, 1), (-1, 0)])
def test_a_record_of_other_dimensions_is_refused(
    tiny_model_folder: ModelFactory, tmp_path: Path, hidden: tuple[int, ...]
) -> None:
    folder = tiny_model_folder()
    model = load_any(folder)
    record = PruningRecord.dense(model, "d" * 64)
    save_checkpoint(model, tmp_path, record=record, reader=reader_of(folder, model))
    assert "hidden" not in (tmp_path / "pruning.json").read_text(encoding="utf-8")
    write_pruning(record.model_copy(update={"hidden": hidden}), tmp_path)
    with pytest.raises(ModelError, match=r"keeps \d dimensions .* that aren't among the 32 of config.json"):
        load_checkpoint(tmp_path, type(model))


def test_dimensions_of_a_record_in_a_dense_model_that_was_narrowed_itself() -> None:
    dense = PruningRecord(base_digest="", head_dim=8, layers=(), hidden=(1, 4, 7, 9))
    less = dense.model_copy(update={"hidden": (4, 9)})
    whole = dense.model_copy(update={"hidden": None})
    found = dense_hidden(less, dense)
    assert found is not None
    assert found.tolist() == [1, 3]
    assert dense_hidden(dense, dense) is dense_hidden(whole, whole) is dense_hidden(None, None) is None
    alone = dense_hidden(less, None)
    assert alone is not None
    assert alone.tolist() == [4, 9]

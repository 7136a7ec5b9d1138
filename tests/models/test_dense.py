import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from edgeprune.base.errors import ModelError
from edgeprune.models.checkpoint import load_any, load_config
from edgeprune.models.dense import class_named, load_dense, some_of
from tests.conftest import MODEL_TYPES, ModelFactory

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def edited(tiny_model_folder: ModelFactory, tmp_path: Path) -> Callable[..., Path]:
    """`edited(edit, model_type, head)` → a copy of a tiny model whose tensors `edit` changed."""

    def make(
        edit: Callable[[Tensors], object], model_type: str = "bert", head: str = "ForSequenceClassification"
    ) -> Path:
        folder = Path(shutil.copytree(tiny_model_folder(model_type, head), tmp_path / "edited"))
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


@pytest.mark.parametrize("head", ["ForSequenceClassification", "Model"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_weights_of_the_encoder_that_its_class_does_not_take_are_refused(
    edited: Callable[..., Path], model_type: str, head: str
) -> None:
    def more(tensors: Tensors) -> None:
        name = next(name for name in sorted(tensors) if "layer" in name and name.endswith("weight"))
        tensors[name.replace(".weight", ".extra.weight")] = torch.zeros(3)

    with pytest.raises(ModelError, match=r"has 1 weights in its encoder that transformers' .*Model has no place for"):
        load_any(edited(more, model_type, head))


def test_an_encoder_under_another_name_is_named(edited: Callable[..., Path]) -> None:
    def rename(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[f"backbone.{name}"] = tensors.pop(name)

    with pytest.raises(
        ModelError, match=r"lacks .* of the encoder's weights, .* \(it has backbone\.bert\..* instead\)"
    ):
        load_any(edited(rename))


def test_another_tasks_head_is_told(tiny_model_folder: ModelFactory) -> None:
    folder = tiny_model_folder("bert", "ForMaskedLM")
    dense = load_dense(folder, AutoModelForSequenceClassification, load_config(folder))
    assert "cls.predictions.transform.dense.weight" in dense.unused
    assert "classifier.weight" in dense.missing
    whole = load_dense(folder, AutoModelForMaskedLM, load_config(folder))
    assert (whole.missing, whole.unused, whole.renewed) == (frozenset(), (), ())


@pytest.mark.parametrize(
    ("model_type", "head", "auto_class"),
    [
        ("bert", "ForTokenClassification", AutoModelForSequenceClassification),
        ("modernbert", "ForSequenceClassification", AutoModelForQuestionAnswering),
        ("deberta-v2", "ForSequenceClassification", AutoModelForTokenClassification),
    ],
)
def test_answers_of_another_task_are_made_anew(
    tiny_model_folder: ModelFactory, model_type: str, head: str, auto_class: type
) -> None:
    folder = tiny_model_folder(model_type, head)
    taken = load_dense(folder, auto_class, load_config(folder))
    dense = load_dense(folder, auto_class, load_config(folder), renew_answers=True)
    assert dense.renewed == ("classifier.bias", "classifier.weight")
    assert dense.missing == taken.missing | set(dense.renewed)
    assert not torch.equal(dense.model.classifier.weight, taken.model.classifier.weight)
    assert not dense.model.classifier.bias.any()
    kept = taken.model.base_model.get_input_embeddings().weight
    assert torch.equal(dense.model.base_model.get_input_embeddings().weight, kept)


def test_answers_of_another_size_are_made_anew_only_for_another_task(tiny_model_folder: ModelFactory) -> None:
    folder = tiny_model_folder("bert", "ForTokenClassification", labels=5)
    config = load_config(folder)
    config.num_labels = 2
    with pytest.raises(ModelError, match=r"classifier.bias has shape \(5,\) in the weights, but \(2,\) by config.json"):
        load_dense(folder, AutoModelForSequenceClassification, config)
    dense = load_dense(folder, AutoModelForSequenceClassification, config, renew_answers=True)
    assert dense.model.classifier.weight.shape == (2, 32)
    assert {"classifier.weight", "classifier.bias"} <= dense.missing


def test_a_bare_encoder_has_nothing_to_renew(tiny_model_folder: ModelFactory) -> None:
    folder = tiny_model_folder("bert", "Model")
    dense = load_dense(folder, AutoModelForSequenceClassification, load_config(folder), renew_answers=True)
    assert dense.renewed == ()
    assert dense.missing == {"classifier.weight", "classifier.bias"}
    assert load_dense(folder, AutoModel, load_config(folder)).missing == frozenset()


def test_only_model_classes_are_classes() -> None:
    assert class_named("BertModel") is not None
    assert [class_named(name) for name in ("", "Trainer", "pipeline", "BertConfig", "NoSuchModel")] == [None] * 5


def test_three_names_are_shown() -> None:
    assert some_of(("b", "a")) == "a, b"
    assert some_of(("d", "c", "b", "a", "e")) == "a, b, c and 2 more"

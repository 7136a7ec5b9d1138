import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from transformers import AutoModel

from edgeprune.data.table import Table
from edgeprune.models.checkpoint import load_any, load_config, load_dense, load_tokenizer
from edgeprune.tasks.embedding import Embedder
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.tasks import extractor

seeds = st.integers(0, 10_000)


@given(seeds)
def test_closeness_to_the_dense_embeddings_is_scikit_learns_cosine(seed: int):
    generator = np.random.default_rng(seed)
    outputs, references = generator.normal(size=(2, 10, 8))
    task = extractor(pooling="mean")
    assert task.metric_name == "cosine_to_dense"
    expected = np.diag(cosine_similarity(outputs, references)).mean()
    assert task.metric(outputs, references) == pytest.approx(expected)
    assert task.metric(references, references * 3) == pytest.approx(1)


def test_a_zero_embedding_is_close_to_nothing():
    assert extractor(pooling="mean").metric(np.zeros((2, 8)), np.ones((2, 8))) == 0


def test_a_mean_ignores_padding_and_cls_takes_the_first_token():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]], [[2.0, 0.0], [0.0, 0.0], [4.0, 3.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    for pooling, normalize, expected in [
        ("mean", False, [[2.0, 4.0], [2.0, 1.0]]),
        ("cls", False, [[1.0, 2.0], [2.0, 0.0]]),
        ("cls", True, [[1 / 5**0.5, 2 / 5**0.5], [1.0, 0.0]]),
    ]:
        spec = extractor(pooling=pooling, normalize=normalize).spec
        encoder = Embedder(torch.nn.Identity(), spec, "embedding")  # type: ignore[arg-type]
        torch.testing.assert_close(encoder.pool(states, mask), torch.tensor(expected))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_an_embedding_model_is_loaded_without_the_pooler_that_it_does_not_use(
    tiny_model_folder: ModelFactory, model_type: str
):
    folder = tiny_model_folder(model_type, "ForMaskedLM")
    arguments = extractor(pooling="mean").model_arguments(model_type)
    dense = load_dense(folder, AutoModel, load_config(folder), **arguments)
    assert dense.missing == frozenset()
    assert not [name for name, _ in dense.model.named_parameters() if "pooler" in name]


def test_forward_and_the_exported_module_agree(tiny_model_folder: ModelFactory):
    folder = tiny_model_folder("bert", "Model")
    model = load_any(folder)
    task = extractor(pooling="mean", normalize=True)
    inputs = dict(load_tokenizer(folder)(["the film was good .", "dull ."], padding=True, return_tensors="pt"))
    with torch.inference_mode():
        outputs, states = task.forward(model, inputs, hidden=True)
        exported = task.exportable(model)(**inputs)[task.output_names[0]]
    torch.testing.assert_close(outputs, exported)
    torch.testing.assert_close(outputs.norm(dim=-1), torch.ones(2))
    assert [tuple(state.shape) for state in states] == [(2, 7, 32)] * 3


def test_embeddings_have_no_linear_baseline():
    assert extractor(pooling="mean").linear_baseline(Table(["a"], None), [], Table(["b"], None), []) is None

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics.pairwise import cosine_similarity
from transformers import AutoModel

import edgeprune.tasks
from edgeprune.base.errors import DataError, ModelError, UsageError
from edgeprune.data.table import Table, pick
from edgeprune.models.checkpoint import load_any, load_config, load_dense, load_tokenizer
from edgeprune.tasks import ProblemType, TaskName, TaskSpec, resolve_task, task_for
from edgeprune.tasks.base import Task
from edgeprune.tasks.feature_extraction import Embedder, FeatureExtraction
from tests.conftest import IMAGE_TASKS, MODEL_TYPES, ModelFactory, synthetic_rows
from tests.conftest import TASKS as TEXT_TASKS

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
seeds = st.integers(0, 10_000)


def classifier(problem_type: ProblemType, labels: tuple[str, ...] = ("a", "b", "c")) -> Task:
    return task_for(
        TaskSpec(
            task="text-classification",
            problem_type=problem_type,
            labels=labels,
            max_length=16,
            inputs=("input_ids", "attention_mask"),
        )
    )


def extractor(**pooling: Any) -> FeatureExtraction:
    spec = TaskSpec(task="feature-extraction", max_length=16, inputs=("input_ids", "attention_mask"), **pooling)
    task = task_for(spec)
    assert isinstance(task, FeatureExtraction)
    return task


TASKS = [
    pytest.param(classifier(SINGLE), id="single"),
    pytest.param(classifier(MULTI), id="multi"),
    pytest.param(classifier(REGRESSION, ("value",)), id="regression"),
    pytest.param(extractor(pooling="mean"), id="embedding"),
]


def table_of(labels: list[Any]) -> Table:
    return Table(["a text"] * len(labels), labels)


def some_outputs(task: Task, rows: int = 6, seed: int = 0) -> torch.Tensor:
    width = len(task.spec.labels) or 8
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@given(seeds)
def test_accuracy_is_scikit_learns(seed: int):
    generator = np.random.default_rng(seed)
    outputs, references = generator.normal(size=(20, 3)), generator.integers(3, size=20)
    task = classifier(SINGLE)
    assert task.metric_name == "accuracy"
    assert task.metric(outputs, references) == pytest.approx(accuracy_score(references, outputs.argmax(1)))


@given(seeds, st.floats(0, 1))
def test_micro_f1_is_scikit_learns(seed: int, share: float):
    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=(20, 3)) + share - 0.5
    references = (generator.random((20, 3)) < share).astype(np.float32)
    task = classifier(MULTI)
    assert task.metric_name == "micro_f1"
    expected = f1_score(references, outputs > 0, average="micro", zero_division=0)
    assert task.metric(outputs, references) == pytest.approx(expected)


def test_micro_f1_without_any_label_is_zero():
    assert classifier(MULTI).metric(-np.ones((4, 3)), np.zeros((4, 3))) == 0


@given(seeds)
def test_spearman_is_scipys_with_ties(seed: int):
    generator = np.random.default_rng(seed)
    outputs, references = generator.integers(5, size=(30, 1)) * 1.0, generator.integers(5, size=30) * 1.0
    task = classifier(REGRESSION, ("value",))
    assert task.metric_name == "spearman"
    assert task.metric(outputs, references) == pytest.approx(spearmanr(outputs[:, 0], references).statistic)


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")  # builds run with libraries' warnings off
def test_spearman_of_a_constant_is_zero():
    task = classifier(REGRESSION, ("value",))
    assert task.metric(np.zeros((5, 1)), np.arange(5.0)) == 0
    assert task.metric(np.arange(5.0)[:, None], np.zeros(5)) == 0


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


@pytest.mark.parametrize(
    ("problem_type", "labels", "expected"),
    [
        (SINGLE, ["b", "a", "c"], [1, 0, 2]),
        (MULTI, [["a", "c"], [], "b", ["b"]], [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 0]]),
        (REGRESSION, [1, -0.5, "2.5", "1e-3"], [1, -0.5, 2.5, 1e-3]),
    ],
)
def test_labels_become_numbers(problem_type: ProblemType, labels: list[Any], expected: list[Any]):
    found = np.array(classifier(problem_type).references(table_of(labels), where="train"))
    np.testing.assert_allclose(found, expected)
    assert found.dtype == (np.int64 if problem_type == SINGLE else np.float32)


def test_whole_numbers_are_labels_by_their_names():
    task = classifier(SINGLE, ("0", "1", "10"))
    assert task.references(table_of([10, 0, "1"]), where="train") == [2, 0, 1]


@pytest.mark.parametrize(
    ("problem_type", "labels", "message"),
    [
        (SINGLE, ["a", "x"], "the test split row 2: the label 'x' is not one the model has (a, b, c)"),
        (SINGLE, [1], "the test split row 1: the label '1' is not one the model has (a, b, c)"),
        (SINGLE, ["a", ["a", "b"]], "the test split row 2: one label expected, got a list; use --problem-type multi"),
        (MULTI, [["a"], ["b", "x"]], "the test split row 2: the label 'x' is not one the model has (a, b, c)"),
        (REGRESSION, [1.5, "good"], "the test split row 2: a regression's label should be a number, got 'good'"),
        (REGRESSION, [["1"]], "the test split row 1: a regression's label should be a number, got ['1']"),
        (REGRESSION, [1.0, "nan"], "the test split row 2: a regression's label should be a number, got 'nan'"),
    ],
)
def test_a_label_that_the_model_does_not_have_is_refused_with_its_row(
    problem_type: ProblemType, labels: list[Any], message: str
):
    with pytest.raises(DataError) as caught:
        classifier(problem_type).references(table_of(labels), where="the test split")
    assert message in str(caught.value)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("task", TASKS)
def test_a_student_like_its_teacher_has_nothing_to_learn(task: Task, temperature: float):
    outputs = some_outputs(task).requires_grad_()
    loss = task.distill_loss(outputs, outputs.detach().clone(), temperature)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert outputs.grad is not None
    assert outputs.grad.abs().max() < 1e-6


@pytest.mark.parametrize("task", TASKS)
def test_a_student_is_the_worse_the_farther_from_its_teacher(task: Task):
    teacher, noise = some_outputs(task), some_outputs(task, seed=1)
    losses = [task.distill_loss(teacher + share * noise, teacher, 2.0).item() for share in (0.0, 0.1, 0.5, 1.0)]
    assert losses == sorted(losses)
    assert losses[1] > 1e-5


def test_distillation_is_hintons_divergence():
    student, teacher, temperature = some_outputs(classifier(SINGLE)), some_outputs(classifier(SINGLE), seed=1), 3.0
    p, q = torch.softmax(teacher / temperature, -1), torch.softmax(student / temperature, -1)
    expected = (p * (p.log() - q.log())).sum(-1).mean() * temperature**2
    assert classifier(SINGLE).distill_loss(student, teacher, temperature).item() == pytest.approx(expected.item())


def test_confident_teachers_distil_to_finite_losses():
    for task in (classifier(SINGLE), classifier(MULTI)):
        teacher = 1e3 * some_outputs(task)
        assert torch.isfinite(task.distill_loss(some_outputs(task, seed=1), teacher, 1.0))
        assert task.distill_loss(teacher, teacher, 1.0).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_without_labels_squared_gradients_average_to_the_curvature_of_the_divergence(problem_type: ProblemType):
    """The Hessian of KL(p ‖ softmax) at p, by logit: p(1 - p)."""
    task, generator = classifier(problem_type), torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.5, -1.0, 2.0]]).repeat(4000, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(task.divergence_loss(logits, generator), logits)
    probabilities = logits[0].detach().softmax(-1) if problem_type == SINGLE else logits[0].detach().sigmoid()
    expected = probabilities * (1 - probabilities)
    torch.testing.assert_close(gradient.square().mean(0), expected, rtol=0.15, atol=0.01)


@pytest.mark.parametrize("kind", ["embedding", "regression"])
def test_without_labels_and_classes_squared_gradients_average_to_the_squared_norm_of_the_jacobian(kind: str):
    task = extractor(pooling="mean") if kind == "embedding" else classifier(REGRESSION, ("value",))
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(8 if kind == "embedding" else 1, generator=generator)
    mask = torch.ones(2000, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(task.divergence_loss(mask * jacobian, generator), mask)
    assert gradient.square().mean() == pytest.approx(jacobian.square().sum().item(), rel=0.1)


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
    model, missing = load_dense(folder, AutoModel, load_config(folder), **arguments)
    assert missing == frozenset()
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]


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


def test_forward_gives_logits_and_hidden_states_only_where_asked(tiny_model_folder: ModelFactory):
    folder = tiny_model_folder()
    inputs = dict(load_tokenizer(folder)(["the film was good ."], return_tensors="pt"))
    task = classifier(SINGLE, ("neg", "pos"))
    with torch.inference_mode():
        outputs, none = task.forward(load_any(folder), inputs)
        _, states = task.forward(load_any(folder), inputs, hidden=True)
    assert (outputs.shape, none, len(states)) == ((1, 2), (), 3)


@pytest.mark.parametrize(
    ("task", "a", "b", "same"),
    [
        (classifier(SINGLE), [[1, 2, 0], [1, 2, 0]], [[5, 9, 0], [2, 1, 0]], [True, False]),
        (classifier(MULTI), [[1, -2, 3], [1, -2, 3]], [[9, -1, 1], [9, 1, 1]], [True, False]),
        (classifier(REGRESSION), [[1.0], [1.0]], [[1.04], [1.5]], [True, False]),
        (extractor(pooling="mean"), [[1, 0], [1, 0]], [[3, 0.1], [1, 1]], [True, False]),
    ],
)
def test_two_outputs_are_the_same_answer_or_not(task: Task, a: list[Any], b: list[Any], same: list[bool]):
    assert list(map(task.same_answer, np.array(a), np.array(b))) == same


@pytest.mark.parametrize(("kind", "problem_type"), [("single", SINGLE), ("multi", MULTI), ("regression", REGRESSION)])
def test_separable_texts_need_no_transformer(kind: str, problem_type: ProblemType):
    rows = synthetic_rows(200, kind)
    table = Table([str(row["text"]) for row in rows], [row["label"] for row in rows])  # type: ignore[misc]
    task = classifier(problem_type, ("value",) if kind == "regression" else ("neg", "pos"))
    references = task.references(table, where="here")
    train, test = pick(table, range(150)), pick(table, range(150, 200))
    found = task.linear_baseline(train, references[:150], test, references[150:])
    assert found is not None
    assert found > 0.85


@pytest.mark.parametrize(
    ("texts", "labels"), [(["!", "?", "!!", "…"], ["a", "b", "a", "b"]), (["one two", "three four"] * 2, ["a"] * 4)]
)
def test_there_is_no_linear_baseline_without_words_or_with_one_class(texts: list[str], labels: list[str]):
    task = classifier(SINGLE)
    table = Table(texts, list(labels))
    references = task.references(table, where="here")
    assert task.linear_baseline(table, references, table, references) is None


def test_embeddings_have_no_linear_baseline():
    assert extractor(pooling="mean").linear_baseline(Table(["a"], None), [], Table(["b"], None), []) is None


@pytest.mark.parametrize(
    ("asked", "architecture", "task"),
    [
        (None, "BertForSequenceClassification", "text-classification"),
        (None, "DistilBertModel", "feature-extraction"),
        ("text-classification", "BertForMaskedLM", "text-classification"),
        ("feature-extraction", "BertForSequenceClassification", "feature-extraction"),
        ("sequence-classification", "BertModel", "text-classification"),
        ("sentence-similarity", "BertModel", "feature-extraction"),
        (None, "ViTForImageClassification", "image-classification"),
        (None, "ViTModel", "image-feature-extraction"),
        ("image-classification", "ViTModel", "image-classification"),
    ],
)
def test_the_task_is_the_one_asked_for_or_the_checkpoints(asked: str | None, architecture: str, task: str):
    images = {"image_size": 16} if architecture.startswith("ViT") else {}
    assert resolve_task(asked, {"architectures": [architecture], **images}) == task


@pytest.mark.parametrize(
    ("asked", "config", "message"),
    [
        (
            "image-classification",
            {},
            "the model reads texts, which image-classification is not for; its tasks are text-c",
        ),
        (
            "fill-mask",
            {"image_size": 16},
            "reads images, which fill-mask is not for; its tasks are image-classification, im",
        ),
        (
            "feature-extraction",
            {"image_size": [8, 8]},
            "its tasks are image-classification, image-feature-extraction (--",
        ),
    ],
)
def test_a_task_of_the_other_modality_is_refused(asked: str, config: dict[str, Any], message: str):
    with pytest.raises(UsageError) as caught:
        resolve_task(asked, {"architectures": ["SomeModel"], **config})
    assert message in str(caught.value)


def test_every_task_is_tested():
    assert get_args(TaskName) == (*TEXT_TASKS, *IMAGE_TASKS)
    assert frozenset(IMAGE_TASKS) == edgeprune.tasks.IMAGE_TASKS


@pytest.mark.parametrize(
    "config", [{}, {"architectures": []}, {"architectures": None}, {"architectures": ["XForMaskedLM"]}]
)
def test_a_checkpoint_that_is_for_no_task_asks_for_one(config: dict[str, Any]):
    with pytest.raises(ModelError, match="say it with --task"):
        resolve_task(None, config)


@pytest.mark.parametrize("asked", ["object-detection", "translation", "nonsense"])
def test_a_task_that_is_not_handled_is_refused(asked: str):
    with pytest.raises(
        UsageError,
        match=f"the task '{asked}' is not one of text-classification, token-classification, question-answering, fill-mask, "
        "feature-extraction, image-classification, image-feature-extraction",
    ):
        resolve_task(asked, {"architectures": ["BertModel"]})

from typing import Any

import pytest

from edgeprune.base.errors import ModelError, UsageError
from edgeprune.tasks.resolve import resolve_problem_type, resolve_task


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
            "the model reads texts, but image-classification is not for these; choose one of text-c",
        ),
        (
            "fill-mask",
            {"image_size": 16},
            "reads images, but fill-mask is not for these; choose one of image-classification, im",
        ),
        (
            "feature-extraction",
            {"image_size": [8, 8]},
            "choose one of image-classification, image-feature-extraction (--",
        ),
    ],
)
def test_a_task_of_the_other_modality_is_refused(asked: str, config: dict[str, Any], message: str):
    with pytest.raises(UsageError) as caught:
        resolve_task(asked, {"architectures": ["SomeModel"], **config})
    assert message in str(caught.value)


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


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_a_problem_type_is_a_classifications(task: Any):
    assert resolve_problem_type(None, task) is None
    assert resolve_problem_type("regression", task) == "regression"
    with pytest.raises(UsageError, match="'ranking' is not one of single_label_classification, multi_label_"):
        resolve_problem_type("ranking", task)


def test_other_tasks_have_no_problem_type():
    with pytest.raises(
        UsageError, match="is for text-classification and image-classification, but the task here is fill-mask"
    ):
        resolve_problem_type("regression", "fill-mask")

"""Make tasks of classifications and embeddings without a model."""

from typing import Any

import torch

from edgeprune.tasks.feature_extraction import FeatureExtraction
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.roles import Task
from edgeprune.tasks.spec import ProblemType, TaskSpec

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


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


def some_outputs(task: Task, rows: int = 6, seed: int = 0) -> torch.Tensor:
    width = len(task.spec.labels) or 8
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))

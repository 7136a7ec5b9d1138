from typing import Any

import numpy as np
import pytest
import torch

from edgeprune.tasks.roles import Task
from tests.support.tasks import MULTI, REGRESSION, SINGLE, classifier, extractor, some_outputs

TASKS = [
    pytest.param(classifier(SINGLE), id="single"),
    pytest.param(classifier(MULTI), id="multi"),
    pytest.param(classifier(REGRESSION, ("value",)), id="regression"),
    pytest.param(extractor(pooling="mean"), id="embedding"),
]


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


@pytest.mark.parametrize("kind", ["embedding", "regression"])
def test_without_labels_and_classes_squared_gradients_average_to_the_squared_norm_of_the_jacobian(kind: str):
    task = extractor(pooling="mean") if kind == "embedding" else classifier(REGRESSION, ("value",))
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(8 if kind == "embedding" else 1, generator=generator)
    mask = torch.ones(2000, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(task.divergence_loss(mask * jacobian, generator), mask)
    assert gradient.square().mean() == pytest.approx(jacobian.square().sum().item(), rel=0.1)


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

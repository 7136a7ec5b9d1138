import pytest
import torch

from tests.support.tasks import SINGLE, classifier, some_outputs


def test_distillation_is_hintons_divergence():
    student, teacher, temperature = some_outputs(classifier(SINGLE)), some_outputs(classifier(SINGLE), seed=1), 3.0
    p, q = torch.softmax(teacher / temperature, -1), torch.softmax(student / temperature, -1)
    expected = (p * (p.log() - q.log())).sum(-1).mean() * temperature**2
    assert classifier(SINGLE).distill_loss(student, teacher, temperature).item() == pytest.approx(expected.item())

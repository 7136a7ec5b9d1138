from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from edgeprune.models.checkpoint import load_any
from edgeprune.training.candidates import train_best
from tests.conftest import ModelFactory


class Killed(Exception):  # noqa: N818 (it stands for a signal)
    """Raised in the middle of a choice."""


class Ways:
    """Trainings that add their number + 1 to every weight. A training keeps what it did in its folder, as a real one does."""

    def __init__(self, model: PreTrainedModel, metrics: list[float]) -> None:
        self.model = model
        self.metrics = metrics
        self.trained: list[int] = []
        self.killed_in: int | None = None

    def __call__(self, number: int, folder: Path) -> float:
        folder.mkdir(exist_ok=True)
        if not (folder / "half").exists():
            self.trained.append(number)
        (folder / "half").touch()
        if number == self.killed_in:
            raise Killed
        with torch.no_grad():
            for weight in self.model.parameters():
                weight.add_(number + 1)
        return self.metrics[number]


def added(model: PreTrainedModel, before: dict[str, torch.Tensor]) -> int:
    """What was added to every weight of a model."""
    changes = {
        round(float(change)) for name, value in before.items() for change in (model.state_dict()[name] - value).ravel()
    }
    (change,) = changes
    return change


@pytest.fixture
def model(tiny_model_folder: ModelFactory) -> PreTrainedModel:
    return load_any(tiny_model_folder())


@pytest.fixture
def before(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if value.is_floating_point()}


@pytest.mark.parametrize(
    ("metrics", "best"), [([0.5, 0.7, 0.6], 1), ([0.5, 0.5, 0.4], 0), ([-0.9, -0.8, -0.7], 2), ([0.3], 0)]
)
def test_the_best_way_is_kept_and_of_equal_ones_the_first(
    model: PreTrainedModel, before: dict[str, torch.Tensor], tmp_path: Path, metrics: list[float], best: int
) -> None:
    ways = Ways(model, metrics)
    assert train_best(model, len(metrics), ways, tmp_path) == metrics
    assert added(model, before) == best + 1, "every way begins with the same weights"


@pytest.mark.parametrize("killed_in", [0, 1, 2])
def test_a_choice_that_is_killed_goes_on(
    model: PreTrainedModel, before: dict[str, torch.Tensor], tmp_path: Path, killed_in: int
) -> None:
    ways = Ways(model, [0.5, 0.7, 0.6])
    ways.killed_in = killed_in
    with pytest.raises(Killed):
        train_best(model, 3, ways, tmp_path)
    ways.killed_in = None
    model.load_state_dict(before, strict=False)
    assert train_best(model, 3, ways, tmp_path) == [0.5, 0.7, 0.6]
    assert ways.trained == [0, 1, 2], "no training begins twice"
    assert added(model, before) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-1", "metrics.json", "start"]


def test_damaged_weights_are_made_again(
    model: PreTrainedModel, before: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    ways = Ways(model, [0.5, 0.7, 0.6])
    train_best(model, 3, ways, tmp_path)
    weights = tmp_path / "best-1/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    model.load_state_dict(before, strict=False)
    train_best(model, 3, ways, tmp_path)
    assert ways.trained == [0, 1, 2] * 2
    assert added(model, before) == 2

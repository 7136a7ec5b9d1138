from typing import Any

import pytest
from pydantic import ValidationError

from edgeprune.profiles.training import PrepareConfig, TrainingConfig


def test_auto_trains_until_the_model_is_at_its_best_and_on_few_rows_at_three_rates():
    auto = PrepareConfig(epochs="auto", learning_rate="auto")
    assert auto.trainings(2001) == (TrainingConfig(epochs=20, patience=3, learning_rate=1e-4),)
    few = auto.trainings(2000)
    assert [one.learning_rate for one in few] == [1e-4, 3e-5, 3e-4]
    assert {(one.epochs, one.patience) for one in few} == {(20, 3)}


def test_what_is_named_is_taken_whatever_the_number_of_rows():
    asked: dict[str, Any] = {
        "epochs": 5,
        "learning_rate": 2e-4,
        "batch_size": 8,
        "evaluations_per_epoch": 2,
        "weight_decay": 0.5,
    }
    assert PrepareConfig(**asked).trainings(10) == (TrainingConfig(**asked),)
    assert PrepareConfig(**asked, patience=2).trainings(10) == (TrainingConfig(**asked, patience=2),)
    assert [one.patience for one in PrepareConfig(patience=1, learning_rate=1e-4).trainings(10)] == [1]
    listed = PrepareConfig(learning_rate=(1e-3, 1e-5)).trainings(10**6)
    assert [one.learning_rate for one in listed] == [1e-3, 1e-5]


@pytest.mark.parametrize("rates", [(1e-4, 1e-4), (), (2.0,)])
def test_rates_that_say_nothing_are_refused(rates: tuple[float, ...]):
    with pytest.raises(ValidationError):
        PrepareConfig(learning_rate=rates)

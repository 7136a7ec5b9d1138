import pytest

from edgeprune.base.metric_words import change_words
from edgeprune.report.words import amount, change_interval, megabytes, span, times, value_words


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.3, "8.3"), (90.94, "90.9"), (1.24, "1.24"), (12, "12"), (0.00512, "0.00512"), (1240.4, "1,240"), (100, "100"), (0, "0")],
)  # fmt: skip
def test_an_amount_has_three_digits_that_count(value: float, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(("ratio", "text"), [(1.03, "1.03"), (1.5, "1.5"), (4.99, "5"), (6.69, "6.7"), (12.4, "12")])
def test_a_ratio_has_as_many_digits_as_a_reader_needs(ratio: float, text: str) -> None:
    assert times(ratio) == text


def test_a_change_has_a_sign_and_the_metrics_unit() -> None:
    assert change_words("accuracy", -0.0034) == "-0.3 points"
    assert change_words("f1", -0.0001) == "+0.0 points"
    assert change_words("cosine_to_dense", -0.00123) == "-0.0012"
    assert value_words("accuracy", 0.8623) == "86.2%"
    assert value_words("spearman", 0.8623) == "0.8623"


def test_the_interval_of_a_change_is_that_of_the_drop_turned_round() -> None:
    assert change_interval("accuracy", (-0.009, 0.015)) == "[-1.5, +0.9]"
    assert change_interval("accuracy", None) == ""


def test_intervals_and_sizes() -> None:
    assert span((1.2, 1.31)) == "[1.2, 1.31]"
    assert span(None) == ""
    assert (megabytes(18_234_000), megabytes(52_340)) == ("18.2 MB", "0.0523 MB")

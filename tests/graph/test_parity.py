import numpy as np
import pytest

from edgeprune.base.errors import ParityError
from edgeprune.graph.parity import Agreement, agreement, require_nearness, require_parity


def test_equal_outputs_have_no_error():
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert agreement(values, values.copy()) == Agreement(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("reference", "relative"), [([0.1, -0.2], 0.5), ([1.0, -1.0], 0.5), ([4.0, -100.0], 0.005)])
def test_the_error_is_absolute_for_small_outputs_and_relative_for_large_ones(reference: list[float], relative: float):
    found = agreement(np.array(reference), np.array(reference) + np.array([0.5, 0.1]))
    assert found.max_error == pytest.approx(0.5)
    assert found.mean_error == pytest.approx(0.3)
    assert found.relative_error == pytest.approx(relative)
    assert found.distance == pytest.approx(np.hypot(0.5, 0.1) / np.hypot(*reference))


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [([1.0, 2.0], [1.0, np.nan]), ([np.nan, 2.0], [1.0, 2.0]), ([np.nan], [np.nan]), ([np.inf], [np.inf])],
)
def test_what_is_no_number_is_infinitely_far(reference: list[float], candidate: list[float]):
    with np.errstate(invalid="ignore"):
        found = agreement(np.array(reference), np.array(candidate))
    assert found.relative_error == found.distance == np.inf
    with pytest.raises(ParityError):
        require_parity(found, 1e9, what="export")


def test_half_precision_is_compared_in_double_precision():
    reference = np.array([60000.0], np.float16)
    found = agreement(reference, np.array([-60000.0], np.float16))
    assert found.max_error == pytest.approx(2 * float(reference[0]))


def test_outputs_of_other_shapes_are_refused():
    with pytest.raises(ParityError, match=r"\(2, 3\) and \(3, 2\)"):
        agreement(np.zeros((2, 3)), np.zeros((3, 2)))


def test_the_tolerance_itself_still_passes():
    require_parity(Agreement(1.0, 0.5, 1e-4, 0.1), 1e-4, what="export")
    with pytest.raises(ParityError, match=r"export: outputs differ by 1\.10e-04, more than the tolerance of 1e-04"):
        require_parity(Agreement(1.0, 0.5, 1.1e-4, 0.1), 1e-4, what="export")


def test_what_fewer_bits_explain_passes():
    reference = np.array([3.0, -4.0])
    require_nearness(agreement(reference, reference + np.array([2.5, 0])), 0.5, what="int8-dynamic")
    with pytest.raises(ParityError, match=r"int8-dynamic: outputs differ .* by 52% of their own size, .* at most 50%;"):
        require_nearness(agreement(reference, reference + np.array([2.6, 0])), 0.5, what="int8-dynamic")
    with pytest.raises(ParityError):
        require_nearness(agreement(reference, np.array([np.nan, 0])), 0.5, what="fp16")


def test_of_outputs_of_zero_any_difference_is_far():
    assert agreement(np.zeros(3), np.zeros(3)).distance == 0
    assert agreement(np.zeros(3), np.ones(3)).distance == 1

import pytest
import torch

from edgeprune.base.errors import UsageError
from edgeprune.pruning.least_squares import NestedRidge, errors_without, ridge


def test_ridge_is_least_squares_with_a_penalty():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    outputs = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    gram, cross = inputs.T @ inputs, inputs.T @ outputs
    exact = torch.linalg.lstsq(inputs, outputs).solution
    torch.testing.assert_close(ridge(gram, cross, 1e-12), exact)
    penalty = 0.1 * gram.diagonal().mean()
    stacked = torch.cat([inputs, penalty.sqrt() * torch.eye(4, dtype=torch.float64)])
    padded = torch.cat([outputs, torch.zeros(4, 3, dtype=torch.float64)])
    torch.testing.assert_close(ridge(gram, cross, 0.1), torch.linalg.lstsq(stacked, padded).solution)


def test_a_penalty_that_rounding_outweighs_is_refused():
    gram = -1e-6 * torch.eye(4, dtype=torch.float64)
    gram[0, 0] = 4.0
    with pytest.raises(UsageError, match="a ridge of 1e-09 is too small for so few samples; raise ridge or samples"):
        ridge(gram, torch.zeros(4, 2, dtype=torch.float64), 1e-9)


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_one_factor_gives_the_weights_of_any_number_of_inputs(count: int):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 5, generator=generator, dtype=torch.float64)
    weights = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    penalty = 0.1 * (inputs.T @ inputs).diagonal().mean()
    stacked = torch.cat([inputs[:, :count], penalty.sqrt() * torch.eye(count, dtype=torch.float64)])
    wanted = torch.cat([inputs @ weights, penalty.sqrt() * weights[:count]])
    found = NestedRidge(inputs.T @ inputs, weights, 0.1).weights(count)
    torch.testing.assert_close(found, torch.linalg.lstsq(stacked, wanted).solution)


@pytest.mark.parametrize("width", [1, 2])
def test_the_error_without_a_unit_is_what_the_others_can_not_make_up_for(width: int):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.cat([torch.randn(50, 4, generator=generator), torch.ones(50, 1)], 1).double()
    inputs[:, 3] = inputs[:, 0] + 0.1 * inputs[:, 3]
    weights = torch.randn(5, 3, generator=generator).double()
    found = errors_without(inputs.T @ inputs, weights, 1e-12, units=4 // width, width=width)
    expected = []
    for first in range(0, 4, width):
        others = [column for column in range(5) if not first <= column < first + width]
        solution = torch.linalg.lstsq(inputs[:, others], inputs @ weights).solution
        expected.append((inputs[:, others] @ solution - inputs @ weights).square().sum())
    torch.testing.assert_close(found, torch.stack(expected))

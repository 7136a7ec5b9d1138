"""Solve a projection again with fewer inputs, by least squares with a penalty for leaving its present weights.

    min over V   ‖X V - Y‖² + λ ‖V - V₀‖²

X [rows, inputs] are the projection's inputs, and a column of ones where it has a bias. V [inputs, outputs] are its
weights, transposed, and its bias. λ is `strength` times the mean of XᵀX's diagonal.
"""

import torch
from torch import nn

from edgeprune.base.errors import UsageError

__all__ = ["NestedRidge", "errors_without", "gram_size", "ridge", "with_ones"]


def gram_size(linear: nn.Linear) -> int:
    """Count the columns of `with_ones`."""
    return linear.in_features + (linear.bias is not None)


def with_ones(inputs: torch.Tensor, linear: nn.Linear) -> torch.Tensor:
    """Give what a projection computes with, [rows, `gram_size`].

    Args:
        inputs: What the projection is given, [rows, features]. A projection without inputs may be given anything.
        linear: The projection. If it has a bias, the last column is ones.
    """
    inputs = inputs[:, : linear.in_features]
    return inputs if linear.bias is None else torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)


def ridge(gram: torch.Tensor, cross: torch.Tensor, strength: float) -> torch.Tensor:
    """Compute (G + λI)⁻¹ C, which is V - V₀.

    Args:
        gram: G = XᵀX, [inputs, inputs]; it is changed in place, because it is large.
        cross: C = Xᵀ(Y - X V₀), [inputs, outputs].
        strength: Relative weight of the penalty, above 0.

    Raises:
        UsageError: The penalty is too weak for sums of so few rows.
    """
    solution: torch.Tensor = torch.cholesky_solve(cross, _factor(gram, strength))
    return solution


def errors_without(
    gram: torch.Tensor, weights: torch.Tensor, strength: float, *, units: int, width: int
) -> torch.Tensor:
    """Compute for each unit the squared error that is left if it alone goes and all other inputs make up for it.

    It is vᵀ (H⁻¹)ᵤᵤ⁻¹ v, with H = G + λI and the unit's weights v, as in the Optimal Brain Surgeon (Hassibi and Stork,
    1993) and, for whole units, in ZipLM (https://arxiv.org/abs/2302.04089).

    Args:
        gram: G = XᵀX, [inputs, inputs]. The units' inputs come first, in their order.
        weights: The projection's weights, and its bias if there is one, [inputs, outputs].
        strength: Relative weight of the penalty, above 0.
        units: The number of units.
        width: The number of inputs that a unit has.

    Returns:
        By unit, [units].

    Raises:
        UsageError: The penalty is too weak for sums of so few rows.
    """
    inverse = torch.cholesky_inverse(_factor(gram.clone(), strength))
    blocks = torch.stack(
        [inverse[first : first + width, first : first + width] for first in range(0, units * width, width)]
    )
    of_units = weights[: units * width].reshape(units, width, -1)
    errors: torch.Tensor = (of_units * torch.linalg.solve(blocks, of_units)).sum((1, 2))
    return errors


class NestedRidge:
    """Solve a projection for the first n of its inputs, for any n, so that it gives what it gives with all of them.

    With Y = X V₀, the weights of the first n inputs are V = (G + λI)ₙₙ⁻¹ ((G + λI) V₀)ₙ. Of one Cholesky factor L of
    G + λI, the first n rows and columns are the factor of (G + λI)ₙₙ. So V = Lₙₙ⁻ᵀ (Lᵀ V₀)ₙ, and each n costs no more
    than one substitution.

    Args:
        gram: G = XᵀX, [inputs, inputs], with the inputs in the order in which they are kept; it is changed in place.
        weights: V₀, [inputs, outputs], in the same order.
        strength: Relative weight of the penalty, above 0.

    Raises:
        UsageError: The penalty is too weak for sums of so few rows.
    """

    def __init__(self, gram: torch.Tensor, weights: torch.Tensor, strength: float) -> None:
        self._factor = _factor(gram, strength)
        self._reduced = self._factor.T @ weights

    def weights(self, count: int) -> torch.Tensor:
        """Compute V for the first `count` inputs, [count, outputs]."""
        factor = self._factor[:count, :count].T
        solution: torch.Tensor = torch.linalg.solve_triangular(factor, self._reduced[:count], upper=True)
        return solution


def _factor(gram: torch.Tensor, strength: float) -> torch.Tensor:
    """Factorise G + λI, in place of G."""
    gram.diagonal().add_(strength * gram.diagonal().mean())
    factor: torch.Tensor
    factor, fault = torch.linalg.cholesky_ex(gram)
    if fault:
        raise UsageError(
            f"reconstruct: a ridge of {strength:g} is too small for so few samples; raise ridge or samples"
        )
    return factor

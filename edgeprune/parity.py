"""How far two outputs of what should be one function lie apart."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.errors import ParityError

__all__ = ["Agreement", "agreement", "require_parity"]


@dataclass(frozen=True)
class Agreement:
    """Largest and mean absolute difference, and the largest relative to the reference's own magnitude."""

    max_error: float
    mean_error: float
    relative_error: float


def agreement(reference: npt.NDArray[np.floating], candidate: npt.NDArray[np.floating]) -> Agreement:
    """Compare two arrays of one shape; NaN anywhere counts as infinitely far.

    `relative_error` is max|a - b| / max(1, max|a|): absolute for small outputs, relative for large ones.

    Raises:
        ParityError: The shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ParityError(f"outputs have shapes {reference.shape} and {candidate.shape}; they should be equal")
    error = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    error = np.where(np.isnan(error), np.inf, error)
    largest = float(error.max(initial=0.0))
    scale = max(1.0, float(np.abs(np.nan_to_num(reference)).max(initial=0.0)))
    return Agreement(largest, float(error.mean()) if error.size else 0.0, largest / scale)


def require_parity(found: Agreement, tolerance: float, *, what: str) -> None:
    """Raises ParityError when `found` is above `tolerance` (relative error)."""
    if not found.relative_error <= tolerance:
        raise ParityError(
            f"{what}: outputs differ by {found.relative_error:.2e}, more than the tolerance of {tolerance:.0e}; nothing was "
            f"shipped. If the difference is expected, raise stages.export.tolerance"
        )

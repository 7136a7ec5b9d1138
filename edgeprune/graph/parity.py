"""How far two outputs of what should be one function lie apart."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.base.errors import ParityError

__all__ = ["Agreement", "agreement", "require_nearness", "require_parity"]


@dataclass(frozen=True)
class Agreement:
    """Largest and mean absolute difference, and differences relative to the reference's own magnitude."""

    max_error: float
    mean_error: float
    relative_error: float
    """The largest."""
    distance: float
    """Of all together."""


def agreement(reference: npt.NDArray[np.floating], candidate: npt.NDArray[np.floating]) -> Agreement:
    """Compare two arrays of one shape; NaN anywhere counts as infinitely far.

    `relative_error` is max|a - b| / max(1, max|a|): absolute for small outputs, relative for large ones. `distance` is
    |a - b| / |a|, of Euclidean norms: relative for all.

    Raises:
        ParityError: The shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ParityError(f"outputs have shapes {reference.shape} and {candidate.shape}; they should be equal")
    error = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    error = np.where(np.isnan(error), np.inf, error)
    largest = float(error.max(initial=0.0))
    scale = max(1.0, float(np.abs(np.nan_to_num(reference)).max(initial=0.0)))
    norm = float(np.linalg.norm(reference.astype(np.float64))) if np.isfinite(largest) else 0.0
    distance = float(np.linalg.norm(error)) / norm if norm else largest
    return Agreement(largest, float(error.mean()) if error.size else 0.0, largest / scale, distance)


def require_parity(found: Agreement, tolerance: float, *, what: str) -> None:
    """Raises ParityError when `found` is above `tolerance` (relative error)."""
    if not found.relative_error <= tolerance:
        raise ParityError(
            f"{what}: outputs differ by {found.relative_error:.2e}, more than the tolerance of {tolerance:.0e}; nothing was "
            f"shipped. If the difference is expected, raise stages.export.tolerance"
        )


def require_nearness(found: Agreement, tolerance: float, *, what: str) -> None:
    """Raises ParityError when `found` is further than `tolerance` (distance): more than rounding to fewer bits explains."""
    if not found.distance <= tolerance:
        raise ParityError(
            f"{what}: outputs are {found.distance:.0%} of their own size away from PyTorch's, at most {tolerance:.0%} are "
            f"explained by fewer bits; nothing was shipped. Ask for another target.precision.mode"
        )

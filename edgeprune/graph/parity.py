"""Measure how far two outputs lie apart that should be equal, and refuse outputs that lie too far apart."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.base.errors import ParityError

__all__ = ["Agreement", "agreement", "require_nearness", "require_parity"]


@dataclass(frozen=True)
class Agreement:
    """Describe how far a candidate's outputs lie from a reference's."""

    max_error: float
    """The largest absolute difference."""
    mean_error: float
    """The mean absolute difference."""
    relative_error: float
    """The largest absolute difference, relative to the largest number in the reference if that is above 1."""
    distance: float
    """The Euclidean norm of all differences, relative to the reference's own norm."""


def agreement(reference: npt.NDArray[np.floating], candidate: npt.NDArray[np.floating]) -> Agreement:
    """Compare two arrays of one shape. A NaN anywhere counts as an infinite difference.

    For a reference a and a candidate b, `relative_error` is max|a - b| / max(1, max|a|): it is absolute for small
    outputs and relative for large outputs. `distance` is ‖a - b‖ / ‖a‖ (Euclidean norms): it is relative for all
    outputs.

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
    """Raise a ParityError when the relative error of `found` is above `tolerance`."""
    if not found.relative_error <= tolerance:
        raise ParityError(
            f"{what}: outputs differ by {found.relative_error:.2e}, more than the tolerance of {tolerance:.0e}; nothing was "
            f"shipped. If the difference is expected, raise stages.export.tolerance"
        )


def require_nearness(found: Agreement, tolerance: float, *, what: str) -> None:
    """Raise a ParityError when the distance of `found` is above `tolerance`, the most that fewer bits explain."""
    if not found.distance <= tolerance:
        raise ParityError(
            f"{what}: outputs differ from PyTorch's by {found.distance:.0%} of their own size, but fewer bits explain at most "
            f"{tolerance:.0%}; nothing was shipped. Ask for another target.precision.mode"
        )

"""Describe what a cascade was found to do. Light: no torch."""

from edgeprune.base.strict_yaml import Frozen

__all__ = ["CascadeRow", "SplitRow"]


class SplitRow(Frozen):
    """Record what the first stage does on one split."""

    rows: int
    answered: float
    """Share of the rows that the first stage answers."""
    lost: float
    """Accuracy lost against the encoder alone; negative: won."""


class CascadeRow(Frozen):
    """Record when a first stage answers, what that was allowed to cost, and what it cost."""

    limit: float
    """Accuracy that the cascade may lose against the encoder alone, on new texts."""
    confidence: float
    """The probability that no more is lost."""
    threshold: float | None
    """The smallest margin of an answer of the first stage: its largest logit minus the second largest. None: no threshold
    was sure enough, and the encoder answers everything."""
    selection: SplitRow
    """What the threshold was chosen by."""
    test: SplitRow

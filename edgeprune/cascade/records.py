"""Describe what a cascade was found to do. Light: no torch."""

from edgeprune.base.strict_yaml import Frozen

__all__ = ["CascadeRow", "PromiseRow", "SplitRow"]


class SplitRow(Frozen):
    """Record what the first stage does on one split."""

    rows: int
    answered: float
    """Share of the rows that the first stage answers."""
    lost: float
    """Accuracy lost against the encoder alone; negative: won."""


class PromiseRow(Frozen):
    """Record what a cascade may lose against a model on new texts."""

    limit: float
    """Accuracy."""
    confidence: float
    """The probability that no more is lost."""


class CascadeRow(Frozen):
    """Record when a first stage answers, what that was allowed to cost, and what it cost."""

    than_encoder: PromiseRow
    """What may be lost against the encoder alone."""
    than_dense: PromiseRow | None
    """What may be lost against the dense model, encoder and first stage together; None: no search asks for it."""
    threshold: float | None
    """The smallest margin of an answer of the first stage: its largest logit minus the second largest. None: no threshold
    was sure enough, and the encoder answers everything."""
    selection: SplitRow
    """What the threshold was chosen by."""
    test: SplitRow

"""Write changes of a metric as people read them: points for shares, and another metric's own unit."""

__all__ = ["change_words", "is_share", "signed_change"]

_SHARES = ("accuracy", "masked_accuracy", "f1", "micro_f1")
"""Metrics that are shares: their changes are told in points, hundredths of the whole."""


def is_share(name: str) -> bool:
    """Tell whether a metric is a share of the rows, so that its changes are told in points."""
    return name in _SHARES


def change_words(name: str, change: float) -> str:
    """Write by how much a metric changed, with its sign: points of a share, another metric's own unit."""
    return f"{signed_change(name, change)} points" if is_share(name) else signed_change(name, change)


def signed_change(name: str, change: float) -> str:
    """Write the number of a change with its sign. A change of nothing is +0, not -0."""
    scaled, places = (100 * change, 1) if is_share(name) else (change, 4)
    return f"{round(scaled, places) + 0.0:+.{places}f}"

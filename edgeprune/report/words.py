"""Write figures as people read them: three digits, points for shares, and the terms that a reader knows."""

import math
from collections.abc import Sequence

from edgeprune.base.metric_words import is_share, signed_change

__all__ = [
    "amount",
    "budget_words",
    "change_interval",
    "marked_verdict",
    "megabytes",
    "metric_title",
    "milliseconds",
    "span",
    "times",
    "value_words",
]

_TITLES = {
    "accuracy": "accuracy",
    "masked_accuracy": "accuracy of masked words",
    "f1": "F1",
    "micro_f1": "micro-F1",
    "spearman": "Spearman's rho",
    "cosine_to_dense": "cosine to the dense model",
}


_UNITS = {"_ms": " ms", "_mb": " MB"}
"""Units by the ending of a budget's name. Megabytes are 10^6 bytes."""
_VERDICTS = {"pass": "✓ pass", "fail": "✗ fail", "inconclusive": "? can’t tell", "not_measured": "– not measured"}


def amount(value: float) -> str:
    """Write a number with three digits that count, and without zeros at its end: 8.3, 90.9, 1,240."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def milliseconds(value: float | None) -> str:
    """Write a time in ms; a time that wasn't measured is a dash."""
    return "–" if value is None else f"{amount(value)} ms"


def megabytes(count: float) -> str:
    """Write a number of bytes in MB, which are 10^6 bytes."""
    size = count / 1e6
    return f"{size:,.1f} MB" if size >= 1 else f"{amount(size)} MB"


def times(ratio: float) -> str:
    """Write how many times one figure is another, at least 1: 1.25, 6.7, 5, 12."""
    text = f"{ratio:.2f}" if ratio < 1.95 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def budget_words(name: str, value: float | None, digits: int = 4) -> str:
    """Write a limit of a budget, or what was measured against it, in the unit that the budget's name ends with.

    Drops of a metric, recalls and ratios have no unit. What wasn't measured is a dash.
    """
    if value is None:
        return "–"
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
    return f"{value:.{digits}g}{unit}"


def metric_title(name: str) -> str:
    """Give a metric's name as it is written in a sentence."""
    return _TITLES.get(name, name.replace("_", " "))


def value_words(name: str, value: float) -> str:
    """Write a metric's value: a share in percent, another metric as it is."""
    return f"{100 * value:.1f}%" if is_share(name) else f"{value:.4f}"


def change_interval(name: str, drop_interval: Sequence[float] | None) -> str:
    """Write the interval of a metric's change in brackets, from the interval of its drop; empty if there is none."""
    if drop_interval is None:
        return ""
    low, high = drop_interval
    return f"[{signed_change(name, -high)}, {signed_change(name, -low)}]"


def span(interval: Sequence[float] | None) -> str:
    """Write an interval in brackets; empty if there is none."""
    return f"[{amount(interval[0])}, {amount(interval[1])}]" if interval else ""


def marked_verdict(verdict: str) -> str:
    """Write a verdict with a sign that is seen without its colour."""
    return _VERDICTS[verdict]

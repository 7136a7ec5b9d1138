"""Choose from when on a first stage may answer, so that with a given confidence it costs no more than a limit on new texts.

The limit is on accuracy lost: the share of texts that the encoder alone labels rightly and the cascade wrongly, minus the
share of the opposite. Thresholds are tested from one that answers few texts to one that answers many, each at the whole
level, and the last one before the first failure is taken: fixed-sequence testing, as in Learn then Test (Angelopoulos,
Bates, Candès, Jordan and Lei, https://arxiv.org/abs/2110.01052). The probability that the taken one costs more than the
limit is at most 1 - confidence, over the draw of the rows.

A test asks whether paired answers show non-inferiority. Few rows change sides, so the p-value is exact, not from a bound
for any loss in [-1, 1], which takes more than twice as many rows: the largest probability of a statistic as small as the
observed one, over the confidence interval of the share of rows that change sides (Berger and Boos, JASA 89, 1994; for
paired answers Liu, Hsueh, Hsieh and Chen, Statistics in Medicine 21, 2002).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Promise", "candidates", "choose_threshold", "p_value"]

Numbers = npt.NDArray[np.generic]
Truths = npt.NDArray[np.bool_]

_OUTSIDE = 0.001
"""The probability that the share of rows that change sides is outside its interval; it is added to the p-value."""
_CANDIDATES = 50
"""Thresholds that may be tested."""
_BESIDE = 1e-4
"""How far a threshold lies above a margin. A text that was learned from may come again, and which stage answers it must not depend on how
a CPU rounds."""
_SHARES = 33
"""Shares in the interval at which the probability is computed."""


def p_value(lost: int, won: int, rows: int, limit: float) -> float:
    """Compute how probable such a result or a better one is, at most, if more than the limit is lost on new rows.

    Args:
        lost: Rows that the encoder alone labels rightly and the cascade wrongly.
        won: Rows that the cascade labels rightly and the encoder alone wrongly.
        rows: All rows.
        limit: The accuracy that may be lost, above 0.
    """
    from scipy.stats import beta, binom

    changed = lost + won
    low = beta.ppf(_OUTSIDE / 2, changed, rows - changed + 1) if changed else 0.0
    high = beta.ppf(1 - _OUTSIDE / 2, changed + 1, rows - changed) if changed < rows else 1.0
    # As many rows change sides as are lost beyond the limit at least, so no smaller variance than that is believed.
    observed = (lost - won - rows * limit) / np.sqrt(max(changed, rows * limit))
    # Given how many rows change sides, lost ones among them are binomial; the statistic grows with them.
    counts = np.arange(rows + 1)
    most = np.floor((counts + rows * limit + observed * np.sqrt(np.maximum(counts, rows * limit))) / 2 + 1e-9)
    share = np.linspace(max(low, limit), max(high, limit), _SHARES)[:, None]
    given = binom.cdf(np.minimum(most, counts), counts, (1 + limit / share) / 2)
    return min(1.0, float((binom.pmf(counts, rows, share) * given).sum(1).max()) + _OUTSIDE)


@dataclass(frozen=True)
class Promise:
    """Say what a cascade may lose against a model, and how sure that must be."""

    than: Truths
    """Which rows the model labels rightly, [rows]."""
    limit: float
    """The accuracy that may be lost on new rows, above 0."""
    confidence: float
    """The probability that no more is lost."""

    def holds(self, right: Truths) -> bool:
        """Tell whether a cascade that labels these rows rightly keeps the promise, [rows]."""
        lost, won = (int(np.sum(one & ~other)) for one, other in ((self.than, right), (right, self.than)))
        return p_value(lost, won, len(right), self.limit) <= 1 - self.confidence


def candidates(learned: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """List the margins that may be thresholds: quantiles over what was learned from, so that they depend on no other row.

    Args:
        learned: The margins of the rows that the first stage learned from.
    """
    return np.asarray(np.quantile(learned, np.linspace(0, 1, _CANDIDATES)) + _BESIDE)


def choose_threshold(
    margins: Numbers, stages: tuple[Truths, Truths], candidates: Numbers, promises: Sequence[Promise]
) -> float | None:
    """Choose the smallest margin that the first stage may answer with.

    Args:
        margins: How sure the first stage is of each row, [rows]. It was not trained on these rows.
        stages: Which rows the first stage and which rows the encoder labels rightly, [rows] each.
        candidates: The margins to test. They must not depend on these rows.
        promises: What must hold. Each one is tested at its own level, so each holds with its own confidence.

    Returns:
        One of the candidates; None: not even the largest one passes, or the smallest that does answers no row.
    """
    first, encoder = stages
    chosen = None
    for candidate in sorted(set(np.asarray(candidates).tolist()), reverse=True):
        early = margins >= candidate
        right = np.where(early, first, encoder)
        if not all(promise.holds(right) for promise in promises):
            break
        chosen = candidate if early.any() else None
    return chosen

"""Turn latency samples into percentiles and intervals, with pure functions over raw samples.

A percentile is given only if there are enough samples to claim it with 99% confidence (MLPerf LoadGen's rule): 16 for
p50, 64 for p90, 130 for p95, 662 for p99. Each process must also be long enough: 7 samples for p90, 14 for p95, 70 for
p99.

Fresh processes differ more than runs inside one process, so a process is one observation. A percentile is computed for
each process, and the median over processes is given. The estimate for a process is the one whose median is right for
every distribution (Hyndman and Fan, The American Statistician 50, 1996, definition 8).

The interval of a percentile comes from the sign test: it lies between order statistics of processes (Conover, Practical
Nonparametric Statistics, ch. 3.2). It assumes that processes are independent. It assumes nothing about how times are
distributed or depend on each other inside a process. A bootstrap over a handful of processes would give an interval
that is too narrow.

If a budget lies inside an interval, more processes may be run, and the interval is looked at again, at most `LOOKS`
times. Each look is at `LEVEL`, so that all looks together hold with 95% (Bonferroni). With fewer than
`FEWEST_PROCESSES` no interval is that sure.
"""

import math
from collections.abc import Sequence

__all__ = [
    "FEWEST_PROCESSES",
    "LEVEL",
    "LOOKS",
    "MINIMUM_SAMPLES",
    "STEADY",
    "drift",
    "mean",
    "mean_interval",
    "order_interval",
    "percentile",
    "percentile_interval",
    "process_ratio",
    "ratio_interval",
]

MINIMUM_SAMPLES = {50: 16, 90: 64, 95: 130, 99: 662}
"""The smallest number of samples, in all processes together, from which each percentile may be claimed."""

LOOKS = 3
"""How often an interval may be looked at."""
LEVEL = 1 - 0.05 / LOOKS
"""The confidence of an interval at a single look."""
FEWEST_PROCESSES = 7
"""The smallest number of processes that allows an interval at `LEVEL`. The median lies between the smallest and the
largest of seven values with a probability of 1 - 2 · 0.5^7 = 98.4%."""


_TAIL = 0.7
"""How many samples of a process should lie beyond a percentile. With fewer, the estimate is about the largest
sample."""

STEADY = 0.05
"""Largest share by which the second half of a process's samples may differ from the first half."""


def percentile(samples_ms: Sequence[Sequence[float]], q: int) -> float | None:
    """Compute the q-th percentile of each process, and give the median over processes.

    Args:
        samples_ms: One sequence of samples for each process, in ms.
        q: 50, 90, 95 or 99.

    Returns:
        The percentile in ms. None if there are too few samples.
    """
    import numpy as np

    taken = [len(process) for process in samples_ms if process]
    if sum(taken) < MINIMUM_SAMPLES[q] or min(taken) * (100 - q) < 100 * _TAIL:
        return None
    return float(np.median(_by_process(samples_ms, q)))


def percentile_interval(samples_ms: Sequence[Sequence[float]], q: int) -> tuple[float, float] | None:
    """Compute the interval of `percentile` at `LEVEL`. None if there are too few processes or samples."""
    return None if percentile(samples_ms, q) is None else order_interval(_by_process(samples_ms, q), LEVEL)


def mean(samples_ms: Sequence[Sequence[float]]) -> float | None:
    """Compute the mean of each process in ms, and give the median over processes. None: too few samples, as for p50."""
    import numpy as np

    enough = sum(map(len, samples_ms)) >= MINIMUM_SAMPLES[50]
    return float(np.median(_means(samples_ms))) if enough else None


def mean_interval(samples_ms: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """Compute the interval of `mean` at `LEVEL`. None if there are too few processes or samples."""
    return None if mean(samples_ms) is None else order_interval(_means(samples_ms), LEVEL)


def order_interval(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """Compute an interval of the median from independent values, whatever their distribution.

    Args:
        values: Independent values that are drawn around the median.
        level: The interval's confidence, from 0 to 1.

    Returns:
        The interval. None if there are too few values.
    """
    from scipy.stats import quantile_test

    interval = quantile_test(values, p=0.5).confidence_interval(level)
    return None if math.isnan(interval.low) else (float(interval.low), float(interval.high))


def drift(samples_ms: Sequence[Sequence[float]]) -> float | None:
    """Compute the share by which a run in the second half of a process is slower than in the first half.

    Every second process takes the same inputs backwards, so each input was run in a first half and in a second half.
    Two processes may have different speeds. That difference has opposite signs in the two medians, so their mean is
    free of it.

    Args:
        samples_ms: One sequence of samples for each process, in ms, in the order in which they were taken.

    Returns:
        The share. None if there is only one process.
    """
    import numpy as np

    forwards, backwards = [], []
    for one, other in zip(samples_ms[::2], samples_ms[1::2], strict=False):
        middle = len(one) // 2
        ratios = np.log(np.asarray(other[::-1]) / np.asarray(one))
        forwards += list(ratios[:middle])
        backwards += list(-ratios[len(one) - middle :])
    if not forwards:
        return None
    return float(np.exp((np.median(forwards) + np.median(backwards)) / 2)) - 1


def _by_process(samples_ms: Sequence[Sequence[float]], q: int) -> list[float]:
    import numpy as np

    return [float(np.percentile(process, q, method="median_unbiased")) for process in samples_ms if process]


def _means(samples_ms: Sequence[Sequence[float]]) -> list[float]:
    import numpy as np

    return [float(np.mean(process)) for process in samples_ms if process]


def process_ratio(
    a_ms: Sequence[Sequence[float]], b_ms: Sequence[Sequence[float]], *, block: int
) -> tuple[float, tuple[float, float] | None]:
    """Compute how many times as long as `b` `a` takes: the median over processes of the median ratio of turns.

    Args:
        a_ms: One sequence of samples for each process, in ms.
        b_ms: Samples of the same processes, with the same lengths. The two took turns.
        block: Samples in one turn.

    Returns:
        The ratio, and its interval at `LEVEL` over processes. The interval is None if there are too few processes.
    """
    import numpy as np

    ratios = [float(np.median(_turns(ours, theirs, block))) for ours, theirs in zip(a_ms, b_ms, strict=True)]
    return float(np.median(ratios)), order_interval(ratios, LEVEL)


def ratio_interval(
    a_ms: Sequence[Sequence[float]], b_ms: Sequence[Sequence[float]], *, block: int
) -> tuple[float, tuple[float, float] | None]:
    """Compute how many times as long as `b` `a` takes: the median ratio of turns, and its 95% interval.

    The two took turns of `block` samples on the same inputs, so turns that met the same disturbance are compared. The
    interval is over turns, as if processes didn't differ. It is meant for races, which have too few processes for an
    interval over processes.

    Args:
        a_ms: One sequence of samples for each process, in ms.
        b_ms: Samples of the same processes, with the same lengths.
        block: Samples in one turn.

    Returns:
        The ratio, and its interval. The interval is None if there are fewer than six turns (`profiles.pipeline.FEWEST_TURNS`).
    """
    import numpy as np

    turns = [turn for ours, theirs in zip(a_ms, b_ms, strict=True) for turn in _turns(ours, theirs, block)]
    return float(np.median(turns)), order_interval(turns, 0.95)


def _turns(a_ms: Sequence[float], b_ms: Sequence[float], block: int) -> list[float]:
    """Compute the ratio of the medians in each turn."""
    import numpy as np

    starts = range(0, len(a_ms), block)
    return [float(np.median(a_ms[start : start + block]) / np.median(b_ms[start : start + block])) for start in starts]

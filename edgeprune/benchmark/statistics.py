"""Latency samples to percentiles and intervals; pure functions over raw samples.

A percentile is refused below the number of samples that lets it be claimed with 99% confidence (MLPerf LoadGen's
rule): p50 16, p90 64, p95 130, p99 662; and where processes are too short to hold it: 7 samples in each for p90, 14 for
p95, 70 for p99.

Fresh processes differ more than runs inside one, so a process is one observation: a percentile is the median over
processes of each one's own, estimated so that its median is right whatever the distribution (Hyndman and Fan, The American
Statistician 50, 1996, definition 8). Its interval is the sign test's, between order statistics of processes (Conover, Practical
Nonparametric Statistics, ch. 3.2): it assumes that processes are independent, nothing of how times are distributed or hang
together inside one. The bootstrap over a handful of processes would be too narrow.

A budget that lies inside an interval may be asked for again with more processes, `LOOKS` times at most. Each look is at
`LEVEL`, so that all of them together hold 95% (Bonferroni); below `FEWEST_PROCESSES` no interval is that sure.
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
    "order_interval",
    "percentile",
    "percentile_interval",
    "process_ratio",
    "ratio_interval",
]

MINIMUM_SAMPLES = {50: 16, 90: 64, 95: 130, 99: 662}
"""Percentile to the fewest samples, of all processes together, that it may be claimed from."""

LOOKS = 3
LEVEL = 1 - 0.05 / LOOKS
FEWEST_PROCESSES = 7
"""The smallest and the largest of so many hold the median with a probability of 1 - 2 · 0.5^7 = 98.4%."""


_TAIL = 0.7
"""Samples of a process that should lie beyond a percentile: about where the estimate stops being the largest sample."""

STEADY = 0.05
"""Largest share by which the second half of a process's samples may differ from its first."""


def percentile(samples_ms: Sequence[Sequence[float]], q: int) -> float | None:
    """The q-th percentile of a process, in ms, median over processes; None when there are too few samples.

    Args:
        samples_ms: One sequence of samples a process, in ms.
        q: 50, 90, 95 or 99.
    """
    import numpy as np

    taken = [len(process) for process in samples_ms if process]
    if sum(taken) < MINIMUM_SAMPLES[q] or min(taken) * (100 - q) < 100 * _TAIL:
        return None
    return float(np.median(_by_process(samples_ms, q)))


def percentile_interval(samples_ms: Sequence[Sequence[float]], q: int) -> tuple[float, float] | None:
    """The interval of `percentile` at `LEVEL`; None for too few processes or samples."""
    return None if percentile(samples_ms, q) is None else order_interval(_by_process(samples_ms, q), LEVEL)


def order_interval(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """A distribution-free interval of the median that independent values are drawn around; None for too few of them."""
    from scipy.stats import quantile_test

    interval = quantile_test(values, p=0.5).confidence_interval(level)
    return None if math.isnan(interval.low) else (float(interval.low), float(interval.high))


def drift(samples_ms: Sequence[Sequence[float]]) -> float | None:
    """By which share a run in the second half of a process is slower than in the first; None for a single process.

    Every second process takes the same inputs backwards, so each input was run in a first and in a second half. Processes
    whose own speeds differ do so in both directions, and the two medians' mean doesn't hold it.
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


def process_ratio(
    a_ms: Sequence[Sequence[float]], b_ms: Sequence[Sequence[float]], *, block: int
) -> tuple[float, tuple[float, float] | None]:
    """How many times as long as `b` does `a` take: of each process the median ratio of turns, and their median.

    Args:
        a_ms: One sequence of samples a process, in ms.
        b_ms: As many, of the same lengths, taken by turns in the same processes.
        block: Samples in one turn.

    Returns:
        The ratio, and its interval at `LEVEL` over processes; None for too few of them.
    """
    import numpy as np

    ratios = [float(np.median(_turns(ours, theirs, block))) for ours, theirs in zip(a_ms, b_ms, strict=True)]
    return float(np.median(ratios)), order_interval(ratios, LEVEL)


def ratio_interval(
    a_ms: Sequence[Sequence[float]], b_ms: Sequence[Sequence[float]], *, block: int
) -> tuple[float, tuple[float, float] | None]:
    """How many times as long as `b` does `a` take: the median ratio of turns, and its 95% interval.

    The two took turns, `block` samples each on the same inputs: turns that met the same disturbance are compared. The
    interval is over turns, as if processes didn't differ: for races, in which there are too few of them. None for fewer
    than `FEWEST_TURNS`.

    Args:
        a_ms: One sequence of samples a process, in ms.
        b_ms: As many, of the same lengths.
        block: Samples in one turn.
    """
    import numpy as np

    turns = [turn for ours, theirs in zip(a_ms, b_ms, strict=True) for turn in _turns(ours, theirs, block)]
    return float(np.median(turns)), order_interval(turns, 0.95)


def _turns(a_ms: Sequence[float], b_ms: Sequence[float], block: int) -> list[float]:
    """The ratio of medians, by turn."""
    import numpy as np

    starts = range(0, len(a_ms), block)
    return [float(np.median(a_ms[start : start + block]) / np.median(b_ms[start : start + block])) for start in starts]

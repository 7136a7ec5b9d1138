"""Latency samples to percentiles and intervals; pure functions over raw samples.

A percentile is refused below the number of samples that lets it be claimed with 99% confidence (MLPerf LoadGen's
rule): p50 16, p90 64, p95 130, p99 662. Fresh processes differ more than runs inside one, so the interval resamples
processes, not runs.
"""

from collections.abc import Sequence

from edgeprune.config import Frozen

__all__ = ["MINIMUM_SAMPLES", "DeviceRow", "LatencyRow", "percentile", "percentile_interval", "ratio_interval"]

MINIMUM_SAMPLES = {50: 16, 90: 64, 95: 130, 99: 662}
"""Percentile to the fewest samples it may be claimed from."""

_RESAMPLES = 1000


class DeviceRow(Frozen):
    """What latencies were measured on, as the agent saw it; None where the device doesn't tell."""

    arch: str
    isa: tuple[str, ...]
    cpu: str | None
    cores: int | None
    system: str
    python: str
    onnxruntime: str


class LatencyRow(Frozen):
    """One model's latency on the target; None where it was not measured or can't be claimed."""

    artifact: str
    """`dense-fp32`, `dense` (the dense model in the result's precision) or `final`."""
    provider: str
    threads: int
    batch_size: int
    lengths: str
    """`data`, or the fixed number of tokens."""
    samples: int
    p50_ms: float | None
    p90_ms: float | None
    p50_interval_ms: tuple[float, float] | None
    p90_interval_ms: tuple[float, float] | None
    peak_memory_mb: float | None
    """Of a fresh process that runs this model alone, its imports included."""


def percentile(samples_ms: Sequence[Sequence[float]], q: int) -> float | None:
    """The q-th percentile of all samples, in ms; None when there are too few.

    Args:
        samples_ms: One sequence of samples a process, in ms.
        q: 50, 90, 95 or 99.
    """
    import numpy as np

    pooled = np.concatenate([np.asarray(process, dtype=float) for process in samples_ms])
    if pooled.size < MINIMUM_SAMPLES[q]:
        return None
    return float(np.percentile(pooled, q))


def percentile_interval(samples_ms: Sequence[Sequence[float]], q: int, *, seed: int = 0) -> tuple[float, float] | None:
    """95% bootstrap interval of the q-th percentile, over processes; None for fewer than two, or too few samples."""
    import numpy as np

    if len(samples_ms) < 2 or percentile(samples_ms, q) is None:
        return None
    generator = np.random.default_rng(seed)
    processes = [np.asarray(process, dtype=float) for process in samples_ms]
    values = [
        np.percentile(
            np.concatenate([processes[i] for i in generator.integers(len(processes), size=len(processes))]), q
        )
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def ratio_interval(
    a_ms: Sequence[Sequence[float]], b_ms: Sequence[Sequence[float]], *, block: int
) -> tuple[float, tuple[float, float] | None]:
    """How many times as long as `b` does `a` take: the median ratio of turns, and its 95% interval.

    The two took turns, `block` samples each on the same inputs: turns that met the same disturbance are compared. The
    interval is the sign test's, distribution-free, between order statistics (Conover, Practical Nonparametric Statistics,
    ch. 3.2); None for fewer than six turns, which allow none.

    Args:
        a_ms: One sequence of samples a process, in ms.
        b_ms: As many, of the same lengths.
        block: Samples in one turn.
    """
    import numpy as np
    from scipy.stats import binom

    turns = sorted(
        float(np.median(ours[start : start + block]) / np.median(theirs[start : start + block]))
        for ours, theirs in zip(a_ms, b_ms, strict=True)
        for start in range(0, len(ours), block)
    )
    left_out = int(binom.ppf(0.025, len(turns), 0.5))
    interval = (turns[left_out - 1], turns[-left_out]) if left_out > 0 else None
    return float(np.median(turns)), interval

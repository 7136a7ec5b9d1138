"""Make rows of searches, with the figures that a test is about and unremarkable ones elsewhere."""

from edgeprune.benchmark.records import LatencyRow
from edgeprune.search.frontier import RungRow

__all__ = ["latency_row", "rung_row"]


def latency_row(p50_ms: float, interval_ms: tuple[float, float] | None = None) -> LatencyRow:
    return LatencyRow(
        artifact="rung",
        provider="CPUExecutionProvider",
        threads=1,
        batch_size=1,
        lengths="data",
        samples=256,
        p50_ms=p50_ms,
        p90_ms=1.5 * p50_ms,
        p50_interval_ms=interval_ms,
        p90_interval_ms=interval_ms and (1.5 * interval_ms[0], 1.5 * interval_ms[1]),
        peak_memory_mb=100.0,
    )


def rung_row(
    name: str, *, speedup: float, p50_ms: float | None, metric: float, keeps: bool = True, size_mb: float = 10.0
) -> RungRow:
    return RungRow(
        name=name,
        speedup=speedup,
        refined=False,
        predicted_p50_ms=p50_ms,
        dense_p50_ms=p50_ms and 4.0,
        p50_ms=p50_ms,
        p50_interval_ms=None,
        p90_ms=None,
        p90_interval_ms=None,
        peak_memory_mb=None,
        size_mb=size_mb,
        metric=metric,
        drop=0.9 - metric,
        drop_interval=(0.88 - metric, 0.92 - metric),
        parameters=1000,
        heads=(2, 2),
        neurons=(64, 64),
        layers=2,
        keeps=keeps,
        why="reason",
        checkpoint="0" * 64,
        duration_s=1.0,
    )

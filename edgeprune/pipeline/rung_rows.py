"""Read what was found of a rung out of its artifacts, and make the row that a search reports."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.benchmark.records import LatencyRow
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.pipeline.run import Done
from edgeprune.pipeline.rungs import RungNodes
from edgeprune.pipeline.stages.benchmark import read_latency
from edgeprune.search.frontier import RungRow
from edgeprune.search.hidden_costs import sizes_of
from edgeprune.search.limits import Held
from edgeprune.store.files import total_bytes
from edgeprune.store.records import Metric

__all__ = ["Figures", "row_of", "what_is_left"]

_BESIDE_MB = 0.1
"""About the size of what a package holds beside its graph and its reader."""


@dataclass(frozen=True)
class Figures:
    """Hold what was measured of a rung."""

    record: PruningRecord
    """What is left of the dense model."""
    metric: Metric
    """The metric on the selection split, with its drop."""
    parameters: int
    size_mb: float
    """About the size of its package."""
    latency: LatencyRow | None
    """None: the target can't be measured."""
    dense_p50_ms: float | None
    """The dense model's median in the same turns."""
    checkpoint: str
    """Key of the checkpoint's artifact."""

    @classmethod
    def read(
        cls, nodes: RungNodes, done: Mapping[str, Done], whole: PruningRecord, *, first_stage_bytes: int
    ) -> "Figures":
        """Read the artifacts of a rung.

        Args:
            nodes: The rung's nodes.
            done: The results of nodes, by id.
            whole: The record of the dense model, which a dense checkpoint has not.
            first_stage_bytes: Size of the first stage that the package is going to have; 0: it has none.
        """
        checkpoint, graph = done[nodes.checkpoint.id].artifact, done[nodes.graph.id].artifact
        metrics = graph.manifest.metrics
        assert metrics.metric is not None and metrics.parameters is not None  # noqa: S101, PT018 (quantize measures all)
        assert metrics.model_bytes is not None  # noqa: S101
        rows = [] if nodes.measured is None else read_latency(done[nodes.measured.id].artifact)
        size_bytes = metrics.model_bytes + total_bytes([graph.file("reader")]) + first_stage_bytes
        return cls(
            record=read_pruning(checkpoint.file("checkpoint")) or whole,
            metric=metrics.metric,
            parameters=metrics.parameters,
            size_mb=size_bytes / 1e6 + _BESIDE_MB,
            latency=rows[-1] if rows else None,
            dense_p50_ms=rows[0].p50_ms if rows else None,
            checkpoint=checkpoint.manifest.key,
        )


def row_of(
    name: str,
    figures: Figures,
    held: Held,
    whole: PruningRecord,
    *,
    hidden_size: int,
    speedup: float,
    refined: bool,
    predicted_p50_ms: float | None,
    duration_s: float,
) -> RungRow:
    """Make the row of a rung; the arguments are named as its fields."""
    left = {layer.index: layer for layer in figures.record.layers}
    latency, metric = figures.latency, figures.metric
    assert metric.drop is not None and metric.drop_interval is not None  # noqa: S101, PT018 (rungs are compared)
    return RungRow(
        name=name,
        speedup=speedup,
        refined=refined,
        predicted_p50_ms=predicted_p50_ms,
        dense_p50_ms=figures.dense_p50_ms,
        p50_ms=latency and latency.p50_ms,
        p50_interval_ms=latency and latency.p50_interval_ms,
        p90_ms=latency and latency.p90_ms,
        p90_interval_ms=latency and latency.p90_interval_ms,
        peak_memory_mb=latency and latency.peak_memory_mb,
        size_mb=round(figures.size_mb, 3),
        metric=metric.value,
        drop=metric.drop,
        drop_interval=metric.drop_interval,
        parameters=figures.parameters,
        heads=tuple(len(left[layer.index].heads) if layer.index in left else 0 for layer in whole.layers),
        neurons=tuple(len(left[layer.index].neurons) if layer.index in left else 0 for layer in whole.layers),
        layers=len(left),
        hidden_size=hidden_size,
        keeps=held.keeps,
        why=held.why,
        checkpoint=figures.checkpoint,
        duration_s=round(duration_s, 1),
    )


def what_is_left(row: RungRow, whole: PruningRecord, *, hidden_size: int) -> str:
    """Say in words what is left of the dense model, which has the layers in `whole` and a hidden size."""
    heads, neurons = (sum(counts) for counts in zip(*sizes_of(whole), strict=True))
    words = [f"{sum(row.heads)} of {heads} heads", f"{sum(row.neurons):,} of {neurons:,} neurons"]
    if row.layers < len(whole.layers):
        words.append(f"{row.layers} of {len(whole.layers)} layers")
    if row.hidden_size is not None and row.hidden_size < hidden_size:
        words.append(f"hidden size {row.hidden_size} of {hidden_size}")
    return ", ".join(words)

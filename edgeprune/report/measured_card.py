"""Add what a build measured to its package's model card.

The package's own card holds only what the build's inputs determine, so that the same inputs give the same bytes. A time is a
measurement, and no part of the package. The card with times lies beside it, for the hub:

    dist/<package>/README.md      the package's own card
    dist/<package>.card.md        the same with times and their intervals, in its text and in its model-index
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from edgeprune.base.markdown import literal
from edgeprune.benchmark.records import LatencyRow
from edgeprune.report.device_words import device_words, workload_words
from edgeprune.report.figures import figures_table
from edgeprune.report.headline import final_latency
from edgeprune.report.records import BuildReport

__all__ = ["CARD_SUFFIX", "measured_card"]

CARD_SUFFIX = "card.md"
"""What the file beside the package ends in."""

_TIMES = ("mean", "p50", "p90", "p95", "p99")


def measured_card(card: str, report: BuildReport) -> str:
    """Add a build's times, and the size of its package, to the package's card."""
    from huggingface_hub import ModelCard, ModelCardData

    read = ModelCard(card)
    data = read.data
    assert isinstance(data, ModelCardData)  # noqa: S101 (the class that a model's card makes)
    assert data.eval_results  # noqa: S101 (a package's card always has its metric)
    final = final_latency(report)
    data.eval_results += [
        dataclasses.replace(data.eval_results[0], metric_type=name, metric_value=value, metric_args=args)
        for name, value, args in _measured(report, final)
    ]
    return f"{read.content.rstrip()}\n\n{_section(report, final)}\n"


def _measured(report: BuildReport, row: LatencyRow | None) -> Iterator[tuple[str, float, dict[str, Any] | None]]:
    """Give the size, and every time that was measured, with its interval and with where and how it was measured."""
    yield "package_size_mb", report.package.size_bytes / 1e6, None
    if row is None:
        return
    device = None if report.device is None else report.device.cpu
    where = {
        "device": device or report.target,
        "provider": row.provider,
        "threads": row.threads,
        "batch_size": row.batch_size,
        "samples": row.samples,
    }
    for name in _TIMES:
        value, interval = getattr(row, f"{name}_ms"), getattr(row, f"{name}_interval_ms")
        if value is not None:
            sure = {} if interval is None else {"interval_95": [round(end, 4) for end in interval]}
            yield f"latency_{name}_ms", round(value, 4), where | sure


def _section(report: BuildReport, final: LatencyRow | None) -> str:
    sentences = [device_words(report), *([] if final is None else [workload_words(final)])]
    return f"## Measured\n\n{literal(' '.join(sentences))}\n\n{figures_table(report)}"

"""Draw how long runs took: each model's distribution, its median and p90 with their intervals, and the budgets."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgeprune.benchmark.records import LatencyRow
from edgeprune.report.records import BuildReport
from edgeprune.report.svg import COLOURS, as_svg, new_figure, styled
from edgeprune.report.words import amount, milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["GRAPH_COLOURS", "Samples", "graph_names", "latency_budgets", "latency_plot"]

Samples = Mapping[str, Sequence[Sequence[float]]]
"""Times of runs in ms by model, one sequence for each process."""

GRAPH_COLOURS = {
    "dense-fp32": COLOURS["dense"],
    "dense": COLOURS["quantized"],
    "encoder": COLOURS["s3"],
    "final": COLOURS["package"],
}
"""The colour of each graph that a benchmark times."""

_BINS = 110
_RIDGE = 0.5
"""Height of the highest bin, where rows are 1 apart."""
_BUDGETS = {"latency_p50_ms": "p50", "latency_p90_ms": "p90"}


def graph_names(report: BuildReport) -> dict[str, str]:
    """Name the graphs that a benchmark times, as people read them."""
    encoder = {"encoder": "Package without its first stage"}
    if report.variant is None:
        return {
            "dense-fp32": "Dense, fp32",
            "dense": "Dense, in the package's precision",
            **encoder,
            "final": "Package",
        }
    precision = report.variant.precision.words
    return {"dense-fp32": "Dense, fp32", "dense": f"Dense, {precision}", **encoder, "final": f"Package, {precision}"}


def latency_budgets(report: BuildReport) -> dict[str, float]:
    """Give the budgets of a run's time, in ms, by percentile."""
    return {_BUDGETS[row.name]: row.limit for row in report.budget if row.name in _BUDGETS}


def latency_plot(report: BuildReport, samples: Samples) -> Markup | None:
    """Draw the times of the graphs that were timed by turns. None: nothing was timed.

    Args:
        report: The build's report.
        samples: The times of its benchmark; empty: only percentiles are drawn.
    """
    rows = [row for row in report.latency if row.p50_ms is not None]
    if not rows:
        return None
    names, budgets = graph_names(report), latency_budgets(report)
    with styled():
        figure, axes = new_figure(0.65 + 0.72 * (len(rows) + 0.24 * len(budgets)))
        end = _end(rows, samples, budgets)
        for place, row in enumerate(reversed(rows)):
            colour = GRAPH_COLOURS.get(row.artifact, COLOURS["package"])
            _draw_ridge(axes, place, samples.get(row.artifact, ()), end, colour)
            _draw_percentiles(axes, place, row, colour)
            shown = f"{names.get(row.artifact, row.artifact)}: p50 {milliseconds(row.p50_ms)}"
            if row.p90_ms is not None:
                shown += f", p90 {milliseconds(row.p90_ms)}"
            axes.text(
                0.005, place + _RIDGE + 0.13, shown, transform=axes.get_yaxis_transform(), va="bottom", zorder=6,
                bbox={"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 1, "alpha": 0.85},
            )  # fmt: skip
        for number, (name, limit) in enumerate(budgets.items()):
            _draw_budget(axes, f"budget {name}: {amount(limit)} ms", limit, end, number)
        top = len(rows) - 0.08 + 0.24 * len(budgets)
        axes.set(xlim=(0, end), ylim=(-0.25, top), xlabel="time of a run, ms")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        said = "; ".join(f"{names.get(row.artifact, row.artifact)} {milliseconds(row.p50_ms)} at p50" for row in rows)
        return as_svg(figure, "latency", f"Times of runs: {said}")


def _end(rows: Sequence[LatencyRow], samples: Samples, budgets: Mapping[str, float]) -> float:
    """Choose where the axis ends: behind all but the slowest runs, and behind a budget that isn't far away."""
    import numpy as np

    ends = [row.p90_interval_ms[1] if row.p90_interval_ms else row.p90_ms or row.p50_ms or 0 for row in rows]
    for row in rows:
        taken = [ms for process in samples.get(row.artifact, ()) for ms in process]
        ends += [float(np.percentile(taken, 98))] if taken else []
    end = 1.06 * max(ends)
    return max([end, *(1.06 * limit for limit in budgets.values() if limit < 1.6 * end)])


def _draw_ridge(axes: "Axes", place: int, processes: Sequence[Sequence[float]], end: float, colour: str) -> None:
    import numpy as np

    counts, edges = np.histogram([ms for process in processes for ms in process], _BINS, (0, end))
    if counts.any():
        kept = np.flatnonzero(counts)
        first, last = max(0, kept[0] - 1), min(_BINS, kept[-1] + 2)
        heights = place + _RIDGE * counts[first:last] / counts.max()
        axes.fill_between(
            edges[first:last], place, heights, step="post", color=colour, alpha=0.35, linewidth=0, zorder=2
        )


def _draw_percentiles(axes: "Axes", place: int, row: LatencyRow, colour: str) -> None:
    """Draw the median as a dot and p90 as a bar, each with its interval as a line."""
    assert row.p50_ms is not None  # noqa: S101 (rows without a median aren't drawn)
    for value, interval, marker in (
        (row.p50_ms, row.p50_interval_ms, "o"),
        (row.p90_ms, row.p90_interval_ms, "|"),
    ):
        if value is None:
            continue
        if interval:
            axes.plot(interval, [place, place], color=COLOURS["ink"], linewidth=1.6, solid_capstyle="butt", zorder=4)
        axes.plot(
            value,
            place,
            marker,
            color=colour,
            markeredgecolor=COLOURS["ink"],
            markeredgewidth=1,
            markersize=7,
            zorder=5,
        )


def _draw_budget(axes: "Axes", label: str, limit: float, end: float, number: int) -> None:
    """Draw a limit as a line with its label, the `number`th from the top, or say that it lies behind the end of the axis."""
    if limit <= end:
        axes.axvline(limit, color=COLOURS["ink"], linestyle=(0, (4, 3)), linewidth=1, zorder=3)
    left = limit < end / 2
    axes.annotate(
        label if limit <= end else f"{label} →",
        (min(limit, end), 1),
        (4 if left else -4, -12 * number),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if left else "right",
        va="top",
        color=COLOURS["quiet"],
    )

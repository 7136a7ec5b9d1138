"""Draw several builds side by side on the same axes: times, changes of the metric, and sizes, a row for each build."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from markupsafe import Markup

from edgeprune.base.metric_words import change_words, is_share
from edgeprune.base.wording import cut
from edgeprune.report.headline import shipped_metric
from edgeprune.report.latency_plot import GRAPH_COLOURS, latency_budgets
from edgeprune.report.records import BuildReport
from edgeprune.report.svg import COLOURS, LONGEST_LABEL, as_svg, new_figure, styled, use_log_axis
from edgeprune.report.words import megabytes, metric_title, milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["changes_plots", "latencies_plot", "sizes_plot"]

RowT = TypeVar("RowT")

Labelled = Sequence[tuple[str, BuildReport]]
"""Builds, each with the label by which it is told from the others."""

_WIDE = 12
"""How many times the smallest time the largest is, from which on the axis is a logarithmic one."""
_SIGNS = {
    "dense-fp32": ("D", "dense, fp32"),
    "dense": ("s", "dense, in the package's precision"),
    "encoder": ("^", "package without its first stage"),
    "final": ("o", "package"),
}


def latencies_plot(builds: Labelled) -> Markup | None:
    """Draw the median time of every build's graphs, with intervals and budgets. None: no build was timed."""
    values = [row.p50_ms for _, report in builds for row in report.latency if row.p50_ms is not None]
    if not values:
        return None
    with styled():
        figure, axes = _rows([label for label, _ in builds], extra=0.75)
        for place, (_, report) in _from_top(builds):
            timed = [row for row in report.latency if row.artifact in _SIGNS and row.p50_ms is not None]
            if not timed:
                axes.text(0.5, place, "not measured", transform=axes.get_yaxis_transform(), ha="center", va="center",
                          color=COLOURS["quiet"])  # fmt: skip
            for row in timed:
                _draw_interval(axes, place, row.p50_interval_ms)
                axes.plot(
                    row.p50_ms or 0, place, _SIGNS[row.artifact][0], color=GRAPH_COLOURS[row.artifact],
                    markeredgecolor=COLOURS["ink"], markeredgewidth=0.7, markersize=6.5, zorder=4,
                )  # fmt: skip
            _draw_limit(axes, place, latency_budgets(report).get("p50"))
        if max(values) > _WIDE * min(values):
            use_log_axis(axes)
        else:
            axes.set_xlim(left=0)
        axes.set_xlabel("median time of a run, ms")
        for artifact, (sign, name) in _SIGNS.items():
            axes.plot(
                [],
                [],
                sign,
                color=GRAPH_COLOURS[artifact],
                markeredgecolor=COLOURS["ink"],
                markeredgewidth=0.7,
                label=name,
            )
        if any("p50" in latency_budgets(report) for _, report in builds):
            axes.plot([], [], "|", color=COLOURS["ink"], markersize=11, markeredgewidth=1.6, label="budget of p50")
        figure.legend(loc="outside lower left", ncols=2, labelcolor=COLOURS["ink"], columnspacing=1, handletextpad=0.2)
        finals = ((label, row.p50_ms) for label, report in builds for row in report.latency if row.artifact == "final")
        said = "; ".join(f"{label} {milliseconds(p50_ms)}" for label, p50_ms in finals)
        return as_svg(figure, "latencies", f"Median times of the packages: {said}")


def changes_plots(builds: Labelled) -> list[Markup]:
    """Draw how the metric of every build changed, with intervals and budgets: a plot for each metric that builds have."""
    found = [
        (label, report, metric)
        for label, report in builds
        if (metric := shipped_metric(report)) and metric.drop is not None
    ]
    plots = []
    for number, name in enumerate(dict.fromkeys(metric.name for *_, metric in found)):
        scale = 100 if is_share(name) else 1
        with styled():
            those = [one for one in found if one[-1].name == name]
            figure, axes = _rows([label for label, *_ in those])
            axes.axvline(0, color=COLOURS["quiet"], linewidth=1, zorder=1)
            for place, (_, report, metric) in _from_top(those):
                drop = metric.drop or 0.0
                low, high = metric.drop_interval or (drop, drop)
                _draw_interval(axes, place, (-scale * high, -scale * low))
                axes.plot(
                    -scale * drop, place, "o", color=COLOURS["package"], markeredgecolor=COLOURS["ink"],
                    markeredgewidth=0.7, markersize=6.5, zorder=4,
                )  # fmt: skip
                limit = next((row.limit for row in report.budget if row.name == "metric_drop"), None)
                _draw_limit(axes, place, None if limit is None else -scale * limit)
            axes.set_xlabel(f"{metric_title(name)} against dense{', points' if scale == 100 else ''}; upright: budget")
            said = "; ".join(f"{label} {change_words(name, -(metric.drop or 0))}" for label, _, metric in those)
            plots.append(as_svg(figure, f"changes-{number}", f"Change of {metric_title(name)}: {said}"))
    return plots


def sizes_plot(builds: Labelled) -> Markup:
    """Draw the size of every build's package, with budgets."""
    with styled():
        figure, axes = _rows([label for label, _ in builds])
        for place, (_, report) in _from_top(builds):
            size = report.package.size_bytes / 1e6
            axes.barh(place, size, 0.5, color=COLOURS["package"], zorder=3)
            limit = next((row.limit for row in report.budget if row.name == "size_mb"), None)
            end = max(size, limit or 0)
            axes.annotate(
                megabytes(report.package.size_bytes), (end, place), (5, 0), textcoords="offset points", va="center"
            )
            _draw_limit(axes, place, limit)
        axes.margins(x=0.25)
        axes.set_xlim(left=0)
        axes.set_xlabel("size of the package, MB; upright: budget")
        said = "; ".join(f"{label} {megabytes(report.package.size_bytes)}" for label, report in builds)
        return as_svg(figure, "sizes", f"Sizes of the packages: {said}")


def _rows(labels: Sequence[str], extra: float = 0.0) -> "tuple[Figure, Axes]":
    """Make a figure with a labelled row for each build."""
    figure, axes = new_figure(0.75 + extra + 0.36 * len(labels))
    axes.set_yticks(range(len(labels)), [cut(label, LONGEST_LABEL) for label in labels[::-1]])
    axes.tick_params("y", labelcolor=COLOURS["ink"], length=0)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    return figure, axes


def _from_top(rows: Sequence[RowT]) -> Iterable[tuple[int, RowT]]:
    """Number rows so that the first one is the highest."""
    return ((len(rows) - 1 - number, row) for number, row in enumerate(rows))


def _draw_interval(axes: "Axes", place: float, interval: tuple[float, float] | None) -> None:
    if interval:
        axes.plot(interval, [place, place], color=COLOURS["ink"], linewidth=1.6, solid_capstyle="butt", zorder=3)


def _draw_limit(axes: "Axes", place: float, limit: float | None) -> None:
    if limit is not None:
        axes.plot([limit] * 2, [place - 0.36, place + 0.36], color=COLOURS["ink"], linewidth=1.6, zorder=5)

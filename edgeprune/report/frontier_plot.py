"""Draw a search: the metric of every model that it made against its time, what is shipped, and the budgets."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgeprune.base.metric_words import is_share
from edgeprune.base.wording import cut
from edgeprune.report.latency_plot import latency_budgets
from edgeprune.report.records import BuildReport
from edgeprune.report.svg import COLOURS, LONGEST_LABEL, MARKERS, SERIES, as_svg, new_figure, styled, use_log_axis
from edgeprune.report.words import amount, metric_title
from edgeprune.search.frontier import Frontier, RungRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frontier_plot", "frontiers_plot", "level_lines"]

_DASHES = (0, (4, 3))


def frontier_plot(report: BuildReport) -> Markup | None:
    """Draw the metric of every rung of a build's search against its time. None: nothing was searched."""
    frontier = report.frontier
    if frontier is None:
        return None
    scale = 100 if is_share(frontier.metric_name) else 1
    limits = {row.name: row.limit for row in report.budget}
    label, places = _across(frontier)
    with styled():
        figure, axes = new_figure(3.3)
        heights = {rung.name: scale * rung.metric for rung in frontier.rungs}
        axes.plot(list(places.values()), list(heights.values()), color=COLOURS["line"], linewidth=1.2, zorder=2)
        by_p90 = "latency_p90_ms" in limits and label == _TIME
        for rung in frontier.rungs:
            low, high = (scale * (frontier.metric_dense - drop) for drop in reversed(rung.drop_interval))
            place, height = places[rung.name], heights[rung.name]
            axes.plot([place, place], [low, high], color=COLOURS["quiet"], linewidth=1, zorder=3)
            if label == _TIME and rung.p50_interval_ms:
                axes.plot(rung.p50_interval_ms, [height] * 2, color=COLOURS["quiet"], linewidth=1, zorder=3)
            if by_p90 and rung.p90_ms is not None:
                axes.plot([place, rung.p90_ms], [height] * 2, color=COLOURS["quiet"], linewidth=0.6, zorder=2)
                axes.plot(rung.p90_ms, height, "|", color=COLOURS["ink"], markersize=6, zorder=4)
            _draw_rung(axes, rung, (place, height), shipped=rung.name == frontier.shipped)
        _draw_floor(axes, scale * frontier.metric_dense, "dense", above=True)
        if "metric_drop" in limits:
            floor = scale * (frontier.metric_dense - limits["metric_drop"])
            _draw_floor(axes, floor, "budget", above=False)
        walls = {f"budget {name}": limit for name, limit in latency_budgets(report).items()} if label == _TIME else {}
        if label == _SIZE and "size_mb" in limits:
            walls["budget"] = limits["size_mb"]
        _draw_walls(axes, walls)
        use_log_axis(axes)
        axes.margins(x=0.1)
        axes.set_xlabel(label)
        unit = ", %" if scale == 100 else ""
        axes.set_ylabel(f"{metric_title(frontier.metric_name)} on selection{unit}")
        said = "; ".join(f"{name}: {amount(places[name])}, {amount(heights[name])}" for name in places)
        return as_svg(figure, "frontier", f"{label} and {metric_title(frontier.metric_name)} of every rung: {said}")


def level_lines(report: BuildReport) -> str | None:
    """Say what the level lines of a search's plot are; None: it has none."""
    if report.frontier is None or _across(report.frontier)[0] != _TIME:
        return None
    to_p90 = any(row.name == "latency_p90_ms" for row in report.budget)
    return "Level lines end at p90." if to_p90 else "Level lines are 95% intervals of the median."


def frontiers_plot(builds: Sequence[tuple[str, BuildReport]]) -> Markup | None:
    """Draw the searches of several labelled builds: what each model's time costs of the metric, device by device.

    None: there are no two searches whose models were timed and have the same metric.
    """
    found = [
        (cut(label, LONGEST_LABEL), one, one.frontier)
        for label, one in builds
        if one.frontier is not None and _across(one.frontier)[0] == _TIME
    ]
    if len({frontier.metric_name for *_, frontier in found}) != 1 or len(found) < 2:
        return None
    name = found[0][-1].metric_name
    scale = 100 if is_share(name) else 1
    with styled():
        figure, axes = new_figure(3.4 + 0.17 * len(found))
        for number, (label, report, frontier) in enumerate(found):
            colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
            places = _across(frontier)[1]
            heights = {rung.name: -scale * rung.drop for rung in frontier.rungs}
            axes.plot(
                list(places.values()), list(heights.values()), f"{marker}-", color=colour, markersize=4.5, linewidth=1,
                label=label, zorder=3,
            )  # fmt: skip
            shipped = (places[frontier.shipped], heights[frontier.shipped])
            _draw_ring(axes, shipped, colour)
            for row in report.budget:
                if row.name == "metric_drop":
                    axes.axhline(-scale * row.limit, color=colour, linestyle=_DASHES, linewidth=0.8, zorder=2)
                elif row.name == "latency_p50_ms":
                    axes.axvline(row.limit, color=colour, linestyle=_DASHES, linewidth=0.8, zorder=2)
        axes.axhline(0, color=COLOURS["quiet"], linewidth=0.8, zorder=1)
        use_log_axis(axes)
        axes.set_xlabel(_TIME)
        axes.set_ylabel(f"{metric_title(name)} against dense{', points' if scale == 100 else ''}")
        figure.legend(loc="outside lower left", ncols=1, labelcolor=COLOURS["ink"])
        said = "; ".join(f"{label} ships {frontier.shipped}" for label, _, frontier in found)
        return as_svg(figure, "frontiers", f"What each model's time costs of the metric, by device: {said}")


_TIME = "median time of a run, ms"
_SIZE = "size of the package, MB"
_COUNTED = "multiply-adds asked for, dense is 1"


def _across(frontier: Frontier) -> tuple[str, dict[str, float]]:
    """Say what the horizontal axis of a search shows, and give every rung's place on it by the rung's name."""
    if frontier.objective == "size":
        return _SIZE, {rung.name: rung.size_mb for rung in frontier.rungs}
    times = {rung.name: rung.p50_ms for rung in frontier.rungs if rung.p50_ms is not None}
    if len(times) == len(frontier.rungs):
        return _TIME, times
    return _COUNTED, {rung.name: 1 / rung.speedup for rung in frontier.rungs}


def _draw_rung(axes: "Axes", rung: RungRow, place: tuple[float, float], *, shipped: bool) -> None:
    """Draw a rung as a dot: full if it keeps what the search holds fixed, with a ring if it is shipped."""
    fill = COLOURS["package"] if rung.keeps else COLOURS["paper"]
    axes.plot(*place, "o", color=fill, markeredgecolor=COLOURS["package"], markeredgewidth=1.3, markersize=6, zorder=5)
    if shipped:
        _draw_ring(axes, place, COLOURS["package"])
    axes.annotate(
        f"{rung.name}, shipped" if shipped else rung.name,
        place,
        (6, -12) if rung.speedup == 1 else (-6, 6),  # rungs are less accurate to the left, so there is place above
        textcoords="offset points",
        ha="left" if rung.speedup == 1 else "right",
        color=COLOURS["ink" if shipped else "quiet"],
        fontweight="bold" if shipped else "normal",
        zorder=6,
    )


def _draw_ring(axes: "Axes", place: tuple[float, float], colour: str) -> None:
    axes.plot(*place, "o", color="none", markeredgecolor=colour, markeredgewidth=1.3, markersize=12, zorder=5)


def _draw_floor(axes: "Axes", height: float, label: str, *, above: bool) -> None:
    axes.axhline(height, color=COLOURS["ink"], linestyle=_DASHES, linewidth=0.8, zorder=1)
    axes.annotate(
        label,
        (1, height),
        (3, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        va="bottom" if above else "top",
        color=COLOURS["quiet"],
    )


def _draw_walls(axes: "Axes", walls: Mapping[str, float]) -> None:
    for number, (label, limit) in enumerate(walls.items()):
        axes.axvline(limit, color=COLOURS["ink"], linestyle=_DASHES, linewidth=0.8, zorder=1)
        axes.annotate(
            label,
            (limit, 0),
            (-3, 3 + 11 * number),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="right",
            color=COLOURS["quiet"],
        )

"""What the plots of a page are drawn from: places of dots, floors and rings, before they are pictures."""

from typing import TYPE_CHECKING

import pytest
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeprune.report import comparison_plot, frontier_plot
from tests.support.reports import frontier, full_report, report

if TYPE_CHECKING:
    from edgeprune.report.records import BuildReport


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Axes, str]]:
    """The axes of every figure that is drawn from now on, and its words."""
    found: list[tuple[Axes, str]] = []

    def kept(figure: Figure, _: str, words: str) -> Markup:
        found.append((figure.axes[0], words))
        return Markup("<svg></svg>")

    monkeypatch.setattr(frontier_plot, "as_svg", kept)
    monkeypatch.setattr(comparison_plot, "as_svg", kept)
    return found


def points(axes: Axes, marker: str = "o", size: float | None = None) -> list[tuple[float, float]]:
    return [
        (round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]), 6))
        for line in axes.lines
        if line.get_marker() == marker and (size is None or line.get_markersize() == size)
    ]


def test_every_rung_is_a_dot_the_shipped_one_has_a_ring_and_the_floor_is_below_dense(
    drawn: list[tuple[Axes, str]],
) -> None:
    made = full_report(frontier=frontier())
    found = made.frontier
    assert found is not None
    frontier_plot.frontier_plot(made)
    ((axes, _),) = drawn
    shipped = next(rung for rung in found.rungs if rung.name == found.shipped)
    dots = [(round(rung.p50_ms or 0, 6), round(100 * rung.metric, 6)) for rung in found.rungs]
    assert points(axes, size=6) == dots
    assert points(axes, size=12) == [(round(shipped.p50_ms or 0, 6), round(100 * shipped.metric, 6))]
    limit = next(row.limit for row in made.budget if row.name == "metric_drop")
    level = [float(line.get_ydata()[0]) for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    assert level == pytest.approx([100 * found.metric_dense, 100 * (found.metric_dense - limit)])


def test_a_change_is_drawn_with_its_sign_and_labels_are_the_builds_own(drawn: list[tuple[Axes, str]]) -> None:
    made = full_report()
    (metric,) = [row.metric for row in made.stages if row.stage == "package"]
    assert metric is not None
    assert metric.drop
    comparison_plot.changes_plots([("(1) a", made), ("(2) a", made)])
    ((axes, words),) = drawn
    assert [x for x, _ in points(axes)] == pytest.approx([-100 * metric.drop] * 2)
    assert "(1) a -" in words
    assert "(2) a -" in words


def test_builds_keep_their_numbers_where_one_was_not_searched(drawn: list[tuple[Axes, str]]) -> None:
    searched: list[tuple[str, BuildReport]] = [(f"({number}) a", full_report(frontier=frontier())) for number in (2, 3)]
    frontier_plot.frontiers_plot([("(1) a", report()), *searched])
    ((_, words),) = drawn
    assert "(2) a ships 4x; (3) a ships 4x" in words
    comparison_plot.latencies_plot([("(1) a", report()), *searched])
    comparison_plot.sizes_plot([("(1) a", report()), *searched])
    assert all("(1) a" in words and "(3) a" in words for _, words in drawn[1:])

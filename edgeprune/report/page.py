"""Write the page to read: one HTML file about a build or about several, which needs no network and no JavaScript.

page = render_page([read_build(path)])    # edgeprune.report.files

The pictures are drawn by matplotlib, which is imported only when a page is written. Everything that comes from users is
escaped. The same builds give the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.base.metric_words import change_words
from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.report.device_words import conditions_words, device_words, workload_words
from edgeprune.report.headline import build_labels, headline_parts, shipped_metric, try_commands
from edgeprune.report.latency_plot import Samples, graph_names, latency_plot
from edgeprune.report.records import BuildReport
from edgeprune.report.words import (
    amount,
    budget_words,
    change_interval,
    marked_verdict,
    megabytes,
    metric_title,
    span,
    value_words,
)
from edgeprune.store.records import Metric, recall_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from edgeprune.benchmark.records import LatencyRow

__all__ = ["MeasuredBuild", "render_page"]

_MOST_LABELS = 40
"""Labels whose recall is shown."""


_COLUMNS = (
    ("mean ms", "mean_ms", "mean_interval_ms"),
    *((f"p{number} ms", f"p{number}_ms", f"p{number}_interval_ms") for number in (50, 90, 95, 99)),
    ("cold start ms", "cold_start_ms", None),
    ("peak MB", "peak_memory_mb", None),
)
"""The columns of the table of latencies: the name, the field, and the field of its interval. A column without figures
isn't shown."""


@dataclass(frozen=True)
class MeasuredBuild:
    """Hold a build's report, and the samples of its benchmark."""

    report: BuildReport
    samples: Samples = field(default_factory=dict)
    """Empty: the samples aren't at hand."""


def render_page(builds: Sequence[MeasuredBuild]) -> str:
    """Write the page of one build, or of several side by side."""
    from edgeprune.report.comparison_plot import changes_plots, latencies_plot, sizes_plot
    from edgeprune.report.frontier_plot import frontier_plot, frontiers_plot

    reports = [build.report for build in builds]
    if len(builds) == 1:
        (build,) = builds
        plots = {"latency": latency_plot(build.report, build.samples), "frontier": frontier_plot(build.report)}
        return _render("build.html.j2", {"plots": plots, **_build_values(build)})
    labelled = list(zip(build_labels(reports), reports, strict=True))
    return _render(
        "comparison.html.j2",
        {
            "plots": {
                "latencies": latencies_plot(labelled),
                "changes": changes_plots(labelled),
                "sizes": sizes_plot(labelled),
                "frontiers": frontiers_plot(labelled),
            },
            "reports": reports,
            "labelled": labelled,
            "rows": [_compared(label, one) for label, one in labelled],
            "searched": any(report.frontier for report in reports),
            "budgets": _budgets(reports),
        },
    )


def _build_values(build: MeasuredBuild) -> dict[str, Any]:
    from edgeprune.report.frontier_plot import level_lines

    report, metric = build.report, shipped_metric(build.report)
    dense = next((row.metric for row in report.stages if row.stage == "prepare"), None)
    recalls = _recalls(dense, metric)
    shown = {recall_of(row["label"]) for row in recalls}
    timed = [row for row in report.latency if row.p50_ms is not None]
    return {
        "report": report,
        "timed": timed,
        "columns": [column for column in _COLUMNS if any(getattr(row, column[1]) is not None for row in timed)],
        "race": sorted(report.race, key=lambda row: (not row.why.startswith("won"), row.p50_ms is None, row.p50_ms)),
        "level_lines": level_lines(report),
        "sampled": bool(build.samples),
        "names": graph_names(report),
        "metric": metric,
        "dense_metric": dense,
        "others": [(name, value) for name, value in (metric.others if metric else {}).items() if name not in shown],
        "recalls": recalls,
        "most_labels": _MOST_LABELS,
        "largest_part": max(
            [row.dense_parameters for row in report.parts] + [row.parameters for row in report.parts] + [1]
        ),
        "longest_s": max([row.duration_s for row in report.stages] + [1e-9]),
    }


def _recalls(dense: Metric | None, package: Metric | None) -> list[dict[str, Any]]:
    """Compare the recall of each label, those first that lost most."""
    prefix = recall_of("")
    if dense is None or package is None:
        return []
    rows = [
        {"label": name.removeprefix(prefix), "dense": dense.others[name], "package": value}
        for name, value in package.others.items()
        if name.startswith(prefix) and name in dense.others
    ]
    return sorted(rows, key=lambda row: row["package"] - row["dense"])


def _compared(label: str, report: BuildReport) -> dict[str, Any]:
    latency: Mapping[str, LatencyRow] = {row.artifact: row for row in report.latency}
    parameters = sum(row.parameters for row in report.parts)
    left = sum(bool(layer.heads or layer.neurons) for layer in report.layers)
    return {
        "label": label,
        "report": report,
        "final": latency.get("final"),
        "dense": latency.get("dense-fp32"),
        "metric": shipped_metric(report),
        "layers": left or "–",
        "parameters": f"{parameters / 1e6:.2f} M" if parameters else "–",
    }


def _budgets(reports: Sequence[BuildReport]) -> list[tuple[str, list[BudgetRow | None]]]:
    """Give each budget that some build has, with its row in every build."""
    tables = [{row.name: row for row in report.budget} for report in reports]
    names = dict.fromkeys(name for table in tables for name in table)
    return [(name, [table.get(name) for table in tables]) for name in names]


def _render(template: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str | Sequence[str]]] = {
        "amount": amount,
        "amount_or_dash": lambda value: "–" if value is None else amount(value),
        "change_interval": change_interval,
        "change_words": change_words,
        "conditions_words": conditions_words,
        "device_words": device_words,
        "headline_parts": headline_parts,
        "megabytes": megabytes,
        "metric_title": metric_title,
        "python_text": repr,
        "budget_words": budget_words,
        "span": span,
        "try_commands": try_commands,
        "value_words": value_words,
        "marked_verdict": marked_verdict,
        "workload_words": workload_words,
    }
    environment.filters.update(filters)
    return environment

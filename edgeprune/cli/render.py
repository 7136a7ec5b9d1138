"""Show builds, benchmarks and models to people, as tables and sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edgeprune.benchmark.records import EmulationRow, LatencyRow
from edgeprune.cli.budgets import print_budgets, verdict_words
from edgeprune.cli.console import print_table
from edgeprune.report.headline import headline, shipped_metric, try_commands
from edgeprune.report.records import BuildReport
from edgeprune.search.frontier import Frontier

if TYPE_CHECKING:
    from rich.text import Text

    from edgeprune.benchmark.compare import BenchmarkReport
    from edgeprune.models.sizes import Inspection

__all__ = [
    "print_benchmark",
    "print_comparison",
    "print_inspection",
    "print_report",
]


def print_report(console: Console, report: BuildReport, page: Path | None = None) -> None:
    """Print the report of a build: stages, what was gained, how the package is tried, budgets, and the other files.

    Args:
        console: Where it is printed.
        report: The build's report.
        page: The file of the page about the build; None: there is none.
    """
    shipped = None if report.frontier is None else report.frontier.shipped
    last = next((row.round for row in report.stages if row.stage == "package"), 0)
    measured = {row.artifact: row for row in report.latency}
    timing = {("export", 0): "dense-fp32", ("quantize", 0): "dense", ("quantize", last): "final"}
    if "encoder" in measured:
        timing |= {("quantize", last): "encoder", ("cascade", last): "final"}
    rows = []
    for stage in report.stages:
        if stage.rung not in (None, shipped):
            continue
        latency = measured.get(timing.get((stage.stage, stage.round), "")) if stage.rung is None else None
        metric = stage.metric
        rows.append(
            [
                f"{stage.stage} {stage.round}" if stage.round else f"{stage.stage} (dense)",
                _millions(stage.parameters),
                _megabytes(stage.size_bytes),
                f"{metric.value:.4f}" if metric else "",
                f"{metric.drop:+.4f}" if metric and metric.drop is not None else "",
                "[{:+.3f}, {:+.3f}]".format(*metric.drop_interval) if metric and metric.drop_interval else "",
                f"{latency.p50_ms:.2f}" if latency and latency.p50_ms else "",
                f"{latency.p90_ms:.2f}" if latency and latency.p90_ms else "",
                "store" if stage.cached else f"{stage.duration_s:.1f}",
                f"{stage.peak_memory_mb:.0f}",
            ]
        )
    name = report.linear.name if report.linear else next((s.metric.name for s in report.stages if s.metric), "metric")
    if report.linear:
        from edgeprune.tasks.registry import IMAGE_TASKS

        features = "16 x 16 pixels" if report.task in IMAGE_TASKS else "TF-IDF"
        rows.append([f"{features} + linear model", "", "", f"{report.linear.value:.4f}", "", "", "", "", "", ""])
    columns = ["stage", "parameters", "MB", name, "drop", "95% interval", "p50 ms", "p90 ms", "seconds", "peak MB"]
    print_table(console, f"{report.name} {report.release} for {report.target} ({report.pipeline})", columns, rows)
    console.print()
    _print_gain(console, report)
    _print_findings(console, report)
    if report.variant is not None:
        timed = sum(row.p50_ms is not None for row in report.race)
        how = f"the fastest of {timed} that were timed" if report.race else "not raced"
        console.print()
        console.print(f"graph: {report.variant.words} ({how})", highlight=False, markup=False, soft_wrap=True)
    if report.emulation is not None:
        console.print()
        console.print(_emulation_words(report.emulation), highlight=False, markup=False, soft_wrap=True)
    for note in report.notes:
        console.print()
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    made = [(report.package.archive, report.package.archive_bytes)] if report.package.archive_bytes else []
    made += [(one.path, one.size_bytes) for one in (report.mobile, report.text_graph, report.page) if one]
    lines = [f"{path}  {size_bytes / 1e6:.1f} MB" for path, size_bytes in made]
    lines += [f"{example.path}  {example.checked}" for example in report.examples]
    lines += [] if page is None else [f"{page}  what was found, as a page to read"]
    if lines:
        console.print()
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_gain(console: Console, report: BuildReport) -> None:
    """Print what a build gained, where its package is, and how it is tried."""
    package = report.package
    console.print(headline(report), highlight=False, markup=False)
    for line in (f"{package.path}  {package.size_bytes / 1e6:.1f} MB", *try_commands(report)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_findings(console: Console, report: BuildReport) -> None:
    """Print what a search found, the budgets, and what was measured in addition to a model's runs."""
    if report.frontier is not None:
        console.print()
        _print_frontier(console, report.frontier)
    if report.cascade is not None and report.latency:
        console.print()
        _print_tail(console, report.latency)
    if report.budget:
        console.print()
        print_budgets(console, report.budget)
    for row in report.latency:
        _print_beyond(console, row)


def _print_tail(console: Console, rows: Sequence[LatencyRow]) -> None:
    """Print what a first stage moves, the mean, beside what it leaves as it is, the slowest runs."""
    figures = ("mean_ms", "p50_ms", "p90_ms", "p99_ms")
    cells = [
        [row.artifact, *("–" if (ms := getattr(row, name)) is None else f"{ms:.2f}" for name in figures)]
        for row in rows
    ]
    print_table(console, None, ["graph", *(name.replace("_", " ") for name in figures)], cells)


def _print_frontier(console: Console, frontier: Frontier) -> None:
    """Print one row for each model that a search made, which one is shipped, and what its neighbours cost."""
    rows = []
    for rung in frontier.rungs:
        low, high = rung.drop_interval
        rows.append(
            [
                f"{rung.name} *" if rung.name == frontier.shipped else rung.name,
                "" if rung.predicted_p50_ms is None else f"{rung.predicted_p50_ms:.2f}",
                "" if rung.p50_ms is None else f"{rung.p50_ms:.2f}",
                "" if rung.p90_ms is None else f"{rung.p90_ms:.2f}",
                f"{rung.metric:.4f}",
                f"{rung.drop:+.4f}",
                f"[{low:+.3f}, {high:+.3f}]",
                f"{rung.size_mb:.1f}",
                str(rung.layers),
                str(sum(rung.heads)),
                f"{sum(rung.neurons):,}",
                *([str(rung.hidden_size)] if frontier.has_narrower else []),
                "yes" if rung.keeps else "no",
            ]
        )
    columns = [
        "model", "predicted p50", "p50 ms", "p90 ms", frontier.metric_name, "drop", "95% interval", "MB", "layers", "heads",
        "neurons", *(["hidden size"] if frontier.has_narrower else []), "keeps the limit",
    ]  # fmt: skip
    title = f"searched by {frontier.objective}, judged on {frontier.samples:,} selection rows (* is shipped)"
    print_table(console, title, columns, rows)
    _print_choice(console, frontier)


def _print_choice(console: Console, frontier: Frontier) -> None:
    """Print which model of a search is shipped, and what its neighbours cost."""
    for sentence in (frontier.reason, frontier.faster, frontier.more_accurate):
        if sentence is not None:
            console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _emulation_words(row: EmulationRow) -> str:
    same = f"{row.same_answers:.0%} of {row.rows} answers the same, largest difference {row.max_error:.1e}"
    return f"emulated {row.core}: {same}; not timed"


def print_comparison(console: Console, reports: Sequence[BuildReport], page: Path | None = None) -> None:
    """Print one row for each build, and the file of the page about them if there is one."""
    rows: list[list[str | Text]] = []
    for report in reports:
        metric = shipped_metric(report)
        final = next((row for row in report.latency if row.artifact == "final"), None)
        dense = next((row for row in report.latency if row.artifact == "dense-fp32"), None)
        rows.append(
            [
                report.target,
                f"{metric.value:.4f}" if metric else "",
                f"{metric.drop:+.4f}" if metric and metric.drop is not None else "",
                f"{report.package.size_bytes / 1e6:.1f}",
                f"{final.p50_ms:.2f}" if final and final.p50_ms else "not measured",
                f"{final.p90_ms:.2f}" if final and final.p90_ms else "not measured",
                f"{dense.p50_ms / final.p50_ms:.1f}x" if final and dense and final.p50_ms and dense.p50_ms else "",
                verdict_words(report.verdict),
                str(report.exit_code),
                "" if report.frontier is None else _shipped_words(report.frontier),
                (report.device.cpu or "unknown") if report.device else "",
            ]
        )
    columns = [
        "target",
        "metric",
        "drop",
        "MB",
        "p50 ms",
        "p90 ms",
        "against dense",
        "verdict",
        "exit",
        "model",
        "measured on",
    ]
    if not any(report.frontier for report in reports):
        columns.remove("model")
        rows = [[*row[:-2], row[-1]] for row in rows]
    print_table(console, None, columns, rows)
    for report in reports:
        if report.frontier is not None:
            console.print()
            console.print(f"{report.target}:", style="bold")
            _print_choice(console, report.frontier)
    if page is not None:
        console.print()
        console.print(f"{page}  what was found, as a page to read", highlight=False, markup=False, soft_wrap=True)


def _shipped_words(frontier: Frontier) -> str:
    rung = next(one for one in frontier.rungs if one.name == frontier.shipped)
    hidden = f", hidden size {rung.hidden_size}" if frontier.has_narrower else ""
    return f"{rung.name}: {rung.layers} layers, {sum(rung.heads)} heads, {sum(rung.neurons):,} neurons{hidden}"


def print_inspection(console: Console, found: "Inspection") -> None:
    """Print one row for each part of a model. Counts of a pruned model stand beside the counts of the dense model."""
    rows = []
    for row in [*found.parts, found.total]:
        now, before = (row.heads, row.dense_heads) if row.heads is not None else (row.neurons, row.dense_neurons)
        unit = "heads" if row.heads is not None else "neurons"
        units = "" if now is None else f"{now} of {before} {unit}" if found.pruned else f"{now} {unit}"
        if row.kept is not None and row.heads is not None and row.kept:
            units += f": {' '.join(map(str, row.kept))}"
        cells = [row.part, units, f"{row.parameters:,}", f"{row.multiply_adds / 1e6:,.1f}"]
        if found.pruned:
            cells += [f"{row.dense_parameters:,}", f"{row.dense_multiply_adds / 1e6:,.1f}"]
        rows.append(cells)
    columns = ["part", "units", "parameters", "M multiply-adds"]
    if found.pruned:
        columns += ["dense parameters", "dense M multiply-adds"]
    title = f"{found.model}: {found.architecture}, one text of {found.tokens} tokens"
    if found.hidden_size < found.dense_hidden_size:
        title += f", hidden size {found.hidden_size} of {found.dense_hidden_size}"
    if found.embedding_rank is not None:
        title += f", token embedding of rank {found.embedding_rank}"
    print_table(console, title, columns, rows)


def print_benchmark(console: Console, report: "BenchmarkReport") -> None:
    """Print one row for each package, then the ratio of their times, and the budgets."""
    rows = []
    for row in report.latency:
        cells = [row.artifact]
        for q in (50, 90, 95, 99):
            value, interval = getattr(row, f"p{q}_ms"), getattr(row, f"p{q}_interval_ms")
            cells.append(
                "" if value is None else f"{value:.2f}" + (" [{:.2f}, {:.2f}]".format(*interval) if interval else "")
            )
        cells.append("" if row.cold_start_ms is None else f"{row.cold_start_ms:.0f}")
        cells.append("" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}")
        rows.append([*cells, str(row.samples), str(row.processes), "not steady" if row.converged is False else ""])
    columns = ["package", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "cold ms", "peak MB", "samples", "processes", ""]
    print_table(console, f"{report.target}, {report.device.cpu}", columns, rows)
    for row in report.latency:
        _print_beyond(console, row)
    if report.ratio is not None:
        interval = "[{:.3f}, {:.3f}]".format(*report.ratio_interval) if report.ratio_interval else "no interval"
        console.print()
        words = (
            "can't tell which is faster" if report.comparison == "can't tell" else f"the first is {report.comparison}"
        )
        console.print(f"{words}: {report.ratio:.3f} {interval} times the second's time", highlight=False)
    if report.budget:
        console.print()
        print_budgets(console, report.budget)


def _print_beyond(console: Console, row: LatencyRow) -> None:
    """Print what was measured in addition to a model's runs: times from input to answer, and throughput."""
    if row.text_p50_ms is not None:
        times = [f"p50 {row.text_p50_ms:.2f}"] + ([] if row.text_p90_ms is None else [f"p90 {row.text_p90_ms:.2f}"])
        console.print(f"{row.artifact}, from input to answer: {', '.join(times)} ms", highlight=False)
    if row.download_mb is not None:
        console.print(
            f"{row.artifact}, fetched by a page: {row.download_mb:.1f} MB, {row.download_gzip_mb:.1f} MB with gzip",
            highlight=False,
        )
    if row.throughput_per_s is not None:
        console.print(
            f"{row.artifact}, {row.sessions} sessions in parallel: {row.throughput_per_s:.4g} inputs in a second",
            highlight=False,
        )


def _millions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f} M"


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.1f}"

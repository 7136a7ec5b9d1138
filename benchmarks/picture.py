"""Draw the README's picture: latency and size of the dense model and of a build's result, as SVG.

    make demo
    python benchmarks/picture.py dist/movie-reviews-0-*.build.json --output docs/images

Writes `<name>-light.svg` and `<name>-dark.svg`, for light and dark pages. Every number comes from the build.json: the
medians and 95% intervals of its benchmark, the sizes and test metrics of its graphs, and the device that was timed. A
build that was not measured on its target has no latency, so it is refused. This script is in benchmarks/ and not in
docs/, because everything in docs/ is published as it is.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from edgeprune.base.errors import EdgepruneError, UsageError
from edgeprune.report.records import BuildReport, read_report

WIDTH, HEIGHT = 800, 304
LABELS_X, LATENCY_X, SIZE_X = 24, 232, 540
BAR, FIRST_Y, STEP = 30, 108, 52
LATENCY_WIDTH, SIZE_WIDTH = 190, 168
"""Lengths of the longest bars, in pixels. The space to the right of a bar is for its number."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


class Theme(NamedTuple):
    """Hold the colours for one background. The page behind shows through."""

    text: str
    quiet: str
    dense: str
    result: str


THEMES = {
    "light": Theme(text="#1f2328", quiet="#59636e", dense="#afb8c1", result="#0969da"),
    "dark": Theme(text="#f0f6fc", quiet="#9198a1", dense="#57606a", result="#4493f8"),
}


class Row(NamedTuple):
    """Describe one graph of the build."""

    label: str
    metric: str
    p50_ms: float
    interval_ms: tuple[float, float] | None
    size_mb: float
    is_result: bool


def main() -> None:
    """Read the build.json and write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="a build.json")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder that the SVG files go to")
    arguments = parser.parse_args()
    try:
        report = read_report(arguments.build)
        rows = rows_of(report)
    except EdgepruneError as error:
        sys.exit(str(error))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, theme in THEMES.items():
        path = arguments.output / f"{report.name}-{name}.svg"
        path.write_text(draw(report, rows, theme), encoding="utf-8")
        print(path)


def rows_of(report: BuildReport) -> list[Row]:
    """Read the rows: the dense model in fp32, the dense model in the target's precision, and the result."""
    if report.device is None:
        raise UsageError(f"{report.name} was not measured on {report.target}; give the build.json of a measured build")
    mode = report.variant.precision.mode if report.variant else "target's precision"
    last = max(stage.round for stage in report.stages)
    stages = {(stage.stage, stage.round): stage for stage in report.stages}
    latency = {row.artifact: row for row in report.latency}
    shown = [
        ("Dense model, fp32", "dense-fp32", ("export", 0)),
        (f"Dense model, {mode}", "dense", ("quantize", 0)),
        (f"Result, {mode}", "final", ("quantize", last)),
    ]
    rows = []
    for label, artifact, key in shown:
        stage, timed = stages[key], latency[artifact]
        # The exported graph computes what the dense model does, which is checked; its metric isn't measured again.
        metric = (stages["prepare", 0] if key == ("export", 0) else stage).metric
        if metric is None or stage.size_bytes is None or timed.p50_ms is None:
            raise UsageError(f"{report.name} has no metric, size or latency of {artifact}")
        words = f"{metric.name} {metric.value:.3f}"
        rows.append(Row(label, words, timed.p50_ms, timed.p50_interval_ms, stage.size_bytes / 1e6, artifact == "final"))
    return rows


def draw(report: BuildReport, rows: list[Row], theme: Theme) -> str:
    """Write the whole SVG file."""
    dense, result = rows[0], rows[-1]
    lines = "\n".join([*_heading(report, rows, theme), *_bars(rows, theme), *_foot(report, theme)])
    summary = (
        f"Median latency {dense.p50_ms:.2f} ms for the dense fp32 model and {result.p50_ms:.2f} ms for the result; "
        f"model file {dense.size_mb:.1f} MB and {result.size_mb:.1f} MB."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="{FONT}">\n<title>{escape(summary)}</title>\n{lines}\n</svg>\n'
    )


def _heading(report: BuildReport, rows: list[Row], theme: Theme) -> Iterator[str]:
    dense, result = rows[0], rows[-1]
    yield _text(LABELS_X, 34, f"{report.name} ({report.task})", theme.text, size=18, bold=True)
    times, share = dense.p50_ms / result.p50_ms, dense.size_mb / result.size_mb
    words = (
        f"The result is {times:.1f} times as fast as the dense fp32 model, and its file is {share:.1f} times smaller."
    )
    yield _text(LABELS_X, 58, words, theme.quiet, size=14)
    yield _text(LATENCY_X, 92, "median latency, ms", theme.quiet, size=13)
    yield _text(SIZE_X, 92, "model file, MB", theme.quiet, size=13)


def _bars(rows: list[Row], theme: Theme) -> Iterator[str]:
    slowest = max(max(row.p50_ms, *(row.interval_ms or ())) for row in rows)
    largest = max(row.size_mb for row in rows)
    for index, row in enumerate(rows):
        y = FIRST_Y + index * STEP
        middle = y + BAR / 2
        colour = theme.result if row.is_result else theme.dense
        yield _text(LABELS_X, middle - 2, row.label, theme.text, size=14, bold=row.is_result)
        yield _text(LABELS_X, middle + 15, row.metric, theme.quiet, size=12)
        scale = LATENCY_WIDTH / slowest
        yield _bar(LATENCY_X, y, row.p50_ms * scale, colour)
        end = row.p50_ms * scale
        if row.interval_ms:
            low, high = (LATENCY_X + value * scale for value in row.interval_ms)
            yield (
                f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 5:.1f}v10M{high:.1f} {middle - 5:.1f}v10" '
                f'stroke="{theme.text}" stroke-width="1.5" fill="none"/>'
            )
            end = max(end, high - LATENCY_X)
        yield _text(LATENCY_X + end + 8, middle + 5, f"{row.p50_ms:.2f}", theme.text, size=15, bold=row.is_result)
        width = row.size_mb * SIZE_WIDTH / largest
        yield _bar(SIZE_X, y, width, colour)
        yield _text(SIZE_X + width + 8, middle + 5, f"{row.size_mb:.1f}", theme.text, size=15, bold=row.is_result)


def _foot(report: BuildReport, theme: Theme) -> Iterator[str]:
    row = next(row for row in report.latency if row.artifact == "final")
    assert report.device is not None
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    lengths = "the test data's own lengths" if row.lengths == "data" else f"{row.lengths} tokens"
    device = f"{report.device.cpu or report.device.arch}, target {report.target}"
    how = f"{threads}, batch {row.batch_size}, {lengths}, ONNX Runtime {report.device.onnxruntime}"
    yield _text(LABELS_X, HEIGHT - 26, f"Timed on {device}: {how}.", theme.quiet, size=12)
    words = f"The models took turns in {row.processes} fresh processes. The lines on the bars are 95% intervals."
    yield _text(LABELS_X, HEIGHT - 9, words, theme.quiet, size=12)


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" rx="3" fill="{colour}"/>'


def _text(x: float, y: float, words: str, colour: str, *, size: int, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{weight}>{escape(words)}</text>'


if __name__ == "__main__":
    main()

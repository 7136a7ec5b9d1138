"""Read builds' files, and write the page about them beside the first one.

<name>.build.json         the report
<name>.benchmark.jsonl    the samples of its benchmark, if they lie beside it
<name>.report.html        the page of one build
comparison.report.html    the page of several builds
"""

from collections.abc import Sequence
from pathlib import Path

from edgeprune.base.errors import StorageError, UsageError
from edgeprune.benchmark.samples import read_samples
from edgeprune.report.latency_plot import Samples
from edgeprune.report.page import MeasuredBuild, render_page
from edgeprune.report.records import PAGE_SUFFIX, BuildReport, read_report
from edgeprune.store.files import write_text

__all__ = ["page_beside", "read_build", "write_page"]

_REPORT = ".build.json"


def read_build(path: Path) -> MeasuredBuild:
    """Read a build.json and, if they lie beside it, the samples of its benchmark.

    Raises:
        UsageError: The file is not a build's report, or what lies beside it are not samples.
        SchemaVersionError: Another edgeprune wrote it.
    """
    report = read_report(path)
    beside = path.with_name(f"{_stem(path)}.benchmark.jsonl")
    if not path.name.endswith(_REPORT) or not beside.is_file():
        return MeasuredBuild(report)
    try:
        samples = read_samples(beside)
    except (OSError, ValueError) as error:
        raise UsageError(f"{beside} can't be read as the samples of {path}: {error}; move it away") from error
    return MeasuredBuild(report, samples if _belongs(report, samples) else {})


def page_beside(paths: Sequence[Path]) -> Path:
    """Say where the page about some build.json files goes if nothing else is asked for."""
    name = "comparison" if len(paths) > 1 else _stem(paths[0])
    return paths[0].with_name(f"{name}.{PAGE_SUFFIX}")


def write_page(builds: Sequence[MeasuredBuild], path: Path) -> None:
    """Write the page about some builds.

    Raises:
        UsageError: `path` is a folder, or a file that isn't HTML by its name, such as a build.json.
        StorageError: The file can't be written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the file that the page is written to, as {path / PAGE_SUFFIX}")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"the page is HTML, so its file should end in .html, got {path}")
    page = render_page(builds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, page)
    except OSError as error:
        raise StorageError(
            f"could not write the page {path}: {error.strerror or error}; choose another file (edgeprune report … --output "
            f"FILE), or leave the page out (--no-report)"
        ) from error


def _stem(path: Path) -> str:
    """Give a build's name from the name of its build.json: `<name>.build.json`, or any other name that it was given."""
    return path.name.removesuffix(_REPORT) if path.name.endswith(_REPORT) else path.stem


def _belongs(report: BuildReport, samples: Samples) -> bool:
    """Tell whether samples are those of the report, and not of a later build that lies at the same place."""
    counts = {name: sum(map(len, processes)) for name, processes in samples.items()}
    return all(counts.get(row.artifact) == row.samples for row in report.latency)

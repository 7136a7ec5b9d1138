"""Write what CI systems show of builds: JUnit XML, figures for github-action-benchmark, and the summary of a step.

outputs = CiOutputs(junit, benchmark_json)
outputs.read_baselines([Path("dist/old")])
with outputs.telling_errors():
    ...                       # a build
outputs.write([report])
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.base.errors import EdgepruneError, StorageError, UsageError
from edgeprune.cli.console import err
from edgeprune.pipeline.options import Panel
from edgeprune.store.files import write_text

if TYPE_CHECKING:
    from edgeprune.report.records import BuildReport

__all__ = ["BenchmarkJson", "CiOutputs", "Junit"]

Junit = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        help="Write verdicts to this file as JUnit XML: one test for each budget.",
        rich_help_panel=Panel.OUTPUT,
        metavar="FILE",
    ),
]
BenchmarkJson = Annotated[
    Path | None,
    typer.Option(
        "--benchmark-json",
        help="Write figures to this file as github-action-benchmark reads them (customSmallerIsBetter).",
        rich_help_panel=Panel.OUTPUT,
        metavar="FILE",
    ),
]


class CiOutputs:
    """Write what CI systems show of builds.

    Args:
        junit: The file for JUnit XML; None: it isn't wanted.
        benchmark_json: The file for github-action-benchmark; None: it isn't wanted.

    Raises:
        UsageError: A file can't be one, or both are the same.
        StorageError: The folder of a file can't be made, or isn't writable.
    """

    def __init__(self, junit: Path | None, benchmark_json: Path | None) -> None:
        if junit is not None and junit == benchmark_json:
            raise UsageError(f"--junit and --benchmark-json are both {junit}; give each a file of its own")
        self._junit = _checked("--junit", junit)
        self._benchmark_json = _checked("--benchmark-json", benchmark_json)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        self._summary = Path(summary) if summary else None
        self._baselines: list[BuildReport | None] = []

    def read_baselines(self, baselines: Sequence[Path | None]) -> None:
        """Read the reports that lie beside the baselines of builds, before a new package takes a baseline's place.

        Args:
            baselines: The package that each build is compared with; None: a build has none.
        """
        if self._summary is not None:
            self._baselines = [None if path is None else _report_beside(path) for path in baselines]

    @contextlib.contextmanager
    def telling_errors(self) -> Iterator[None]:
        """Write why a build ended, where it ends without a report."""
        try:
            yield
        except EdgepruneError as error:
            self._tell(str(error))
            raise
        except Exception as error:
            self._tell(f"edgeprune has a fault: {error}")
            raise

    def write(self, reports: "Sequence[BuildReport]") -> None:
        """Write all that is wanted about finished builds.

        Raises:
            StorageError: A file can't be written. The summary is left out if it can't be written, with a warning.
        """
        if self._benchmark_json is not None:
            from edgeprune.report.benchmark_action import benchmark_action

            _write(self._benchmark_json, benchmark_action(reports))
        if self._junit is not None:
            from edgeprune.report.junit import junit

            _write(self._junit, junit(reports))
        if self._summary is not None:
            from edgeprune.report.step_summary import step_summary

            both = zip_longest(reports, self._baselines)
            _append(self._summary, "\n".join(step_summary(report, baseline) for report, baseline in both))

    def _tell(self, sentence: str) -> None:
        if self._junit is not None:
            from edgeprune.report.junit import junit_of_error

            with contextlib.suppress(StorageError):  # the build's own error is the one to raise
                _write(self._junit, junit_of_error(sentence))
        if self._summary is not None:
            from edgeprune.report.step_summary import step_summary_of_error

            _append(self._summary, step_summary_of_error(sentence))


def _checked(flag: str, path: Path | None) -> Path | None:
    """Make sure that a file can be written before anything is built."""
    if path is None:
        return None
    if path.is_dir():
        raise UsageError(f"{flag} is a file to write, but {path} is a folder; name a file in it")
    if path.parent.exists() and not path.parent.is_dir():
        raise UsageError(f"{flag} is {path}, but {path.parent} is no folder; choose another file")
    _storing(path, lambda: _try_folder(path.parent))
    return path


def _try_folder(folder: Path) -> None:
    """Make a folder, and a file in it that goes at once: what may be written isn't told by permissions alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _report_beside(baseline: Path) -> "BuildReport | None":
    """Read the report of the build that made a baseline. None if it doesn't lie beside the baseline, or can't be read."""
    from edgeprune.report.records import read_report

    path = baseline.with_name(f"{baseline.name.removesuffix('.tar.gz')}.build.json")
    if not path.is_file():
        return None
    try:
        return read_report(path)
    except UsageError as error:
        err.print(f"warning: the step's summary has no column of the baseline: {error}")
        return None


def _write(path: Path, text: str) -> None:
    _storing(path, lambda: write_text(path, text))


def _storing(path: Path, action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}; choose another file") from error


def _append(path: Path, text: str) -> None:
    """Add a text to the summary. A CI system that gives no place for it doesn't make a build fail."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}\n")
    except OSError as error:
        err.print(f"warning: the step's summary could not be written to {path}: {error.strerror or error}")

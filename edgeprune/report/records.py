"""Define the report of a build: the document that `--json` prints, `build.json` holds, and `edgeprune.build` returns.

Keys never change their meaning within a schema_version.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edgeprune.base.errors import SchemaVersionError, UsageError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.benchmark.race import RaceRow
from edgeprune.benchmark.records import DeviceRow, EmulationRow, LatencyRow
from edgeprune.benchmark.verdicts import BudgetRow, exit_code, overall
from edgeprune.cascade.records import CascadeRow
from edgeprune.profiles.pipeline import ExampleLanguage
from edgeprune.profiles.variant import Variant
from edgeprune.search.frontier import Frontier
from edgeprune.store.records import Metric

__all__ = [
    "PAGE_SUFFIX",
    "BuildReport",
    "ChangedRow",
    "ExampleRow",
    "LayerRow",
    "MobileRow",
    "PackageRow",
    "PageRow",
    "PartSizeRow",
    "StageRow",
    "TextGraphRow",
    "read_report",
]


PAGE_SUFFIX = "report.html"
"""What the file ends in that has a report as a page to read."""


class PackageRow(Frozen):
    """Report where the package is and how large it is."""

    path: str
    archive: str
    size_bytes: int
    """Size of all files of the folder."""
    archive_bytes: int | None = None
    """Size of the archive; None: the report is older than this field."""
    sha256: str
    """Digest of the archive."""
    try_with: tuple[str, ...] = ()
    """What the package's `run.py` may be given to try it, one input; empty: the report is older than this field."""


class MobileRow(Frozen):
    """Report the same model in ORT format, for builds of ONNX Runtime that load nothing else."""

    path: str
    operators: str
    """Path of the list of operators that such a build must have, for its `--include_ops_by_config`."""
    size_bytes: int
    sha256: str
    max_error: float
    """Largest difference of its outputs from the outputs of the ONNX file, on the machine that built it."""


class TextGraphRow(Frozen):
    """Report the same model as one file that takes a text."""

    path: str
    size_bytes: int
    sha256: str
    max_error: float
    """Largest difference of its scores or embeddings from the package's, relative to max(1, the largest of them)."""
    texts: int
    """Texts for which this was measured, and which were read as the same tokens."""


class PageRow(Frozen):
    """Report the folder whose page answers typed texts in a browser."""

    path: str
    size_bytes: int
    """Size of all files of the folder. The page fetches all of them but the notices and licences."""


class ExampleRow(Frozen):
    """Report a program beside the package."""

    language: ExampleLanguage
    path: str
    """The program's folder."""
    checked: str
    """How far edgeprune's tests compile and run the program."""


class StageRow(Frozen):
    """Report the artifact of one stage."""

    stage: str
    round: int
    """The round of pruning, from 1; 0 is the dense model. In a search, the number of the rung."""
    rung: str | None = None
    """The name of the rung that the stage was run for; None: it was not run for a rung of a search."""
    key: str
    cached: bool
    """Whether the artifact was in the store already, or another build made it meanwhile."""
    duration_s: float
    """How long it took to make the artifact, in this build or an earlier one."""
    peak_memory_mb: float
    parameters: int | None
    size_bytes: int | None
    metric: Metric | None


class LayerRow(Frozen):
    """Report what is left of one layer of the dense model. A layer that was dropped has no heads and no neurons."""

    dense_heads: int
    dense_neurons: int
    heads: tuple[int, ...]
    """Numbers of the dense layer's heads that are left, from 0."""
    neurons: int
    """How many neurons are left."""


class PartSizeRow(Frozen):
    """Report how many parameters one part of the shipped checkpoint has, and how many it has in the dense model."""

    part: Literal["embeddings", "attention", "ffn", "rest"]
    """attention and ffn: of all layers together. A layer's norms are counted with its attention."""
    parameters: int
    dense_parameters: int


class ChangedRow(Frozen):
    """Report a test text that the dense model labels rightly and the package doesn't."""

    text: str
    """The text, or both texts with a line between them; cut."""
    label: str
    """The label that the data gives."""
    dense_confidence: float
    """The dense model's probability of `label`."""
    answer: str
    """The package's label."""
    confidence: float
    """The package's probability of `answer`."""


class BuildReport(Frozen):
    """Report one build."""

    schema_version: Literal[1] = 1
    name: str
    release: str
    target: str
    pipeline: str
    task: str
    verdict: Literal["pass", "fail", "inconclusive"]
    exit_code: int
    package: PackageRow
    mobile: MobileRow | None = None
    """None: the target doesn't ask for it."""
    text_graph: TextGraphRow | None = None
    page: PageRow | None = None
    """None: the pipeline doesn't ask for it."""
    examples: tuple[ExampleRow, ...] = ()
    """Programs that answer with the package in other languages; empty: the pipeline doesn't ask for any."""
    emulation: EmulationRow | None = None
    """None: the target isn't emulated, or the emulation isn't set up on this machine."""
    stages: list[StageRow]
    linear: Metric | None
    """The metric that a linear model reaches on the same test rows, from TF-IDF or from 16 x 16 pixels."""
    device: DeviceRow | None
    """The device that latencies were measured on; None: nothing was measured."""
    variant: Variant | None = None
    """The variant that is shipped: the rewrites of its graph, its precision, and its session options."""
    session_calls: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By language, the calls of ONNX Runtime's interface that set the session options that won; empty: there was no
    race."""
    race: tuple[RaceRow, ...] = ()
    """Every variant that was considered, and why it won, lost or wasn't timed; empty: there was no race."""
    latency: list[LatencyRow]
    budget: list[BudgetRow]
    notes: list[str]
    """Sentences about what the figures alone don't say."""
    cascade: CascadeRow | None = None
    """What the first stage answers, and what that costs; None: the pipeline has no cascade, or the labels don't allow one."""
    frontier: Frontier | None = None
    """Every model that a search made, and which one is shipped; None: nothing was searched."""
    layers: tuple[LayerRow, ...] = ()
    """What is left of each layer of the dense model, from the bottom up; empty: the report is older than this field."""
    hidden_size: int | None = None
    """Width of the shipped model's hidden states; None: the report is older than this field."""
    dense_hidden_size: int | None = None
    embedding_rank: int | None = None
    """Columns of the narrow table of the shipped model's token embedding; None: the embedding is one table."""
    parts: tuple[PartSizeRow, ...] = ()
    """Parameters by part; empty: the report is older than this field."""
    changed: tuple[ChangedRow, ...] = ()
    """At most ten test texts that only the dense model labels rightly, those first of which it is surest. Empty: there
    are none, the task isn't single-label text classification, or the build was told to write no report."""


def read_report(path: Path) -> BuildReport:
    """Read a `build.json` that was made on this machine or another one.

    Raises:
        UsageError: The file is missing, is not a build's report, or has a verdict that its budget rows don't give.
        SchemaVersionError: Another edgeprune wrote it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    try:
        report = BuildReport.model_validate_json(text)
    except ValidationError as error:
        if any(item["loc"] == ("schema_version",) for item in error.errors()):
            raise SchemaVersionError(
                f"{path} has another schema_version than 1; read it with the version of edgeprune that wrote it"
            ) from error
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise UsageError(f"{path} is not a build.json: {where}: {first['msg']}") from error
    said, follows = (report.verdict, report.exit_code), (overall(report.budget), exit_code(report.budget))
    if said != follows:
        raise UsageError(
            f"{path} says {said[0]} with exit_code {said[1]}, but its budget rows say {follows[0]} with {follows[1]}; it was "
            f"edited: take the file as the build wrote it"
        )
    return report

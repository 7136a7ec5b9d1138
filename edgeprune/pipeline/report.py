"""What a build found: the document of `--json`, of `build.json` and of `edgeprune.build`.

Keys never change their meaning within a schema_version.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edgeprune.base.errors import SchemaVersionError, UsageError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.benchmark.race import RaceRow
from edgeprune.benchmark.records import DeviceRow, LatencyRow
from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.pipeline.stages.emulate import EmulationRow
from edgeprune.profiles.variant import Variant
from edgeprune.store.records import Metric

__all__ = ["BuildReport", "MobileRow", "PackageRow", "StageRow", "read_report"]


class PackageRow(Frozen):
    """The deliverable."""

    path: str
    archive: str
    size_bytes: int
    """All files of the folder."""
    archive_bytes: int | None = None
    """Compressed; None: made before this was kept."""
    sha256: str
    """Of the archive."""


class MobileRow(Frozen):
    """The same model in ORT format, for builds of ONNX Runtime that load nothing else."""

    path: str
    operators: str
    """The operators that such a build must have, for its `--include_ops_by_config`."""
    size_bytes: int
    sha256: str
    max_error: float
    """Largest difference of its outputs from the ONNX file's, here."""


class StageRow(Frozen):
    """One stage's artifact."""

    stage: str
    round: int
    """0 is the dense model."""
    key: str
    cached: bool
    duration_s: float
    """Of making the artifact, whenever that was."""
    peak_memory_mb: float
    parameters: int | None
    size_bytes: int | None
    metric: Metric | None


class BuildReport(Frozen):
    """One build."""

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
    emulation: EmulationRow | None = None
    """None: the target isn't emulated, or that isn't set up here."""
    stages: list[StageRow]
    linear: Metric | None
    """What a linear model reaches on the same test rows: of TF-IDF, or of 16 x 16 pixels."""
    device: DeviceRow | None
    """None: not measured."""
    variant: Variant | None = None
    """What is shipped: the rewrites of its graph, its precision, its session options."""
    session_calls: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By language, how its interface of ONNX Runtime is told the session options that won; empty: not raced."""
    race: tuple[RaceRow, ...] = ()
    """Every variant that was thought of, and why it won, lost or wasn't timed; empty: not raced."""
    latency: list[LatencyRow]
    budget: list[BudgetRow]
    notes: list[str]
    """What the figures alone don't say."""


def read_report(path: Path) -> BuildReport:
    """A `build.json`, made here or on another machine.

    Raises:
        UsageError: It is missing or not a build's document.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    try:
        return BuildReport.model_validate_json(text)
    except ValidationError as error:
        if any(item["loc"] == ("schema_version",) for item in error.errors()):
            raise SchemaVersionError(
                f"{path} is of another schema_version than 1; use the edgeprune that wrote it"
            ) from error
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise UsageError(f"{path} is not a build.json: {where}: {first['msg']}") from error

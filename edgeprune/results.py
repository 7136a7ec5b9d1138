"""What a build found: the document of `--json`, of `build.json` and of `edgeprune.build`.

Keys never change their meaning within a schema_version.
"""

from typing import Literal

from edgeprune.artifacts import Metric
from edgeprune.budget import BudgetRow
from edgeprune.config import Frozen
from edgeprune.latency import LatencyRow

__all__ = ["BuildReport", "PackageRow", "StageRow"]


class PackageRow(Frozen):
    """The deliverable."""

    path: str
    archive: str
    size_bytes: int
    """All files of the folder."""
    sha256: str
    """Of the archive."""


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
    stages: list[StageRow]
    linear: Metric | None
    """What TF-IDF and a linear model reach on the same test rows."""
    latency: list[LatencyRow]
    budget: list[BudgetRow]

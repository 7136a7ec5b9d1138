"""Describe an artifact: its manifest, what its stage measured, and the environment that made it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue

from edgeprune.base.strict_yaml import Frozen
from edgeprune.store.files import FileRecord

__all__ = ["SCHEMA_VERSION", "Artifact", "Environment", "Key", "Manifest", "Metric", "StageMetrics", "recall_of"]


SCHEMA_VERSION = 2

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""The content address of an artifact: a SHA-256, as hexadecimal."""


class Metric(Frozen):
    """Hold a task's primary metric on the test split, or on selection where a choice follows from it. Higher is better."""

    name: str
    value: float
    samples: int
    drop: float | None = None
    """The dense PyTorch model's metric minus this one, on the same rows; None for the dense model itself."""
    drop_interval: tuple[float, float] | None = None
    """Paired 95% bootstrap interval of `drop`."""
    others: dict[str, float] = Field(default_factory=dict)
    """The task's other metrics on the same rows."""


def recall_of(label: str) -> str:
    """Name a label's recall, as `Metric.others` calls it."""
    return f"recall of {label}"


class StageMetrics(Frozen):
    """Hold what a stage measured about its own output."""

    parameters: int | None = None
    model_bytes: int | None = None
    """Size of the checkpoint's or the graph's files, in bytes."""
    metric: Metric | None = None
    linear: Metric | None = None
    """The metric of a linear model on the same rows, from TF-IDF or from 16 x 16 pixels (prepare only)."""
    notes: tuple[str, ...] = ()
    """Remarks that the figures alone don't make. They are shown with every build and in the package."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Every other measurement that is one number: parity errors, label agreement …"""


class Environment(Frozen):
    """Record where an artifact was made. The record enters no key unless the stage says so."""

    python: str
    platform: str
    arch: str
    isa: tuple[str, ...]
    threads: int
    libraries: dict[str, str]


class Manifest(Frozen):
    """Describe what an artifact is and where it comes from: the content of `manifest.json`."""

    schema_version: int = SCHEMA_VERSION
    stage: str
    key: Key
    parents: dict[str, Key]
    """The key of each parent artifact, by the parent's role."""
    config: dict[str, JsonValue]
    files: tuple[FileRecord, ...]
    metrics: StageMetrics
    environment: Environment
    seed: int
    started_at: str
    duration_s: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Artifact:
    """Hold an artifact, in the store or in the making: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def key(self) -> str:
        """The artifact's content address."""
        return self.manifest.key

    def file(self, name: str) -> Path:
        """Return the path of one of the artifact's files."""
        return self.path / name

    def digest(self, name: str) -> str:
        """Return the SHA-256 that the manifest records for one of the artifact's files."""
        return next(record.sha256 for record in self.manifest.files if record.path == name)

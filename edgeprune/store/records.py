"""Describe an artifact: its manifest, what its stage measured, and the environment that made it."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, JsonValue

from edgeprune.base.strict_yaml import Frozen
from edgeprune.store.files import FileRecord

__all__ = ["SCHEMA_VERSION", "Artifact", "Environment", "Manifest", "Metric", "StageMetrics", "recall_of"]


SCHEMA_VERSION = 1


class Metric(Frozen):
    """A task's primary metric on the test split, higher is better."""

    name: str
    value: float
    samples: int
    drop: float | None = None
    """Dense PyTorch model minus this one, on the same rows; None for the dense model itself."""
    drop_interval: tuple[float, float] | None = None
    """Paired 95% bootstrap interval of `drop`."""
    others: dict[str, float] = Field(default_factory=dict)
    """The task's other metrics on the same rows."""


def recall_of(label: str) -> str:
    """What a label's recall is called in `Metric.others`."""
    return f"recall of {label}"


class StageMetrics(Frozen):
    """What a stage measured about its own output."""

    parameters: int | None = None
    model_bytes: int | None = None
    """Size of the checkpoint's or the graph's files."""
    metric: Metric | None = None
    linear: Metric | None = None
    """What a linear model reaches on the same rows, of TF-IDF or 16 x 16 pixels (prepare only)."""
    notes: tuple[str, ...] = ()
    """What the figures alone don't say; shown with every build and in the package."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Everything else that is one number: parity errors, label agreement …"""


class Environment(Frozen):
    """Where an artifact was made; recorded, never part of a key unless the stage says so."""

    python: str
    platform: str
    arch: str
    isa: tuple[str, ...]
    threads: int
    libraries: dict[str, str]


class Manifest(Frozen):
    """`manifest.json`: what an artifact is and where it comes from."""

    schema_version: int = SCHEMA_VERSION
    stage: str
    key: str
    parents: dict[str, str]
    """Role to key."""
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
    """An artifact in the store (or in the making, as a parent sees it): a folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def key(self) -> str:
        """The artifact's content address."""
        return self.manifest.key

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.path / name

    def digest(self, name: str) -> str:
        """SHA-256 of one of its files, as the manifest has it."""
        return next(record.sha256 for record in self.manifest.files if record.path == name)

"""Define the contract of a stage: what it requires, what it runs, and what it ensures.

A stage reads artifacts and writes one artifact. It is light until it runs: its key is computed without torch, and heavy
imports are inside `run`. `fingerprint` says everything that determines the output, apart from the parents.

    class Export(Stage):
        name, version = "export", 1
        roles = ("checkpoint",)           # requires these parents
        produces = ("model.onnx",)        # ensures these files
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from edgeprune.base.errors import IntegrityError
from edgeprune.base.events import Emit
from edgeprune.data.source import DataSource
from edgeprune.models.reference import ModelSource
from edgeprune.store.environment import library_versions
from edgeprune.store.files import artifact_key
from edgeprune.store.records import Artifact, StageMetrics

__all__ = ["Stage", "Work"]


@dataclass(frozen=True)
class Work:
    """Hold what a running stage is given."""

    model: ModelSource
    data: DataSource
    parents: Mapping[str, Artifact]
    """The artifacts that the stage reads, by role."""
    folder: Path
    """The folder that the stage writes its files to."""
    partial: Path
    """A folder in which the stage may keep what lets it resume."""
    seed: int
    emit: Emit
    progress: Callable[[int, int, str], None]
    """A function that is called with (done, total, unit)."""
    unlabelled: DataSource | None = None
    """Rows without labels that a pruned model learns from; None: there are none."""


class Stage(ABC):
    """Make one artifact from others, by a resolved config."""

    name: ClassVar[str]
    version: ClassVar[int]
    """The version of the stage's code. It is raised whenever a change of the code changes what the stage writes."""
    libraries: tuple[str, ...] = ()
    """Python packages whose version shapes the output."""
    roles: ClassVar[tuple[str, ...]] = ()
    """Roles of the parents that the stage requires."""
    produces: tuple[str, ...] = ()
    """Files and folders that the stage ensures."""

    verdict: ClassVar[str | None] = None
    """The file whose digest enters the keys of artifacts made from this one, if its content is measured and doesn't
    follow from the artifact's key. None: the artifact's key enters them."""

    measures: ClassVar[bool] = False
    """Whether the artifact is a measurement. A measurement is made anew in every build, and the store keeps every
    run."""

    round: int = 0
    """The round of pruning, from 1; 0 is the dense model."""

    @abstractmethod
    def fingerprint(self) -> dict[str, JsonValue]:
        """Say everything that determines the output, apart from parents, seed, libraries and the stage's code."""

    @abstractmethod
    def run(self, work: Work) -> StageMetrics:
        """Write the artifact's files into `work.folder`, and return the artifact's figures."""

    def key(self, parents: Mapping[str, str], seed: int) -> str:
        """Compute the content address of the artifact.

        Args:
            parents: Keys of the parents, by role.
            seed: The pipeline's seed.
        """
        return artifact_key(
            {
                "stage": self.name,
                "version": self.version,
                "config": self.fingerprint(),
                "parents": dict(parents),
                "seed": seed,
                "libraries": dict(library_versions(self.libraries)),
            }
        )

    def __call__(self, work: Work) -> StageMetrics:
        """Check what the stage requires, run it, and check what it ensures.

        Raises:
            IntegrityError: A required parent or a promised file is missing.
        """
        missing = [role for role in self.roles if role not in work.parents]
        if missing:
            raise IntegrityError(f"the stage {self.name} needs {', '.join(missing)}, which the pipeline didn't give it")
        metrics = self.run(work)
        absent = [name for name in self.produces if not (work.folder / name).exists()]
        if absent:
            raise IntegrityError(f"the stage {self.name} ended without writing {', '.join(absent)}")
        return metrics

"""The contract of a stage: requires, run, ensures.

A stage reads artifacts and writes one. It is light until it runs: its key is computed without torch, and the heavy
imports are inside `run`. What determines its output, beside its parents, is in `fingerprint`.

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
    """What a running stage is given."""

    model: ModelSource
    data: DataSource
    parents: Mapping[str, Artifact]
    folder: Path
    """Where the stage writes its files."""
    partial: Path
    """Where it may keep what lets it resume."""
    seed: int
    emit: Emit
    progress: Callable[[int, int, str], None]
    """Called with (done, total, unit)."""


class Stage(ABC):
    """One stage with its resolved config."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised whenever the stage's code changes what it writes."""
    libraries: tuple[str, ...] = ()
    """Packages whose version shapes the output."""
    roles: ClassVar[tuple[str, ...]] = ()
    """The parents it requires."""
    produces: tuple[str, ...] = ()
    """Files it ensures."""

    verdict: ClassVar[str | None] = None
    """The file by whose digest the keys of what reads this artifact are made, where it is measured: the artifact's own key
    doesn't say what came out."""

    measures: ClassVar[bool] = False
    """Whether what comes out is a measurement: made anew in every build, every run kept."""

    round: int = 0
    """0 is the dense model."""

    @abstractmethod
    def fingerprint(self) -> dict[str, JsonValue]:
        """Everything that determines the output beside parents, seed, libraries and the stage's code."""

    @abstractmethod
    def run(self, work: Work) -> StageMetrics:
        """Write the artifact's files into `work.folder`."""

    def key(self, parents: Mapping[str, str], seed: int) -> str:
        """The content address of what this stage makes of these parents (role to key)."""
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
        """Run between its pre- and postconditions.

        Raises:
            IntegrityError: A parent or a promised file is missing.
        """
        missing = [role for role in self.roles if role not in work.parents]
        if missing:
            raise IntegrityError(f"the stage {self.name} needs {', '.join(missing)}, which the pipeline didn't give it")
        metrics = self.run(work)
        absent = [name for name in self.produces if not (work.folder / name).exists()]
        if absent:
            raise IntegrityError(f"the stage {self.name} ended without writing {', '.join(absent)}")
        return metrics

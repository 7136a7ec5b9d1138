"""Hold what the documents about a package are written from. All of it follows from the build's inputs, so they do too.

Nothing that is measured on a clock is among it: the same inputs give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from edgeprune.store.files import FileRecord, file_records
from edgeprune.store.package import description
from edgeprune.store.records import StageMetrics

__all__ = ["Made", "Material", "Role"]

Role = Literal["model", "train", "selection", "test", "unlabelled"]
"""What a build uses an input for."""


@dataclass(frozen=True)
class Material:
    """Name an input of a build."""

    role: Role
    name: str
    """The name of a file, without the folder that it lies in; or the name of a dataset."""
    sha256: str
    """The SHA-256 of the file; of a dataset that was loaded by its name: that of its rows."""
    is_file: bool = True


@dataclass(frozen=True)
class Made:
    """Hold what a package was made from, and what it is."""

    folder: Path
    """The package's folder."""
    archive_sha256: str
    key: str
    """The key of the package's artifact."""
    model: str
    """The name of the model that was given."""
    family: str | None
    """The family that the model's config.json names, such as bert; None: it names none."""
    materials: tuple[Material, ...]
    """The model's files, then the data's."""
    reads: Literal["text", "image"]
    asked: Mapping[str, JsonValue]
    """What the user asked for that shapes the package."""
    builder: Mapping[str, str]
    """The version of edgeprune, by its name."""
    libraries: Mapping[str, str]
    """The libraries of the package stage, with their versions."""
    dense: StageMetrics
    """What was measured of the model before it was pruned."""
    final: StageMetrics
    """What was measured of the package."""

    @cached_property
    def files(self) -> tuple[FileRecord, ...]:
        """The package's files."""
        return file_records(self.folder)

    @cached_property
    def lineage(self) -> dict[str, Any]:
        """The package's lineage.json: every ancestor's key and digests."""
        return dict(json.loads((self.folder / "lineage.json").read_bytes()))

    @cached_property
    def description(self) -> dict[str, Any]:
        """The package's edgeprune.json."""
        return description(self.folder)

    @property
    def archive(self) -> str:
        """The name of the package's archive."""
        return f"{self.folder.name}.tar.gz"

    @property
    def all_libraries(self) -> dict[str, str]:
        """The libraries of every stage, with their versions, sorted by name."""
        made = [stage["libraries"] for stage in self.lineage["stages"]]
        return dict(sorted(pair for versions in [*made, self.libraries] for pair in versions.items()))

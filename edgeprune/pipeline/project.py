"""Read a project file, and say which builds it asks for. Light: no torch.

project = read_project(Path("edgeprune.yaml"))
builds = builds_of(project, {"release": "1.4.0"})     # what was typed wins over the file
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeprune.base.bounded_yaml import lines_of
from edgeprune.base.errors import DataError, EdgepruneError, ModelError, SchemaVersionError
from edgeprune.base.overrides import Override
from edgeprune.base.strict_yaml import inline, read_yaml, validate
from edgeprune.devices.match import host_target, this_machine
from edgeprune.pipeline.options import BuildOptions
from edgeprune.profiles.project import Project
from edgeprune.profiles.shipped import load_pipeline, load_target

__all__ = ["ProjectFile", "read_project"]

_VERSION = 1
_KEYS = {
    "model": "model",
    "text_column": "columns.text",
    "pair_column": "columns.pair",
    "label_column": "columns.label",
    "data": "data.train",
    "selection_data": "data.selection",
    "test_data": "data.test",
    "unlabelled": "data.unlabelled",
    "max_rows": "data.max_rows",
    "task": "task",
    "problem_type": "problem_type",
    "pipeline": "pipeline",
    "name": "name",
    "release": "release",
    "output": "output",
    "baseline": "baseline",
    "baseline_key": "baseline_key",
    "max_regression": "max_regression",
}
"""Where the file has the value of an option of a build. `target` and `set_` are made of several keys."""


@dataclass(frozen=True)
class ProjectFile:
    """Hold a project and the file that it was read from."""

    path: Path
    project: Project

    def builds(self, typed: Mapping[str, Any]) -> list[BuildOptions]:
        """Give the options of the builds that are asked for, one for each target.

        Args:
            typed: Options that were typed, which win over the file. Overrides are added to the file's budgets.

        Raises:
            ProfileError: The pipeline or a target doesn't exist, isn't valid, or can't have the file's budgets. The message
                names the file, the line and the key.
        """
        written = {option: self._value(key) for option, key in _KEYS.items()}
        options = {option: value for option, value in written.items() if value is not None} | dict(typed)
        if "pipeline" not in typed:
            try:
                load_pipeline(self.project.pipeline)
            except EdgepruneError as error:
                raise self._told_at("pipeline", error) from error
        if "target" not in typed:
            for number, target in enumerate(self.project.targets):
                try:
                    _load(target, ())
                except EdgepruneError as error:
                    raise self._told_at(f"targets.{number}", error) from error
                _load(target, self._budgets())
        targets = [typed["target"]] if "target" in typed else self.project.targets
        budgets = [f"{'.'.join(one.path)}={inline(one.value)}" for one in self._budgets()]
        options["set_"] = [*budgets, *typed.get("set_", ())]
        return [BuildOptions(**{**options, "target": target}) for target in targets]

    @contextlib.contextmanager
    def told(self, typed: Mapping[str, Any]) -> Iterator[None]:
        """Name the file, the line and the key in what is said against the model or the data, unless these were typed."""
        try:
            yield
        except (ModelError, DataError) as error:
            option = "model" if isinstance(error, ModelError) else "data"
            if option in typed or any(isinstance(value, str) and value in str(error) for value in typed.values()):
                raise
            key = option if isinstance(error, ModelError) else self._key_of(error)
            raise self._told_at(key, error) from error

    def _budgets(self) -> list[Override]:
        """Give the budgets that the file sets, as overrides of a target."""
        given = self.project.budgets
        return [
            Override(_place(self.path, f"budgets.{name}"), ("target", "budget", name), value)
            for name, value in given.model_dump(mode="json", include=given.model_fields_set).items()
        ]

    def _value(self, key: str) -> Any:
        found: Any = self.project
        for part in key.split("."):
            found = getattr(found, part)
        return found

    def _told_at(self, key: str, error: EdgepruneError) -> EdgepruneError:
        return type(error)(f"{_place(self.path, key)}: {error}")

    def _key_of(self, error: DataError) -> str:
        """Find the column or the split whose value an error quotes; else all of the data."""
        quoted = {key: self._value(key) for key in _KEYS.values() if key.startswith(("columns.", "data."))}
        return next(
            (
                key
                for key, value in quoted.items()
                if isinstance(value, str) and (value if key.startswith("data.") else repr(value)) in str(error)
            ),
            "data",
        )


def read_project(path: Path) -> ProjectFile:
    """Read a project file.

    Raises:
        ProfileError: The file can't be read or isn't valid. The message lists every fault with its line and key.
        SchemaVersionError: The file was written for a newer edgeprune.
    """
    content = read_yaml(path)
    asked = content.get("schema_version")
    if isinstance(asked, int) and asked > _VERSION:
        raise SchemaVersionError(
            f"{_place(path, 'schema_version')} is {asked}, but edgeprune {version('edgeprune')} reads {_VERSION}; install a "
            f"newer edgeprune, or write the file anew with edgeprune init --force"
        )
    return ProjectFile(path, validate(Project, content, source=str(path), kind="project", file=path))


def _load(target: str, overrides: Sequence[Override]) -> None:
    """Raises EdgepruneError where there is no such target, or it can't have the overrides."""
    if target == "host":
        host_target(this_machine(), overrides)
    else:
        load_target(target, overrides)


def _place(path: Path, key: str) -> str:
    (line,) = lines_of(path.read_text(encoding="utf-8"), [key])
    return f"{path}, {key}" if line is None else f"{path} line {line}, {key}"

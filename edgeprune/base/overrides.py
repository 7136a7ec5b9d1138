"""Override single values of a definition: `--set stages.finetune.epochs=1`. A fault names the override as it was typed.

pipeline = validate_overridden(Pipeline, content, [parse_override("seed=7")], file=Path("mine.yaml"), kind="pipeline")
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import JsonValue, ValidationError

from edgeprune.base.bounded_yaml import load_yaml
from edgeprune.base.errors import ProfileError
from edgeprune.base.strict_yaml import MOST_LINES, Fault, Frozen, faults, invalid
from edgeprune.base.wording import cut, quoted

__all__ = ["Override", "apply_overrides", "parse_override", "validate_overridden"]

_LONGEST_PATH = 32
"""Dots in the path of an override."""

"""Faults of overrides that a message lists."""

ModelT = TypeVar("ModelT", bound=Frozen)


@dataclass(frozen=True)
class Override:
    """Hold one override."""

    origin: str
    """Where it comes from, for messages: `--set target.budget.size_mb=30`."""
    path: tuple[str, ...]
    """Where the value goes in the definition."""
    value: JsonValue

    def below(self) -> Self:
        """Give the same override for what lies below the first key of its path."""
        return replace(self, path=self.path[1:])

    def concerns(self, path: str) -> bool:
        """Tell whether the override sets a path, something below it, or something that it lies in."""
        parts = tuple(path.split(".")) if path else ()
        shared = min(len(parts), len(self.path))
        return parts[:shared] == self.path[:shared]


def parse_override(text: str) -> Override:
    """Split `stages.prune.steps.0.keep_ffn=0.4` into its path and its value, which is read as YAML.

    Raises:
        ProfileError: The text has no `=`, an empty path, or a value that is not YAML; or the path is `target` alone.
    """
    path, separator, raw = text.partition("=")
    if not separator or not all(path.split(".")):
        raise ProfileError(f"--set needs path.to.key=value, got {text!r}")
    if path == "target":
        raise ProfileError(f"--set target.… changes values of the target; to choose another one, use --target {raw}")
    if path.count(".") > _LONGEST_PATH:
        raise ProfileError(f"--set {cut(path)} lies too deep; a path has at most {_LONGEST_PATH + 1} parts")
    try:
        return Override(f"--set {text}", tuple(path.split(".")), load_yaml(raw))
    except yaml.YAMLError as error:
        why = f": {error.problem}" if isinstance(error, yaml.MarkedYAMLError) and error.problem else ""
        raise ProfileError(f"--set {cut(path)}: {quoted(raw)} is not a YAML value{why}") from error


def apply_overrides(content: dict[str, JsonValue], overrides: Iterable[Override]) -> dict[str, JsonValue]:
    """Copy `content`, with every override in its place.

    Raises:
        ProfileError: A path leads through a value or past the end of a list.
    """
    result: Any = _copy(content)
    for override in overrides:
        path = override.path
        node: Any = result
        for depth, part in enumerate(path):
            last = depth == len(path) - 1
            here = ".".join(path[:depth]) or "the top"
            if isinstance(node, list):
                if not part.isdecimal() or int(part) >= len(node):
                    raise ProfileError(
                        f"{cut(override.origin)}: {here} is a list of {len(node)} and has no item {part!r}"
                    )
                index: Any = int(part)
            elif isinstance(node, dict):
                index = part
                if not last and node.get(part) is None:
                    node[part] = {}
            else:
                raise ProfileError(f"{cut(override.origin)}: {here} is a value and has no key {part!r}")
            if last:
                node[index] = override.value
            else:
                node = node[index]
    return dict(result)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def validate_overridden(
    model: type[ModelT], content: dict[str, JsonValue], overrides: Sequence[Override], *, file: Path, kind: str
) -> ModelT:
    """Validate what a file holds as a `model`, with every override in its place.

    Args:
        model: The class that the content should fit.
        content: What the file holds.
        overrides: The overrides, in their order.
        file: The file, for the message.
        kind: What the content should be, for the message.

    Raises:
        ProfileError: An override leads nowhere, or the result is not valid. The message lists the faults of the file with
            their lines, and those that come from overrides with what was typed.
    """
    try:
        return model.model_validate(apply_overrides(content, overrides))
    except ValidationError as error:
        found = faults(model, error)
        own = set(_faults_of(model, content, ()) if overrides else found)
        of_file = [fault for fault in found if fault in own]
        told = [invalid(of_file, source=str(file), kind=kind, file=file)] if of_file else []
        of_overrides = [fault for fault in found if fault not in own]
        for fault in of_overrides[:MOST_LINES]:
            guilty = _guilty(model, content, overrides, fault)
            place = (
                "" if any(".".join(one.path) == fault.path for one in guilty) or not fault.path else f"{fault.path}: "
            )
            told.append(f"{' '.join(cut(one.origin) for one in guilty)}: {cut(place)}{fault.sentence}")
        if len(of_overrides) > MOST_LINES:
            told.append(f"… and {len(of_overrides) - MOST_LINES:,} more")
        raise ProfileError("\n".join(told)) from error


def _faults_of(model: type[Frozen], content: dict[str, JsonValue], overrides: Sequence[Override]) -> list[Fault]:
    try:
        model.model_validate(apply_overrides(content, overrides))
    except ValidationError as error:
        return faults(model, error)
    return []


def _guilty(
    model: type[Frozen], content: dict[str, JsonValue], overrides: Sequence[Override], fault: Fault
) -> Sequence[Override]:
    """Find the overrides without which there would be no such fault; all that concern its place if each alone is enough."""
    near = [one for one in overrides if one.concerns(fault.path)] or overrides
    guilty = []
    for override in near:
        others = [one for one in overrides if one is not override]
        if fault not in _faults_of(model, content, others):
            guilty.append(override)
    return guilty or near

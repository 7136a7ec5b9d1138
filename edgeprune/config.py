"""Strict YAML: a file becomes a frozen pydantic model, or one error that lists everything wrong with it.

Keys that stand twice, keys that nobody reads and numbers out of range are refused, each with its path in the YAML and,
for a misspelt key, the nearest known one:

    pipelines/mine.yaml is not a valid pipeline:
      stages.prune.steps.0.keep_heads: 1.4 is above 1
      stages.finetune.epoch: unknown key; did you mean 'epochs'?
"""

import re
from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from edgeprune.errors import ProfileError

__all__ = ["Frozen", "apply_overrides", "parse_override", "read_yaml", "validate"]


class Frozen(BaseModel):
    """Base of every model in the project: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


ModelT = TypeVar("ModelT", bound=Frozen)


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader (libyaml's where PyYAML was built with it), but it refuses a key given twice in one mapping."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} is no text", problem_mark=key_node.start_mark)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, JsonValue]:
    """The mapping in a YAML file.

    Raises:
        ProfileError: The file is missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError as error:
        raise ProfileError(f"no file {path}; give the path of a YAML file or the name of a shipped one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} could not be read as UTF-8 text: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ProfileError(f"{path}{line} is not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that isn't one
        raise ProfileError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ProfileError(f"{path} should hold a mapping of keys to values, but holds {type(content).__name__}")
    return content


def parse_override(text: str) -> tuple[list[str], JsonValue]:
    """`stages.prune.steps.0.keep_ffn=0.4` as (path, value); the value is read as YAML.

    Raises:
        ProfileError: No `=`, an empty path, or a value that is not YAML.
    """
    path, separator, raw = text.partition("=")
    if not separator or not all(path.split(".")):
        raise ProfileError(f"--set needs path.to.key=value, got {text!r}")
    if path == "target":
        raise ProfileError(f"--set target.… changes values of the target; to choose another one, use --target {raw}")
    try:
        return path.split("."), yaml.load(raw, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ProfileError(f"--set {path}: {raw!r} is not a YAML value") from error


def apply_overrides(
    content: dict[str, JsonValue], overrides: Iterable[tuple[list[str], JsonValue]]
) -> dict[str, JsonValue]:
    """A copy of `content` with every override in its place.

    Raises:
        ProfileError: A path that leads through a value or past the end of a list.
    """
    result: Any = _copy(content)
    for path, value in overrides:
        node: Any = result
        for depth, part in enumerate(path):
            last = depth == len(path) - 1
            here = ".".join(path[:depth]) or "the top"
            if isinstance(node, list):
                if not part.isdecimal() or int(part) >= len(node):
                    raise ProfileError(
                        f"--set {'.'.join(path)}: {here} is a list of {len(node)}, it has no item {part!r}"
                    )
                index: Any = int(part)
            elif isinstance(node, dict):
                index = part
                if not last and node.get(part) is None:
                    node[part] = {}
            else:
                raise ProfileError(f"--set {'.'.join(path)}: {here} is a value, it has no key {part!r}")
            if last:
                node[index] = value
            else:
                node = node[index]
    return dict(result)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def validate(model: type[ModelT], content: Mapping[str, JsonValue], *, source: str, kind: str) -> ModelT:
    """`content` as `model`.

    Args:
        source: Where the content comes from, for the message.
        kind: What it should be ("pipeline", "target profile"), for the message.

    Raises:
        ProfileError: With every fault, its path, and a suggestion for a misspelt key.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = [item for item in error.errors() if not _follows_from_another(item, error.errors())]
        lines: dict[str, list[str]] = {}
        for item in faults:
            lines.setdefault(_path(model, item["loc"]), []).append(_sentence(model, item))
        shown = "\n".join(f"  {path or 'the whole'}: {', or '.join(sentences)}" for path, sentences in lines.items())
        raise ProfileError(f"{source} is not a valid {kind}:\n{shown}") from error


def _follows_from_another(item: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Whether a fault below this place is listed too: a list whose only item is invalid is also reported as too short."""
    depth = len(item["loc"])
    return any(len(other["loc"]) > depth and other["loc"][:depth] == item["loc"] for other in errors)


_COMPARISONS = {
    "greater_than": ("is not above", "gt"),
    "greater_than_equal": ("is below", "ge"),
    "less_than": ("is not below", "lt"),
    "less_than_equal": ("is above", "le"),
}


def _sentence(model: type[BaseModel], item: ErrorDetails) -> str:
    kind, value = item["type"], item["input"]
    if kind == "missing":
        return "required, but missing"
    if kind == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        near = get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known)) or 'nothing'}"
        return f"unknown key; {hint}"
    if kind in _COMPARISONS:
        words, bound = _COMPARISONS[kind]
        return f"{value} {words} {item.get('ctx', {})[bound]}"
    if kind == "literal_error":
        expected = item.get("ctx", {}).get("expected", "")
        near = get_close_matches(
            str(value), [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")], n=1
        )
        return f"{value!r} is not one of {expected}" + (f"; did you mean {near[0]!r}?" if near else "")
    if kind == "value_error":
        return item["msg"].removeprefix("Value error, ")
    wanted = re.sub(r"^(Input|String|Keys|Tuple|List) should ", "", item["msg"]).removesuffix(f", not {_size(value)}")
    return f"{value!r} should {wanted}"


def _path(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """The path in the YAML: pydantic adds a part for each of several types that a value may have."""
    parts = list(location)
    if (
        parts
        and isinstance(parts[-1], str)
        and parts[-1] not in _fields_at(model, location[:-1])
        and _is_choice(parts[-1])
    ):
        parts.pop()
    return ".".join(map(str, parts))


def _is_choice(part: str) -> bool:
    return re.match(r"^(literal\[|constrained-|(int|float|str|bool|none|tuple|list|dict|nullable)\b)", part) is not None


def _size(value: object) -> str:
    return str(len(value)) if isinstance(value, list | tuple | dict | str) else ""


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The field names of the model that stands at `location` below `model`."""
    current: type[BaseModel] | None = model
    for part in location:
        if current is not None and isinstance(part, str) and part in current.model_fields:
            current = _model_in(current.model_fields[part].annotation)
    return [] if current is None else list(current.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The first pydantic model in a (possibly nested) annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for item in get_args(annotation) if (found := _model_in(item))), None)

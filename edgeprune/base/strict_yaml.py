"""Read strict YAML: a file becomes a frozen pydantic model, or one error that lists everything wrong with it.

Keys that stand twice, keys that nobody reads and numbers out of range are refused. The error names each fault with its
path in the YAML and, for a misspelt key, the nearest known key:

    pipelines/mine.yaml is not a valid pipeline:
      stages.prune.steps.0.keep_heads: 1.4 is above 1
      stages.finetune.epoch: unknown key; did you mean 'epochs'?
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from edgeprune.base.bounded_yaml import LONGEST_TEXT, load_yaml
from edgeprune.base.errors import ProfileError

__all__ = ["Frozen", "apply_overrides", "parse_override", "read_yaml", "validate"]

_MOST_LINES = 20
"""Faults that a message lists; of more it says how many."""
_MOST_SHOWN = 100
"""Characters of a value or a path that a message shows."""
_LONGEST_PATH = 32
"""Dots in the path of an override."""


class Frozen(BaseModel):
    """Serve as the base of every model in the project: immutable, with unknown keys and infinite numbers refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


ModelT = TypeVar("ModelT", bound=Frozen)


def read_yaml(path: Path) -> dict[str, JsonValue]:
    """Read the mapping in a YAML file.

    Raises:
        ProfileError: The file is missing, not YAML, or not a mapping.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = load_yaml(file.read(LONGEST_TEXT + 1))  # a path may name what never ends
    except FileNotFoundError as error:
        raise ProfileError(
            f"there is no file {path}; give the path of a YAML file or the name of a shipped one"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} could not be read as UTF-8 text: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ProfileError(f"{path}{line} is not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ProfileError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ProfileError(f"{path} should hold a mapping of keys to values, but holds {type(content).__name__}")
    return content


def parse_override(text: str) -> tuple[list[str], JsonValue]:
    """Split `stages.prune.steps.0.keep_ffn=0.4` into (path, value). The value is read as YAML.

    Raises:
        ProfileError: The text has no `=`, an empty path, or a value that is not YAML; or the path is `target` alone.
    """
    path, separator, raw = text.partition("=")
    if not separator or not all(path.split(".")):
        raise ProfileError(f"--set needs path.to.key=value, got {text!r}")
    if path == "target":
        raise ProfileError(f"--set target.… changes values of the target; to choose another one, use --target {raw}")
    if path.count(".") > _LONGEST_PATH:
        raise ProfileError(f"--set {_cut(path)} lies too deep; a path has at most {_LONGEST_PATH + 1} parts")
    try:
        return path.split("."), load_yaml(raw)
    except yaml.YAMLError as error:
        why = f": {error.problem}" if isinstance(error, yaml.MarkedYAMLError) and error.problem else ""
        raise ProfileError(f"--set {_cut(path)}: {_quoted(raw)} is not a YAML value{why}") from error


def apply_overrides(
    content: dict[str, JsonValue], overrides: Iterable[tuple[list[str], JsonValue]]
) -> dict[str, JsonValue]:
    """Copy `content`, with every override in its place.

    Raises:
        ProfileError: A path leads through a value or past the end of a list.
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
                        f"--set {'.'.join(path)}: {here} is a list of {len(node)} and has no item {part!r}"
                    )
                index: Any = int(part)
            elif isinstance(node, dict):
                index = part
                if not last and node.get(part) is None:
                    node[part] = {}
            else:
                raise ProfileError(f"--set {'.'.join(path)}: {here} is a value and has no key {part!r}")
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
    """Validate `content` as a `model`.

    Args:
        model: The class that the content should fit.
        content: The mapping to validate.
        source: Where the content comes from, for the message.
        kind: What the content should be ("pipeline", "target profile"), for the message.

    Raises:
        ProfileError: The content is not valid. The message lists every fault with its path.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines: dict[str, list[ErrorDetails]] = {}
        for item in error.errors(include_url=False):
            lines.setdefault(_path(model, item), []).append(item)
        ordered = sorted(lines)
        told = [path for path in lines if not _follows_from_another(path, ordered)]
        shown = [
            f"  {_cut(path) or 'the whole definition'}: {', or '.join(_sentence(model, item) for item in _telling(lines[path]))}"
            for path in told[:_MOST_LINES]
        ]
        if len(told) > _MOST_LINES:
            shown.append(f"  … and {len(told) - _MOST_LINES:,} more")
        raise ProfileError("\n".join([f"{source} is not a valid {kind}:", *shown])) from error


def _follows_from_another(path: str, ordered: Sequence[str]) -> bool:
    """Tell whether a fault below this place is listed too: a list whose only item is invalid counts as too short."""
    below = f"{path}."
    place = bisect_left(ordered, below)
    return place < len(ordered) and ordered[place].startswith(below)


def _telling(items: list[ErrorDetails]) -> list[ErrorDetails]:
    """Keep only the faults for the type that the value has, where it may be of several types."""
    return [item for item in items if not item["type"].endswith("_type")] or items


_COMPARISONS = {
    "greater_than": ("is not above", "gt"),
    "greater_than_equal": ("is below", "ge"),
    "less_than": ("is not below", "lt"),
    "less_than_equal": ("is above", "le"),
}


def _sentence(model: type[BaseModel], item: ErrorDetails) -> str:
    kind, value = item["type"], item["input"]
    if kind in ("missing", "union_tag_not_found"):
        return "required, but missing"
    if kind == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        near = get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known)) or 'nothing'}"
        return f"unknown key; {hint}"
    if kind in _COMPARISONS:
        words, bound = _COMPARISONS[kind]
        return f"{_cut(str(value))} {words} {item.get('ctx', {})[bound]}"
    if kind in ("literal_error", "union_tag_invalid"):
        context = item.get("ctx", {})
        return _not_one_of(context.get("tag", value), context.get("expected", context.get("expected_tags", "")))
    if kind == "value_error":
        return item["msg"].removeprefix("Value error, ")
    wanted = re.sub(r"^(Input|String|Keys|Tuple|List) should ", "", item["msg"]).removesuffix(f", not {_size(value)}")
    return f"{_quoted(value)} should {wanted}"


def _quoted(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    """Shorten a text that may be long to what a message shows of it."""
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _not_one_of(value: object, expected: str) -> str:
    words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    near = get_close_matches(str(value), words, n=1)
    return f"{_quoted(value)} is not one of {expected}" + (f"; did you mean {near[0]!r}?" if near else "")


def _path(model: type[BaseModel], item: ErrorDetails) -> str:
    """Find the path in the YAML. Pydantic adds parts to it where a value may be of several types or models."""
    location = item["loc"]
    parts = [
        str(part)
        for depth, part in enumerate(location)
        if isinstance(part, int)
        or part in _fields_at(model, location[:depth])
        or not _is_choice(model, location, depth)
    ]
    if item["type"].startswith("union_tag"):
        parts.append(item["ctx"]["discriminator"].strip("'"))
    return ".".join(parts)


def _is_choice(model: type[BaseModel], location: tuple[int | str, ...], depth: int) -> bool:
    part = str(location[depth])
    if re.match(r"^(literal\[|constrained-|(int|float|str|bool|none|tuple|list|dict|nullable)\b)", part):
        return True
    return any(_is_tagged(one, part) for one in _models_at(model, location[:depth]))


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    """Tell whether a model of a discriminated union goes by this tag."""
    return any(get_args(field.annotation) == (tag,) for field in model.model_fields.values())


def _size(value: object) -> str:
    return str(len(value)) if isinstance(value, list | tuple | dict | str) else ""


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """List the field names of the models that may stand at `location` below `model`."""
    return [name for one in _models_at(model, location) for name in one.model_fields]


def _models_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    current = [model]
    for part in location:
        if isinstance(part, int):
            continue
        fields = [one.model_fields[part] for one in current if part in one.model_fields]
        if fields:
            current = [found for field in fields for found in _models_in(field.annotation)]
        else:
            current = [one for one in current if _is_tagged(one, part)] or current
    return current


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """List all pydantic models in a (possibly nested) annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for item in get_args(annotation) for found in _models_in(item)]

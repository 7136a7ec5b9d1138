"""Read strict YAML: a file becomes a frozen pydantic model, or one error that lists everything wrong with it.

Keys that stand twice, keys that nobody reads and numbers out of range are refused. The error names each fault with its
path in the YAML and, for a misspelt key, the nearest known key:

    pipelines/mine.yaml is not a valid pipeline:
      line 9, stages.prune.steps.0.keep_heads: 1.4 is above 1
      line 10, stages.finetune.epoch: unknown key; did you mean 'epochs'?
"""

import math
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from edgeprune.base.bounded_yaml import LONGEST_TEXT, lines_of, load_yaml
from edgeprune.base.errors import ProfileError
from edgeprune.base.wording import cut, quoted

__all__ = ["MOST_LINES", "Fault", "Frozen", "fault_lines", "faults", "inline", "invalid", "read_yaml", "validate"]

MOST_LINES = 20
"""Faults that a message lists; of more it says how many."""


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


def inline(value: JsonValue) -> str:
    """Write a value as YAML in one line, from which it is read back the same."""
    text: str = yaml.safe_dump([value], default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return text.strip()[1:-1]


class Fault(NamedTuple):
    """Say what is wrong at one place of a definition."""

    path: str
    """Keys with dots between them; empty: the whole definition."""
    sentence: str


def validate(
    model: type[ModelT], content: Mapping[str, JsonValue], *, source: str, kind: str, file: Path | None = None
) -> ModelT:
    """Validate `content` as a `model`.

    Args:
        model: The class that the content should fit.
        content: The mapping to validate.
        source: Where the content comes from, for the message.
        kind: What the content should be ("pipeline", "target profile"), for the message.
        file: The YAML file that the content was read from, for the lines in the message; None: there is none.

    Raises:
        ProfileError: The content is not valid. The message lists every fault with its path.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ProfileError(invalid(faults(model, error), source=source, kind=kind, file=file)) from error


def faults(model: type[BaseModel], error: ValidationError) -> list[Fault]:
    """List what is wrong, a fault for each place. A fault that only follows from another one is left out."""
    found: dict[str, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_path(model, item), []).append(item)
    ordered = sorted(found)
    return [
        Fault(path, ", or ".join(_sentence(model, item) for item in _telling(items)))
        for path, items in found.items()
        if not _follows_from_another(path, ordered)
    ]


def invalid(found: Sequence[Fault], *, source: str, kind: str, file: Path | None = None) -> str:
    """Write the message about faults. The parameters are those of `validate`."""
    return "\n".join([f"{source} is not a valid {kind}:", *fault_lines(found, file)])


def fault_lines(found: Sequence[Fault], file: Path | None) -> list[str]:
    """Write a line for each fault: its line in the file if there is one, its path, and what is wrong."""
    told = found[:MOST_LINES]
    paths = [fault.path for fault in told]
    lines = [None] * len(told) if file is None else lines_of(file.read_text(encoding="utf-8"), paths)
    shown = [
        f"  {'' if line is None else f'line {line}, '}{cut(fault.path) or 'the whole definition'}: {fault.sentence}"
        for fault, line in zip(told, lines, strict=True)
    ]
    return shown if len(found) <= MOST_LINES else [*shown, f"  … and {len(found) - MOST_LINES:,} more"]


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
        return f"{cut(str(value))} {words} {item.get('ctx', {})[bound]}"
    if kind in ("literal_error", "union_tag_invalid"):
        context = item.get("ctx", {})
        return _not_one_of(context.get("tag", value), context.get("expected", context.get("expected_tags", "")))
    if kind == "value_error":
        return item["msg"].removeprefix("Value error, ")
    wanted = re.sub(r"^(Input|String|Keys|Tuple|List) should ", "", item["msg"]).removesuffix(f", not {_size(value)}")
    return f"{quoted(value)} should {wanted}"


def _not_one_of(value: object, expected: str) -> str:
    words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    near = get_close_matches(str(value), words, n=1)
    return f"{quoted(value)} is not one of {expected}" + (f"; did you mean {near[0]!r}?" if near else "")


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

"""Read lists that were written as texts, as a CSV has to have them: `["a", "b"]`, or `['a', 'b']` as pandas writes it."""

import ast
import json
from typing import Any

__all__ = ["as_list", "as_lists"]

_LONGEST = 100_000
"""Characters of a list in Python's form; its parser takes much memory for each."""


def as_lists(values: list[Any]) -> list[Any]:
    """Read every value as a list (or an answer's dict) where all are such texts; else give them as they are."""
    found: list[Any] = []
    for value in values:
        one = as_list(value)
        if one is None:
            return values
        found.append(one)
    return found


def as_list(value: Any) -> list[Any] | dict[str, Any] | None:
    """Read a text that is a list or a dict; None: it is another text, or no text at all."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}")):
        return None
    try:
        found = json.loads(text)
    except RecursionError:
        return None
    except ValueError:
        found = _as_python(text)
    return found if isinstance(found, list | dict) else None


def _as_python(text: str) -> Any:
    if len(text) > _LONGEST:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None

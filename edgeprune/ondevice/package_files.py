"""A package's edgeprune.json and goldens.json: what they hold, or one sentence on what is wrong with them.

It is a part of every package, beside run.py, and needs nothing but Python; `edgeprune verify` reads packages with it too.
"""

import json
import re
from pathlib import Path


class PackageError(Exception):
    """A file of a package is not what it should be, or can't be used here."""


class OtherSchemaError(PackageError):
    """A file of another edgeprune's."""


SCHEMA_VERSION = 4

GRAPHS = ("onnx/model.onnx", "edgeprune.onnx")
"""Where a package's graph lies: where other programs look for it, or where none does."""

MOST_BYTES = {"edgeprune.json": 16 << 20, "goldens.json": 512 << 20}


def _is_text(value):
    return isinstance(value, str)


def _is_two_texts(value):
    return isinstance(value, list) and len(value) == 2 and all(map(_is_text, value))


def _is_version(value):
    return _is_text(value) and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})+", value)


def _is_whole(value, most):
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_array(value):
    return _is_number(value) or (isinstance(value, list) and all(map(_is_array, value)))


_TEXT = ("a text", _is_text)
_TEXT_OR_NULL = ("a text or null", lambda value: value is None or _is_text(value))
_FLAG = ("true or false", lambda value: isinstance(value, bool))
_NAMES = ("a list of at least one name", lambda value: isinstance(value, list) and value and all(map(_is_text, value)))

_DESCRIPTION = {
    "task": _TEXT,
    "problem_type": _TEXT_OR_NULL,
    "labels": [_TEXT],
    "graph": (" or ".join(GRAPHS), lambda value: value in GRAPHS),
    "inputs": _NAMES,
    "outputs": _NAMES,
    "provider": _TEXT,
    "oldest_onnxruntime": ("a version such as 1.18", _is_version),
    "oldest_tokenizers?": ("a version such as 0.20, or null", lambda value: value is None or _is_version(value)),
    "max_length?": ("a number of tokens", lambda value: _is_whole(value, 1 << 24)),
    "pair?": _FLAG,
    "truncation?": _TEXT,
    "truncation_side?": ("left or right", lambda value: value in ("left", "right")),
    "split_special_tokens?": _FLAG,
    "word_signs?": _TEXT,
    "mask_token?": _TEXT_OR_NULL,
    "unanswerable?": _FLAG,
    "session": {
        "threads": ("a number of threads, 1024 at most", lambda value: _is_whole(value, 1024)),
        "level": ("basic, extended or all", lambda value: value in ("basic", "extended", "all")),
        "arena": _FLAG,
        "config": ("texts by key", lambda value: isinstance(value, dict) and all(map(_is_text, value.values()))),
    },
}
_GOLDENS = {
    "arch": _TEXT,
    "isa": [_TEXT],
    "onnxruntime": _TEXT,
    "tolerance": ("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    "goldens": [
        {
            "text?": ("a text or two", lambda value: _is_text(value) or _is_two_texts(value)),
            "image?": _TEXT,
            "outputs": ("numbers in lists", lambda value: isinstance(value, list) and _is_array(value)),
            "decision": ("anything", lambda _: True),
        }
    ],
}
"""Shapes: of an object by key (a key with ? may be left out), of a list's items, or of a value, in words and as a test."""


def description(folder):
    """What a package's edgeprune.json says. Raises PackageError where it can't be used."""
    return _read(Path(folder) / "edgeprune.json", _DESCRIPTION)


def goldens(folder):
    """What a package's goldens.json says. Raises PackageError where it can't be used."""
    found = _read(Path(folder) / "goldens.json", _GOLDENS)
    if not found["goldens"]:
        raise PackageError("goldens.json has no goldens, so nothing would be checked; a package has one at least")
    return found


def _read(path, shape):
    try:
        if path.stat().st_size > MOST_BYTES[path.name]:
            raise PackageError("%s has more than %d MB, and can't be right" % (path.name, MOST_BYTES[path.name] >> 20))
        content = json.loads(path.read_bytes().decode("utf-8"))
        _check(content, shape, path.name)
    except RecursionError as error:
        raise PackageError("%s can't be read: it is nested too deep" % path.name) from error
    except (OSError, ValueError) as error:
        raise PackageError("%s can't be read: %s" % (path.name, error)) from error
    return content


def _check(content, shape, name):
    version = content.get("schema_version") if isinstance(content, dict) else SCHEMA_VERSION
    if not _is_whole(version, SCHEMA_VERSION) or version != SCHEMA_VERSION:
        raise OtherSchemaError(
            "%s has schema_version %s, but this edgeprune reads %d; use the edgeprune that wrote it"
            % (name, short(version), SCHEMA_VERSION)
        )
    fault = _fault(content, shape, name)
    if fault is not None:
        raise PackageError(fault)


def _fault(value, shape, place):
    """The first place where a value is of another shape, as a sentence; None: there is none."""
    if isinstance(shape, tuple):
        words, holds = shape
        return None if holds(value) else "%s should be %s, not %s" % (place, words, short(value))
    if not isinstance(value, type(shape)):
        wanted = "a list" if isinstance(shape, list) else "an object"
        return "%s should be %s, not %s" % (place, wanted, short(value))
    if isinstance(shape, list):
        inner = [(str(number), one, shape[0]) for number, one in enumerate(value)]
    else:
        lacking = [key for key in shape if not key.endswith("?") and key not in value]
        if lacking:
            return "%s lacks %s" % (place, lacking[0])
        names = {key.rstrip("?"): one for key, one in shape.items()}
        inner = [(name, value[name], one) for name, one in names.items() if name in value]
    faults = (_fault(one, wanted, "%s.%s" % (place, name)) for name, one, wanted in inner)
    return next((fault for fault in faults if fault is not None), None)


def first_line(error):
    """What a library's exception says, as one line of a message; what a terminal would take as a command is left out."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "".join(one if one.isprintable() else "?" for one in text[:300])


def short(value):
    """A value as a message quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

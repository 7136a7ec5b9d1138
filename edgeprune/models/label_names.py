"""Check that a config.json names as many labels as the classifier has outputs. Light: no torch."""

import re
from collections.abc import Mapping
from typing import Any

from edgeprune.models.weights import Shapes

__all__ = ["label_fault"]

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForImageClassification")
_OUTPUT = re.compile(r"^classifier(\.out_proj)?\.weight$")
_MOST = 1_000_000
"""More labels than any classifier has: a number from here on is a mistake that would take minutes to fail."""
_UNSAID = 2
"""The number of labels that transformers assumes where config.json doesn't say."""
_PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


def label_fault(config: Mapping[str, Any], shapes: Shapes, architecture: str) -> str | None:
    """Find what is wrong with the labels.

    Args:
        config: config.json.
        shapes: The checkpoint's; empty: they are not to be compared.
        architecture: The class that config.json names.

    Returns:
        What follows "config.json can't be used: "; None: nothing is wrong.
    """
    fault = _wrong_kind(config) or _wrong_values(config)
    return _wrong_count(config, shapes) if fault is None and architecture.endswith(_CLASSIFIERS) else fault


def _wrong_kind(config: Mapping[str, Any]) -> str | None:
    count, problem = config.get("num_labels"), config.get("problem_type")
    if count is not None and (type(count) is not int or not 1 <= count <= _MOST):
        return f"num_labels should be a whole number from 1 to {_MOST}, not {str(count)[:40]}"
    if problem not in (None, *_PROBLEM_TYPES):
        return f"problem_type should be one of {', '.join(_PROBLEM_TYPES)}, not {str(problem)[:40]!r}"
    return None


def _wrong_values(config: Mapping[str, Any]) -> str | None:
    names, count = config.get("id2label"), config.get("num_labels")
    if names is None:
        return None
    if not isinstance(names, Mapping) or not all(key.isascii() and key.isdigit() for key in names):
        return f"id2label should give each output a name, as in {{'0': 'neg', '1': 'pos'}}, not {str(names)[:80]}"
    nameless = next((key for key, name in names.items() if not isinstance(name, str | int | float)), None)
    if nameless is not None:
        return f"id2label should give each output a name, but that of {nameless} is {str(names[nameless])[:40]}"
    if count is not None and count != len(names):
        return f"num_labels is {count}, but id2label names {len(names)} labels; make them agree"
    return None


def _wrong_count(config: Mapping[str, Any], shapes: Shapes) -> str | None:
    outputs = next((shape[0] for name, shape in shapes.items() if _OUTPUT.match(name) and shape), None)
    given = len(config["id2label"]) if config.get("id2label") else config.get("num_labels") or _UNSAID
    if outputs is None or given == outputs:
        return None
    return (
        f"it names {given} labels (without id2label or num_labels there are {_UNSAID}), but the classifier in the weights "
        f"has {outputs} outputs; name a label for each in id2label"
    )

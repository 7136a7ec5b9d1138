"""Targets side by side: one build a target, sharing every stage whose key doesn't depend on the target."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from edgeprune.errors import SchemaVersionError, UsageError
from edgeprune.events import Emit, ignore
from edgeprune.pipeline import build
from edgeprune.plan import BuildRequest, make_plan
from edgeprune.results import BuildReport

__all__ = ["compare", "read_report"]


def compare(requests: Sequence[BuildRequest], *, emit: Emit = ignore) -> list[BuildReport]:
    """Build for every target in turn."""
    plans = [make_plan(request) for request in requests]
    return [build(plan, request, emit=emit) for plan, request in zip(plans, requests, strict=True)]


def read_report(path: Path) -> BuildReport:
    """A `build.json`, made here or on another machine.

    Raises:
        UsageError: It is missing or not a build's document.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    try:
        return BuildReport.model_validate_json(text)
    except ValidationError as error:
        if any(item["loc"] == ("schema_version",) for item in error.errors()):
            raise SchemaVersionError(
                f"{path} is of another schema_version than 1; use the edgeprune that wrote it"
            ) from error
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise UsageError(f"{path} is not a build.json: {where}: {first['msg']}") from error

"""Write what lies beside a package to describe it: its bill of materials and its provenance.

They are no part of the package, because they name its digest, and like it they have no times, hosts or paths.
"""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from edgeprune.data.source import DataSource
from edgeprune.pipeline.options import option_fields
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.run import Done
from edgeprune.release.bom import BOM, bill_of_materials
from edgeprune.release.made import Made, Material
from edgeprune.release.provenance import PROVENANCE, provenance
from edgeprune.tasks.registry import IMAGE_TASKS

__all__ = ["asked_options", "describe"]

_SHAPES_NOTHING = frozenset({"output", "store", "offline", "report", "baseline", "baseline_key", "max_regression"})
"""The options that change nothing in a package."""
_PLACES = frozenset({"model", "data", "selection_data", "test_data", "unlabelled", "pipeline", "target"})
"""The options that may be paths. A path says where a file lies, which is another place on another machine."""


def describe(request: BuildRequest, plan: Plan, done: Mapping[str, Done]) -> dict[str, str]:
    """Write the documents about a package, by their suffixes.

    Args:
        request: What was asked for.
        plan: The build's plan.
        done: The result of every node, by the node's id.
    """
    package, subject = done["package"].artifact, plan.subject
    made = Made(
        folder=package.file(plan.name.folder),
        archive_sha256=package.digest(f"{plan.name.folder}.tar.gz"),
        key=package.key,
        model=subject.model.name,
        family=subject.model.config.get("model_type"),
        materials=(
            *(Material("model", name, sha256) for name, sha256 in subject.model.digests.items()),
            *_data(subject.data),
            *(() if subject.unlabelled is None else _unlabelled(subject.unlabelled)),
        ),
        reads="image" if subject.task in IMAGE_TASKS else "text",
        asked=asked_options(request),
        builder={"edgeprune": metadata.version("edgeprune")},
        libraries=package.manifest.environment.libraries,
        dense=done["prepare"].artifact.manifest.metrics,
        final=package.manifest.metrics,
    )
    return {BOM: _document(bill_of_materials(made)), PROVENANCE: _document(provenance(made))}


def _data(source: DataSource) -> list[Material]:
    files = [Material(split, name, sha256) for split, (name, sha256) in source.file_digests.items()]
    return files or [Material("train", _place(source.spec.train), source.digest, is_file=False)]


def _unlabelled(source: DataSource) -> list[Material]:
    return [Material("unlabelled", one.name, one.sha256, one.is_file) for one in _data(source)]


def asked_options(request: BuildRequest) -> dict[str, JsonValue]:
    """Give the options that were given and shape the package. A path is cut to its last part."""
    asked: dict[str, JsonValue] = {}
    for option in option_fields():
        value = getattr(request.options, option.name)
        value = tuple(value) if isinstance(value, list) else value
        if option.name in _SHAPES_NOTHING or value in (None, option.default):
            continue
        if option.name in _PLACES:
            value = _place(str(value))
        asked[option.name.rstrip("_")] = list(value) if isinstance(value, tuple) else value
    return asked


def _place(text: str) -> str:
    path = Path(text)
    return path.resolve().name if path.exists() else text


def _document(content: dict[str, JsonValue]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

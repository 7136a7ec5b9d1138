"""Write a package's bill of materials: CycloneDX 1.6, with a model card.

It names the package with its metrics, the model that it was made from, the data, and the libraries that made it.
https://cyclonedx.org/docs/1.6/json/

    bill_of_materials(made)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]
"""

import uuid

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import JsonValue

from edgeprune.release.made import Made, Material, Role
from edgeprune.release.provenance import purl
from edgeprune.store.package import LIBRARIES
from edgeprune.store.records import Metric

__all__ = ["BOM", "bill_of_materials"]

BOM = "cdx.json"
"""The suffix of the bill of materials beside a package. Scanners know it."""

_BASE = "model"
_PURPOSES: dict[Role, str] = {
    "train": "rows that the model learned from",
    "selection": "rows that choices were made on",
    "test": "rows that the metrics were measured on",
    "unlabelled": "rows without labels that the model learned from",
}


def bill_of_materials(made: Made) -> dict[str, JsonValue]:
    """Write the bill of materials of a package.

    Args:
        made: What the package was made from, and what it is.
    """
    data = [one for one in made.materials if one.role != "model"]
    libraries = made.all_libraries
    needed = [purl(name, libraries[name]) for name in LIBRARIES[made.reads] if name in libraries]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # The standard wants a random number for each bill; this one is the same for the same package.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, made.archive_sha256)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [_builder(name, version) for name, version in made.builder.items()]},
            "component": _package(made, data),
        },
        "components": [
            _base(made),
            *(_dataset(one) for one in data),
            *(_library(name, version, needed) for name, version in libraries.items()),
        ],
        "dependencies": [{"ref": made.folder.name, "dependsOn": [_BASE, *map(_reference, data), *needed]}],
    }


def _package(made: Made, data: list[Material]) -> dict[str, JsonValue]:
    return {
        "type": "machine-learning-model",
        "bom-ref": made.folder.name,
        "name": made.description["name"],
        "version": made.description["release"],
        "description": f"{made.model}, made smaller and faster for {made.description['target']}",
        "hashes": _hashes(made.archive_sha256),
        **_licences(made.description["licence"]),
        "pedigree": {"ancestors": [{"type": "machine-learning-model", "name": made.model}]},
        "modelCard": {
            "modelParameters": {
                "task": made.description["task"],
                **({} if made.family is None else {"architectureFamily": made.family}),
                "datasets": [{"ref": _reference(one)} for one in data],
                "inputs": [{"format": "string" if made.reads == "text" else "image"}],
                "outputs": [{"format": name} for name in made.description["outputs"]],
            },
            "quantitativeAnalysis": {"performanceMetrics": _metrics(made.final.metric)},
        },
        "properties": _sizes(made),
    }


def _metrics(metric: Metric | None) -> list[JsonValue]:
    """List the metrics of the shipped graph on the test rows, and how far the first one dropped, with its interval."""
    if metric is None:
        return []
    rows = f"{metric.samples} test rows"
    found: list[JsonValue] = [
        {"type": name, "value": _number(value), "slice": rows}
        for name, value in {metric.name: metric.value, **metric.others}.items()
    ]
    if metric.drop is not None:
        drop: dict[str, JsonValue] = {
            "type": f"drop of {metric.name} from the dense model",
            "value": _number(metric.drop),
            "slice": rows,
        }
        if metric.drop_interval is not None:
            low, high = map(_number, metric.drop_interval)
            drop["confidenceInterval"] = {"lowerBound": low, "upperBound": high}
        found.append(drop)
    return found


def _number(value: float) -> str:
    return f"{round(value, 4) + 0:.4f}"  # no minus before 0


def _sizes(made: Made) -> list[JsonValue]:
    sizes = {
        "parameters": made.final.parameters,
        "dense_parameters": made.dense.parameters,
        "size_bytes": sum(one.size_bytes for one in made.files),
    }
    return [{"name": f"edgeprune:{name}", "value": str(size)} for name, size in sizes.items() if size is not None]


def _licences(licence: str | None) -> dict[str, JsonValue]:
    """Name a licence as SPDX does if it is one of theirs, or else as the model's card does."""
    if licence is None:
        return {}
    try:
        return {"licenses": [{"expression": str(canonicalize_license_expression(licence))}]}
    except InvalidLicenseExpression:
        return {"licenses": [{"license": {"name": licence}}]}


def _base(made: Made) -> dict[str, JsonValue]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _BASE,
        "name": made.model,
        "description": "the model that the package was made from",
        "components": [
            {"type": "file", "name": one.name, "hashes": _hashes(one.sha256)}
            for one in made.materials
            if one.role == "model"
        ],
    }


def _dataset(one: Material) -> dict[str, JsonValue]:
    return {
        "type": "data",
        "bom-ref": _reference(one),
        "name": one.name,
        "description": _PURPOSES[one.role],
        "hashes": _hashes(one.sha256),
        "data": [{"type": "dataset", "name": one.name}],
        "properties": [{"name": "edgeprune:hashed", "value": "the file" if one.is_file else "the rows"}],
    }


def _reference(one: Material) -> str:
    return f"data:{one.role}"


def _library(name: str, version: str, needed: list[str]) -> dict[str, JsonValue]:
    reference = purl(name, version)
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "scope": "required" if reference in needed else "excluded",
    }


def _builder(name: str, version: str) -> dict[str, JsonValue]:
    return {"type": "application", "name": name, "version": version, "purl": purl(name, version)}


def _hashes(sha256: str) -> list[JsonValue]:
    return [{"alg": "SHA-256", "content": sha256}]

"""Write a package's provenance: an in-toto statement with a SLSA v1 predicate.

It says which files came out, what the user asked for, and every input and artifact that they were made from, each with
its digest. https://slsa.dev/spec/v1.0/provenance

    provenance(made)["subject"][0]      {"name": "my-model-1-here.tar.gz", "digest": {"sha256": "…"}}
"""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from edgeprune.release.made import Made

__all__ = ["BUILDER", "PROVENANCE", "provenance", "purl"]

PROVENANCE = "provenance.json"
"""The suffix of the provenance beside a package."""

BUILDER = "pkg:pypi/edgeprune"
"""edgeprune itself, as a package URL. Which machine it ran on is for a CI's own attestation to say."""

_BUILD = f"{BUILDER}#build/v1"
_ROWS = "rowsSha256"
"""The digest of a dataset's rows, which lie in no file that the user named."""


def provenance(made: Made) -> dict[str, JsonValue]:
    """Write the statement about a package.

    Args:
        made: What the package was made from, and what it is.
    """
    subject: list[JsonValue] = [_resource(made.archive, made.archive_sha256)]
    subject += [_resource(f"{made.folder.name}/{one.path}", one.sha256) for one in made.files]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": dict(made.asked),
                "internalParameters": {
                    "target": made.description["target"],
                    "seed": made.lineage["seed"],
                    "stages": {stage["id"]: stage["config"] for stage in made.lineage["stages"]},
                },
                "resolvedDependencies": [*_materials(made), *_artifacts(made)],
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": dict(made.builder),
                    "builderDependencies": [
                        {"uri": purl(name, version)} for name, version in made.all_libraries.items()
                    ],
                },
                "metadata": {"invocationId": made.key},
            },
        },
    }


def purl(name: str, version: str) -> str:
    """Write the package URL of a Python library."""
    return f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"


def _materials(made: Made) -> Iterator[JsonValue]:
    for one in made.materials:
        name = f"{made.model}/{one.name}" if one.role == "model" else one.name
        yield _resource(name, one.sha256, {"role": one.role}, algorithm="sha256" if one.is_file else _ROWS)


def _artifacts(made: Made) -> Iterator[JsonValue]:
    """Yield every file of every artifact that the package was made from, with the artifact's key."""
    for stage in made.lineage["stages"]:
        for path, sha256 in stage["files"].items():
            yield _resource(f"{stage['id']}/{path}", sha256, {"stage": stage["stage"], "key": stage["key"]})


def _resource(
    name: str, digest: str, annotations: Mapping[str, str] | None = None, *, algorithm: str = "sha256"
) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {"name": name, "digest": {algorithm: digest}}
    return found if annotations is None else found | {"annotations": dict(annotations)}

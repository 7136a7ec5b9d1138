"""Read and write `manifest.json`, which carries the digest of its own content.

The files of an artifact are checked against its manifest, so a manifest that nothing checks could say anything. Its digest
finds what changes a store by accident: a disk's fault, a hand that edits, a copy that mixes two stores. It is no signature:
who may write to a store can write another digest too.

Manifests of schema_version 1, from before there was a digest, are read as they are.
"""

import hashlib
import json
from pathlib import Path

from pydantic import JsonValue

from edgeprune.base.errors import IntegrityError, SchemaVersionError
from edgeprune.store.files import canonical_json, write_text
from edgeprune.store.records import SCHEMA_VERSION, Manifest

__all__ = ["MANIFEST", "read_manifest", "write_manifest"]

MANIFEST = "manifest.json"
_WITHOUT_DIGEST = 1


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the folder's manifest, whole or not at all."""
    content = manifest.model_dump(mode="json")
    write_text(folder / MANIFEST, json.dumps({**content, "digest": _digest(content)}, indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the folder's manifest.

    Raises:
        IntegrityError: There is none, it can't be read, or its digest isn't that of its content.
        SchemaVersionError: A newer edgeprune wrote it.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
        if version not in (_WITHOUT_DIGEST, SCHEMA_VERSION):
            raise SchemaVersionError(
                f"{path} has schema_version {version}, but this edgeprune reads {SCHEMA_VERSION}; use the edgeprune "
                f"that wrote it, or another --store"
            )
        if version != _WITHOUT_DIGEST and content.pop("digest") != _digest(content):
            raise IntegrityError(
                f"{path} was changed: its digest is not that of its content; delete {folder} and build again"
            )
        return Manifest.model_validate(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise IntegrityError(f"{path} can't be read ({why}); delete {folder} and build again") from error


def _digest(content: JsonValue) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()

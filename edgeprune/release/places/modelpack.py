"""Write a package as a ModelPack artifact, and read one: manifests, a configuration, and a tar layer for each file.

https://github.com/modelpack/model-spec/blob/v0.0.7/docs/spec.md

    manifest   artifactType application/vnd.cncf.model.manifest.v1+json
    config     application/vnd.cncf.model.config.v1+json
    layers     application/vnd.cncf.model.weight.v1.tar, …weight.config.v1.tar, …doc.v1.tar, …code.v1.tar

The same package gives the same bytes. Its signature, its bill of materials and its provenance are artifacts of their own
that refer to it, so that they can be added later without another digest of the package.
"""

import json
import re
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import JsonValue

from edgeprune.base.errors import IntegrityError
from edgeprune.base.wording import quoted
from edgeprune.ondevice.package_files import GRAPHS
from edgeprune.release.bom import BOM
from edgeprune.release.places.publication import MOST_BYTES, Publication, check_path
from edgeprune.release.places.registry import MANIFEST, digest_of
from edgeprune.release.provenance import PROVENANCE
from edgeprune.store.files import canonical_json
from edgeprune.store.package import SIGNATURE, is_licence

__all__ = [
    "KINDS",
    "Layer",
    "configuration",
    "descriptor",
    "manifest_of",
    "media_type",
    "read_layers",
    "referring",
    "unpack_layer",
    "write_layer",
]

KINDS = {
    SIGNATURE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    BOM: "application/vnd.cyclonedx+json",
    PROVENANCE: "application/vnd.in-toto+json",
}
"""What refers to a package, and the type of each."""

_MODEL = "application/vnd.cncf.model"
_ARTIFACT = f"{_MODEL}.manifest.v1+json"
_CONFIG = f"{_MODEL}.config.v1+json"
_FILEPATH = "org.cncf.model.filepath"
_TITLE = "org.opencontainers.image.title"
_EMPTY: dict[str, JsonValue] = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
"""What ModelPack calls our numbers; it has no name for int4."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_FILES = 1000
_PADDING_BYTES = 1 << 20
"""More than a tar archive of one file has beside the file."""


@dataclass(frozen=True)
class Layer:
    """Describe a layer: one file of a package, in a tar archive."""

    path: str
    digest: str
    size: int


def media_type(path: str) -> str:
    """Give the type of the layer that holds a package's file."""
    if path.startswith(GRAPHS):
        kind = "weight"
    elif path.endswith(".py"):
        kind = "code"
    else:
        kind = "doc" if path == "README.md" or is_licence(path) else "weight.config"
    return f"{_MODEL}.{kind}.v1.tar"


def write_layer(folder: Path, path: str, file: IO[bytes]) -> None:
    """Write one of a package's files as a tar archive whose bytes depend on its path and content alone."""
    with (
        tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as layer,
        (folder / path).open("rb") as content,
    ):
        info = tarfile.TarInfo(path)
        info.size, info.mode, info.mtime = (folder / path).stat().st_size, 0o644, 0
        layer.addfile(info, content)


def descriptor(layer: Layer) -> dict[str, JsonValue]:
    """Describe a layer in a manifest."""
    return {
        "mediaType": media_type(layer.path),
        "digest": layer.digest,
        "size": layer.size,
        "annotations": {_FILEPATH: layer.path},
    }


def configuration(publication: Publication, layers: list[Layer]) -> bytes:
    """Write the configuration: what the model is called, and what it is."""
    package, mode = publication.description, str(publication.description["precision"]["mode"])
    precision = _PRECISIONS.get(mode.partition("-")[0])
    content: dict[str, JsonValue] = {
        "descriptor": {
            "name": package["name"],
            "version": package["release"],
            "title": publication.name,
            **({"licenses": [package["licence"]]} if package.get("licence") else {}),
        },
        "config": {
            "architecture": "transformer",
            "format": "onnx",
            **({} if precision is None else {"precision": precision}),
            **({"quantization": mode} if mode.startswith("int") else {}),
        },
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
    return canonical_json(content).encode()


def manifest_of(publication: Publication, config: bytes, layers: list[Layer]) -> bytes:
    """Write the manifest of a package."""
    content: dict[str, JsonValue] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": _ARTIFACT,
        "config": {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [descriptor(layer) for layer in layers],
        "annotations": {_TITLE: publication.name},
    }
    return canonical_json(content).encode()


def referring(name: str, kind: str, content: bytes, subject: bytes) -> bytes:
    """Write the manifest of a document about a package.

    Args:
        name: The document's name as a file.
        kind: Its type, one of `KINDS`.
        content: The document.
        subject: The manifest of the package.
    """
    manifest: dict[str, JsonValue] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": _EMPTY,
        "layers": [
            {"mediaType": kind, "digest": digest_of(content), "size": len(content), "annotations": {_TITLE: name}}
        ],
        "subject": {"mediaType": MANIFEST, "digest": digest_of(subject), "size": len(subject)},
    }
    return canonical_json(manifest).encode()


def read_layers(manifest: bytes, shown: str) -> list[Layer]:
    """Read the layers of a manifest that anybody may have written.

    Raises:
        IntegrityError: It is no manifest of a package, or claims what no package has.
    """
    try:
        content = json.loads(manifest)
        kind = content.get("artifactType")
        layers = [
            Layer(str(_annotated(one).get(_FILEPATH, "")), str(one["digest"]), int(one["size"]))
            for one in content["layers"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{shown} has no manifest that can be read; push the package again") from error
    if kind not in (_ARTIFACT, *KINDS.values()):
        raise IntegrityError(f"{shown} is {quoted(kind)} and no package; give what edgeprune push published")
    sizes = [layer.size for layer in layers]
    if not all(_DIGEST.fullmatch(layer.digest) for layer in layers):
        raise IntegrityError(
            f"{shown} has a manifest without the digests that edgeprune push writes; push the package again"
        )
    if len(layers) > _MOST_FILES or min(sizes, default=0) < 0 or sum(sizes) > MOST_BYTES:
        raise IntegrityError(f"{shown} announces more than a package has; it is not downloaded")
    return layers


def unpack_layer(archive: Path, layer: Layer, folder: Path, shown: str) -> None:
    """Write the one file of a layer below a folder, and nothing else of it: no links, times, owners or modes.

    Raises:
        IntegrityError: The layer holds anything but the file that its annotation names.
    """
    check_path(layer.path, shown)
    place = folder / layer.path
    try:
        with tarfile.open(archive, "r:") as packed, _only_file(packed, layer, archive) as content:
            place.parent.mkdir(exist_ok=True)
            with place.open("xb") as file:
                shutil.copyfileobj(content, file)
    except (tarfile.TarError, ValueError, EOFError, FileExistsError, NotADirectoryError) as error:
        raise IntegrityError(
            f"{shown}: the layer of {quoted(layer.path)} is no archive of that one file; push the package again"
        ) from error


def _only_file(packed: tarfile.TarFile, layer: Layer, archive: Path) -> IO[bytes]:
    (member,) = packed
    content = packed.extractfile(member) if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
    if content is None or member.name != layer.path or archive.stat().st_size > member.size + _PADDING_BYTES:
        raise tarfile.TarError("it holds something else than the file that was announced")
    return content


def _annotated(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return dict(descriptor.get("annotations") or {})

"""Push packages to an OCI registry, and pull them from there.

A push uploads the files first and moves the tag last, so that a push that breaks leaves the tag as it was. What refers to
the package is listed by the registry, or, where a registry doesn't list, by an index under the tag `sha256-<digest>`.
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
"""

import hashlib
import random
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from edgeprune.base.errors import IntegrityError, PlaceError, UsageError
from edgeprune.release.places.modelpack import (
    KINDS,
    Layer,
    configuration,
    manifest_of,
    read_layers,
    referring,
    unpack_layer,
    write_layer,
)
from edgeprune.release.places.publication import Publication, Pulled, Pushed
from edgeprune.release.places.reference import OciReference
from edgeprune.release.places.registry import INDEX, MANIFEST, Registry, digest_of
from edgeprune.store.files import canonical_json
from edgeprune.store.package import SIGNATURE

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["OciPlace"]

_EMPTY = b"{}"
_MOST_REFERRERS = 20
"""Of one kind; more aren't read."""
_MOST_DOCUMENT_BYTES = 256 << 20
_TRIES = 8


class OciPlace:
    """Keep a package under a tag of a registry.

    Args:
        reference: The registry, the repository and the tag.
        plain_http: Whether to do without encryption.
        timeout_s: How long the registry may be silent.
    """

    def __init__(self, reference: OciReference, *, plain_http: bool = False, timeout_s: float = 60) -> None:
        self._reference = reference
        self._registry = Registry(reference, plain_http=plain_http, timeout_s=timeout_s)
        self._files = self._bytes = 0
        """What was uploaded."""

    def push(self, publication: Publication) -> Pushed:
        with self._registry:
            return self._push(publication)

    def pull(self, scratch: Path) -> Pulled:
        with self._registry:
            return self._pull(scratch)

    def _push(self, publication: Publication) -> Pushed:
        tag = self._reference.tag
        if tag is None:
            raise UsageError(f"{self._reference} names a digest, which follows from the package; give a tag to push to")
        layers = [_layer(publication.folder, path) for path in publication.paths]
        config = configuration(publication, layers)
        manifest = manifest_of(publication, config, layers)
        subject = digest_of(manifest)
        if self._registry.manifest(tag) != manifest:
            for layer in layers:
                self._upload_layer(publication.folder, layer)
            self._upload(config)
            # Under its digest first: what refers to it comes before the tag, and some registries want it to be there.
            self._registry.put_manifest(subject, manifest)
            self._refer(publication, manifest)
            self._registry.put_manifest(tag, manifest)
            self._files = max(self._files, 1)
        else:
            self._refer(publication, manifest)
        return Pushed(
            reference=str(OciReference(self._reference.host, self._reference.name, None, subject)),
            uploaded_files=self._files,
            uploaded_bytes=self._bytes,
        )

    def _pull(self, scratch: Path) -> Pulled:
        wanted, shown = self._reference.tag or str(self._reference.digest), str(self._reference)
        manifest = self._registry.manifest(wanted)
        if manifest is None:
            raise UsageError(f"there is no {shown}; check the name and the tag, or push the package")
        folder, digest = scratch / "package", digest_of(manifest)
        folder.mkdir()
        for layer in read_layers(manifest, shown):
            with tempfile.NamedTemporaryFile(dir=scratch) as file:
                self._registry.download(layer.digest, layer.size, file)
                file.flush()
                unpack_layer(Path(file.name), layer, folder, shown)
        found = self._referrers(digest, scratch, shown)
        return Pulled(
            reference=str(OciReference(self._reference.host, self._reference.name, None, digest)),
            folder=folder,
            signatures=tuple(found.pop(SIGNATURE, [])),
            documents={suffix: paths[-1] for suffix, paths in found.items()},
        )

    def _upload_layer(self, folder: Path, layer: Layer) -> None:
        if self._registry.has_blob(layer.digest):
            return
        with tempfile.NamedTemporaryFile() as file:
            write_layer(folder, layer.path, file)
            file.flush()
            self._registry.upload(layer.digest, Path(file.name))
        self._files, self._bytes = self._files + 1, self._bytes + layer.size

    def _upload(self, content: bytes) -> None:
        digest = digest_of(content)
        if not self._registry.has_blob(digest):
            self._registry.upload(digest, content)
            self._files, self._bytes = self._files + 1, self._bytes + len(content)

    def _refer(self, publication: Publication, subject: bytes) -> None:
        """Push the signature and the documents, unless the registry lists them."""
        documents = dict(publication.documents)
        if publication.signature is not None:
            documents[SIGNATURE] = publication.signature
        listed = {one.get("digest") for one in self._listed(digest_of(subject))} if documents else set()
        for suffix, path in documents.items():
            name = SIGNATURE if suffix == SIGNATURE else f"{publication.name}.{suffix}"
            content = path.read_bytes()
            manifest = referring(name, KINDS[suffix], content, subject)
            if digest_of(manifest) in listed:
                continue
            self._upload(_EMPTY)
            self._upload(content)
            headers = self._registry.put_manifest(digest_of(manifest), manifest)
            if "OCI-Subject" not in headers:  # the registry doesn't know what a subject is
                self._list(digest_of(subject), manifest, KINDS[suffix])

    def _list(self, subject: str, manifest: bytes, kind: str) -> None:
        """Add a manifest to the index of what refers to a package. Somebody else may write the index at the same moment."""
        tag = subject.replace(":", "-")
        entry: dict[str, JsonValue] = {
            "mediaType": MANIFEST,
            "digest": digest_of(manifest),
            "size": len(manifest),
            "artifactType": kind,
        }
        for _ in range(_TRIES):
            others = self._listed_by_tag(subject)
            if any(one.get("digest") == entry["digest"] for one in others):
                return
            index: dict[str, JsonValue] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, entry]}
            self._registry.put_manifest(tag, canonical_json(index).encode(), INDEX)
            time.sleep(random.uniform(0, 0.05))  # noqa: S311 (so that two who push don't keep step)
        raise PlaceError(f"others keep writing to {self._reference.host} what refers to the same package; push again")

    def _listed(self, subject: str) -> list[dict[str, Any]]:
        found = self._registry.referrers(subject)
        return self._listed_by_tag(subject) if found is None else found

    def _listed_by_tag(self, subject: str) -> list[dict[str, Any]]:
        index = self._registry.manifest(subject.replace(":", "-"))
        return [] if index is None else self._registry.listed(index)

    def _referrers(self, subject: str, scratch: Path, shown: str) -> dict[str, list[Path]]:
        """Download what refers to a package, each kind in the order in which the registry lists it."""
        found: dict[str, list[Path]] = {}
        listed = self._listed(subject)
        for suffix, kind in KINDS.items():
            for entry in [one for one in listed if one.get("artifactType") == kind][-_MOST_REFERRERS:]:
                path = scratch / f"{len(found.get(suffix, []))}.{suffix}"
                self._download_document(str(entry.get("digest")), path, shown)
                found.setdefault(suffix, []).append(path)
        return found

    def _download_document(self, digest: str, path: Path, shown: str) -> None:
        manifest = self._registry.manifest(digest) if digest.startswith("sha256:") else None
        layers = [] if manifest is None else read_layers(manifest, shown)
        if len(layers) != 1 or layers[0].size > _MOST_DOCUMENT_BYTES:
            raise IntegrityError(f"{shown}: what refers to it, {digest[:80]!r}, is no document; push the package again")
        with path.open("wb") as file:
            self._registry.download(layers[0].digest, layers[0].size, file)


class _Digest:
    """Compute a digest of what is written, and keep nothing of it."""

    def __init__(self) -> None:
        self.sha256, self.size = hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        self.size += len(content)
        return len(content)


def _layer(folder: Path, path: str) -> Layer:
    sink = _Digest()
    write_layer(folder, path, cast("IO[bytes]", sink))
    return Layer(path, f"sha256:{sink.sha256.hexdigest()}", sink.size)

"""Push packages to places where others find them, and pull them from there, bit for bit.

    push(Path("dist/my-model-1-here"), "oci://registry.example.com/team/my-model:1")
    pull("oci://registry.example.com/team/my-model:1", Path("dist"), key=read_key(Path("release.pub")))

What is pulled is checked in a hidden folder, and only then renamed into its place.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeprune.base.errors import IntegrityError, UsageError, storage_errors
from edgeprune.release.keys import Key
from edgeprune.release.places.publication import DOCUMENTS, Place, Pulled, Pushed, opened_publication, package_name
from edgeprune.release.places.reference import FolderReference, HubReference, OciReference, read_reference
from edgeprune.release.signing import check_signature
from edgeprune.store.files import file_digest, sync, sync_tree
from edgeprune.store.package import DIGESTS, SIGNATURE, check_digests
from edgeprune.store.ready import made_ready

__all__ = ["Arrived", "pull", "push"]


@dataclass(frozen=True)
class Arrived:
    """Report a pull."""

    package: Path
    reference: str
    """Where this very package stays, whatever is pushed later."""
    documents: tuple[Path, ...]
    signature: Literal["verified", "not checked", "none"]
    """Not checked: there is one, but no key to check it against."""
    signed_by: str | None
    """Who signed the package; None: that was not verified."""


def push(package: Path, reference: str, *, plain_http: bool = False) -> Pushed:
    """Publish a package, with its signature and the documents beside it. What is there already isn't uploaded.

    Args:
        package: The package's folder or .tar.gz.
        reference: Where to: `oci://host/name:tag`, `hf://org/name@revision` or `file:///folder/name`.
        plain_http: Whether to speak to a registry without encryption.

    Raises:
        UsageError: There is no package, the reference is none, or the place refuses it.
        IntegrityError: The package was changed, or the place has something else than what was sent.
        PlaceError: The place can't be reached, or fails.
    """
    place = _place(reference, plain_http=plain_http)
    with opened_publication(package) as publication:
        return place.push(publication)


def pull(reference: str, output: Path, *, key: Key | None = None, plain_http: bool = False) -> Arrived:
    """Fetch a package into a folder, as `edgeprune build` would have written it there.

    Args:
        reference: Where from, as in `push`.
        output: The folder in which the package's own is made.
        key: Who must have signed the package; None: it needs no signature.
        plain_http: Whether to speak to a registry without encryption.

    Raises:
        UsageError: There is no such package, or another one lies in its place.
        IntegrityError: What was sent is not the package that was made, or it isn't signed as asked for.
        PlaceError: The place can't be reached, or fails.
        StorageError: The package can't be written.
    """
    place = _place(reference, plain_http=plain_http)
    with storage_errors(output), made_ready(output) as new:
        pulled = place.pull(new)
        if not (pulled.folder / DIGESTS).is_file():
            raise IntegrityError(f"{reference} has no {DIGESTS}, as every package has; push the package again")
        check_digests(pulled.folder, reference)
        signed_by = _settle_signature(pulled, key, reference)
        return _put(pulled, new, output / package_name(pulled.folder), signed_by)


def _place(text: str, *, plain_http: bool) -> Place:
    reference = read_reference(text)
    if plain_http and not isinstance(reference, OciReference):
        raise UsageError(f"--plain-http is for registries; leave it out for {reference}")
    if isinstance(reference, OciReference):
        from edgeprune.release.places.oci import OciPlace

        return OciPlace(reference, plain_http=plain_http)
    if isinstance(reference, HubReference):
        from edgeprune.release.places.hub import HubPlace

        return HubPlace(reference)
    assert isinstance(reference, FolderReference)  # noqa: S101 (there is no fourth kind)
    from edgeprune.release.places.folder import FolderPlace

    return FolderPlace(reference)


def _settle_signature(pulled: Pulled, key: Key | None, shown: str) -> str | None:
    """Put the signature that holds for the key into the package; without a key, the newest one."""
    signed_by, chosen = None, pulled.signatures[-1] if pulled.signatures else None
    if key is not None:
        for number, signature in enumerate(reversed(pulled.signatures or (None,))):
            try:
                signed_by = check_signature(pulled.folder, signature, key, shown=shown)
            except IntegrityError:
                if number + 1 >= len(pulled.signatures):
                    raise
            else:
                chosen = signature
                break
    if chosen is not None and chosen != pulled.folder / SIGNATURE:
        shutil.copyfile(chosen, pulled.folder / SIGNATURE)
    return signed_by


def _put(pulled: Pulled, new: Path, package: Path, signed_by: str | None) -> Arrived:
    """Rename what was checked into its place, where the same package may lie already."""
    is_signed = (pulled.folder / SIGNATURE).is_file()
    beside = {suffix: package.with_name(f"{package.name}.{suffix}") for suffix in pulled.documents}
    is_there = _is_same(package, pulled.folder)
    if os.path.lexists(package) and not is_there:
        raise UsageError(f"{package} exists and is not this package; move it, or choose another --output")
    if taken := next((path for path in beside.values() if path.is_dir()), None):
        raise UsageError(f"{taken} is a folder, but should be a file; move it, or choose another --output")
    sync_tree(new)
    for suffix, path in pulled.documents.items():
        path.replace(beside[suffix])
    if not is_there:
        pulled.folder.rename(package)
    elif is_signed:
        (pulled.folder / SIGNATURE).replace(package / SIGNATURE)
    sync(package.parent)
    unchecked: Literal["not checked", "none"] = "not checked" if is_signed else "none"
    return Arrived(
        package=package,
        reference=pulled.reference,
        documents=tuple(beside[suffix] for suffix in DOCUMENTS if suffix in beside),
        signature=unchecked if signed_by is None else "verified",
        signed_by=signed_by,
    )


def _is_same(package: Path, checked: Path) -> bool:
    """Tell whether the package that was checked lies in a folder already, signed or not."""
    if not (package / DIGESTS).is_file() or file_digest(package / DIGESTS) != file_digest(checked / DIGESTS):
        return False
    try:
        check_digests(package, str(package))
    except IntegrityError:
        return False
    return True

"""Push packages to a folder, such as a network drive, and pull them from there.

/releases/reviews                    the package
/releases/reviews.cdx.json           its bill of materials
/releases/reviews.provenance.json    what it was made from
"""

import shutil
from pathlib import Path

from edgeprune.base.errors import IntegrityError, UsageError, storage_errors
from edgeprune.release.places.publication import DOCUMENTS, Publication, Pulled, Pushed
from edgeprune.release.places.reference import FolderReference
from edgeprune.store.files import file_digest, file_records, sync, sync_tree
from edgeprune.store.package import DIGESTS, SIGNATURE
from edgeprune.store.ready import made_ready, replace_folder

__all__ = ["FolderPlace"]


class FolderPlace:
    """Keep a package in a folder, and the documents about it beside."""

    def __init__(self, reference: FolderReference) -> None:
        self._reference, self._path = reference, reference.path

    def push(self, publication: Publication) -> Pushed:
        above = self._path.parent
        with storage_errors(above), made_ready(above) as new:
            if self._path.exists() and not (self._path / DIGESTS).is_file():
                raise UsageError(f"{self._path} exists and is no package; move it, or give another place")
            package = new / "package"
            package.mkdir()
            for name in publication.paths:
                (package / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(publication.folder / name, package / name)
            if publication.signature is not None:
                shutil.copyfile(publication.signature, package / SIGNATURE)
            for suffix, path in publication.documents.items():
                shutil.copyfile(path, new / suffix)
            if changed := self._changed(new):
                sync_tree(new)
                replace_folder(package, self._path, new / "replaced")
                for suffix in DOCUMENTS:
                    if suffix in publication.documents:
                        (new / suffix).replace(self._beside(suffix))
                    else:
                        self._beside(suffix).unlink(missing_ok=True)
                sync(above)
        return Pushed(reference=str(self._reference), uploaded_files=len(changed), uploaded_bytes=sum(changed))

    def pull(self, scratch: Path) -> Pulled:
        if not (self._path / DIGESTS).is_file():
            raise UsageError(f"there is no package at {self._reference}; give the folder that holds {DIGESTS}")
        folder = scratch / "package"
        for path in self._path.rglob("*"):
            if path.is_symlink():
                raise IntegrityError(f"{path} is a link, as no package has; nothing was copied")
        with storage_errors(self._path):
            shutil.copytree(self._path, folder, copy_function=shutil.copyfile)
            documents = {}
            for suffix in DOCUMENTS:
                if self._beside(suffix).is_file():
                    documents[suffix] = Path(shutil.copyfile(self._beside(suffix), scratch / suffix))
        signature = folder / SIGNATURE
        return Pulled(str(self._reference), folder, (signature,) if signature.is_file() else (), documents)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{suffix}")

    def _changed(self, new: Path) -> list[int]:
        """Give the sizes of the files that aren't there yet, or not as they should be; and of those that should go, 0."""
        package, there = new / "package", {one.path: one.sha256 for one in file_records(self._path)}
        changed = [one.size_bytes for one in file_records(package) if there.pop(one.path, None) != one.sha256]
        changed += [0] * len(there)
        for suffix in DOCUMENTS:
            copy, place = new / suffix, self._beside(suffix)
            if copy.is_file() and (not place.is_file() or file_digest(place) != file_digest(copy)):
                changed.append(copy.stat().st_size)
            elif place.is_file() and not copy.is_file():
                changed.append(0)
        return changed

"""Push packages to the Hugging Face hub, and pull them from there, with the hub's own library.

A push is one commit. It takes away the files of the package that it replaces, and leaves every other file alone. The
token is the library's: `hf auth login`, or the variable HF_TOKEN. HF_ENDPOINT names another hub.
"""

import contextlib
import fnmatch
import glob
import hashlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.base.errors import EdgepruneError, IntegrityError, PlaceError, UsageError, storage_error
from edgeprune.base.wording import cut, first_line
from edgeprune.release.places.publication import (
    DOCUMENTS,
    MOST_BYTES,
    Publication,
    Pulled,
    Pushed,
    check_path,
)
from edgeprune.release.places.reference import HubReference
from edgeprune.store.package import DIGESTS, SIGNATURE, listed_files

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

__all__ = ["HubPlace"]

_BESIDE = (SIGNATURE, *(f"*.{suffix}" for suffix in DOCUMENTS))
"""What a push writes besides the files of a package."""


class HubPlace:
    """Keep a package in a model repository of the hub.

    Args:
        reference: The repository and its revision.
        endpoint: The hub's address; None: that of HF_ENDPOINT, or huggingface.co.
    """

    def __init__(self, reference: HubReference, *, endpoint: str | None = None) -> None:
        from huggingface_hub import HfApi

        self._reference, self._api = reference, HfApi(endpoint=endpoint, library_name="edgeprune")

    def push(self, publication: Publication) -> Pushed:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        repository, branch = self._reference.repository, self._reference.revision
        files = {path: publication.folder / path for path in publication.paths}
        files |= {f"{publication.name}.{suffix}": path for suffix, path in publication.documents.items()}
        if publication.signature is not None:
            files[SIGNATURE] = publication.signature
        with self._answered():
            self._api.create_repo(repository, exist_ok=True)
            if branch is not None:
                self._api.create_branch(repository, branch=branch, exist_ok=True)
            info = self._api.model_info(repository, revision=branch, files_metadata=True)
            there = {one.rfilename: one for one in info.siblings or []}
            changed = {name: path for name, path in files.items() if not _is_same(there.get(name), path)}
            gone = [name for name in self._package_files(info) if name in there and name not in files]
            commit = info.sha
            if changed or gone:
                done = self._api.create_commit(
                    repository,
                    [
                        *(CommitOperationAdd(name, path) for name, path in changed.items()),
                        *(CommitOperationDelete(name, is_folder=False) for name in gone),
                    ],
                    commit_message=f"{publication.name}, pushed by edgeprune",
                    revision=branch,
                    parent_commit=info.sha,  # whoever pushes at the same moment is told, and loses nothing
                )
                commit = done.oid
        return Pushed(
            reference=str(HubReference(repository, commit)),
            uploaded_files=len(changed) or len(gone),
            uploaded_bytes=sum(path.stat().st_size for path in changed.values()),
        )

    def pull(self, scratch: Path) -> Pulled:
        shown, folder = str(self._reference), scratch / "package"
        with self._answered():
            info = self._api.model_info(
                self._reference.repository, revision=self._reference.revision, files_metadata=True
            )
            names = self._package_files(info)
            if not names:
                raise UsageError(f"{shown} holds no package; give a repository that edgeprune push published to")
            wanted = [one for one in info.siblings or [] if one.rfilename in names]
            if sum(one.size or 0 for one in wanted) > MOST_BYTES:
                raise IntegrityError(f"{shown} announces more than a package has; it is not downloaded")
            for one in wanted:
                check_path(one.rfilename, shown)
            self._api.snapshot_download(
                self._reference.repository,
                revision=info.sha,
                local_dir=scratch / "hub",
                allow_patterns=[glob.escape(one.rfilename) for one in wanted],
            )
        folder.mkdir()
        documents = {}
        for name in sorted(one.rfilename for one in wanted):
            path = scratch / "hub" / name
            suffix = next((suffix for suffix in DOCUMENTS if name.endswith(f".{suffix}")), None)
            if path.is_symlink() or not path.is_file():
                raise IntegrityError(f"{shown}: {cut(name)} was not sent; try again")
            if suffix is not None:
                documents[suffix] = path
            else:
                (folder / name).parent.mkdir(exist_ok=True)
                path.rename(folder / name)
        signature = folder / SIGNATURE
        return Pulled(
            str(HubReference(self._reference.repository, info.sha)),
            folder,
            (signature,) if signature.is_file() else (),
            documents,
        )

    def _package_files(self, info: "ModelInfo") -> set[str]:
        """Name the files of the package in a repository, with its signature and its documents. Empty: there is no package."""
        names = {one.rfilename for one in info.siblings or []}
        if DIGESTS not in names:
            return set()
        with tempfile.TemporaryDirectory() as scratch:
            self._api.hf_hub_download(self._reference.repository, DIGESTS, revision=info.sha, local_dir=scratch)
            package = listed_files(Path(scratch), str(self._reference))
        beside = {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in _BESIDE)}
        return {DIGESTS, *package, *beside}

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        """Say in a sentence what the hub or its library refuses, and keep the library from talking."""
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        shown, talkative = str(self._reference), not are_progress_bars_disabled()
        logger = logging.getLogger("huggingface_hub")
        level = logger.level
        logger.setLevel(logging.ERROR)
        disable_progress_bars()
        try:
            with warnings.catch_warnings(action="ignore"):
                yield
        except EdgepruneError:
            raise
        except HFValidationError as error:
            raise UsageError(f"{shown}: the hub takes no such name: {cut(first_line(error), 200)}") from error
        except Exception as error:  # what the network, and each layer above it, raise
            answer = next((one for one in _chain(error) if isinstance(one, HfHubHTTPError)), None)
            if answer is not None:
                raise _refusal(answer, shown) from error
            if (found := storage_error(error, "the temporary folder")) is not None:
                raise found from error
            raise PlaceError(
                f"{shown}: the hub can't be used: {cut(first_line(error), 200).rstrip('.')}; try again later"
            ) from error
        finally:
            logger.setLevel(level)
            if talkative:
                enable_progress_bars()


def _is_same(there: "RepoSibling | None", path: Path) -> bool:
    """Tell by its digest whether a file is in the repository, large files as LFS keeps them and others as Git does."""
    if there is None or there.size != path.stat().st_size:
        return False
    with path.open("rb") as file:
        if there.lfs is not None:
            return hashlib.file_digest(file, "sha256").hexdigest() == there.lfs.sha256
        blob = hashlib.sha1(f"blob {there.size}\0".encode(), usedforsecurity=False)
        blob.update(file.read())
        return blob.hexdigest() == there.blob_id


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what caused it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _refusal(error: Any, shown: str) -> EdgepruneError:
    """Tell by the hub's answer what the user can do."""
    code = error.response.status_code
    said = first_line(error.server_message) if error.server_message else ""
    said = f": {cut(said, 200).rstrip('.')}" if said else ""
    if code in (401, 403):
        return UsageError(
            f"{shown}: the hub refuses this ({code}{said}); log in with a token that has the right to it: hf auth login, or "
            f"HF_TOKEN"
        )
    if code == 404:
        return UsageError(
            f"there is no {shown}, or this token may not see it; check the name and the revision, or log in: hf auth login"
        )
    if code in (409, 412):
        return PlaceError(f"{shown}: somebody else changed it at the same moment ({code}{said}); push again")
    if code == 429 or code >= 500:
        return PlaceError(f"{shown}: the hub can't do this now ({code}{said}); try again later")
    return UsageError(f"{shown}: the hub refuses this ({code}{said}); check the name and the package's README.md")

"""Resolve a model reference: a local folder, a hub id with `@revision`, or `package:NAME/FOLDER`.

Resolving gives a folder and the digest of the files in it that matter, so that a key depends on what the model is, not
on where it was found. This module is light on purpose: planning a build must not import torch.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeprune.base.errors import ModelError
from edgeprune.base.wording import first_line
from edgeprune.models.config_file import read_config
from edgeprune.models.folder_kind import MARKERS, other_weights
from edgeprune.store.files import file_digest
from edgeprune.store.package import is_licence

__all__ = ["ModelSource", "reads_images", "resolve_model"]

_PATTERNS = (
    "config.json",
    "pruning.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "preprocessor_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_*_config.json",
    "config_sentence_transformers.json",
    "LICENSE*",
    "README.md",
)
"""The files of a model folder that edgeprune reads. No other file enters a key."""

_WEIGHTS = ".safetensors"
"""Files that nothing but numbers is taken from: they may be links to anywhere."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


@dataclass(frozen=True)
class ModelSource:
    """Hold a resolved model: `folder` to read from, `name` for people, `reference` as it was given."""

    folder: Path
    name: str
    reference: str
    repository: str | None = None
    """Its id on the hub; None: it comes from elsewhere."""

    @property
    def files(self) -> list[Path]:
        """The files of the folder that edgeprune reads, sorted.

        Raises:
            ModelError: A file is a link that leads out of the folder, or a package can't have its name.
        """
        found = sorted({path for pattern in _PATTERNS for path in self.folder.glob(pattern) if path.is_file()})
        for path in found:
            self._check(path)
        return found

    @property
    def licences(self) -> list[Path]:
        """The files of the folder that are its licence, which packages have too."""
        return [path for path in self.files if path.name.startswith("LICENSE")]

    def _check(self, path: Path) -> None:
        if not path.name.isprintable() or (path.name.startswith("LICENSE") and not is_licence(path.name)):
            raise ModelError(
                f"{self.folder} holds a file with the name {path.name[:80]!r}, which not every system can have; rename the file"
            )
        if path.suffix != _WEIGHTS and not any(path.resolve().is_relative_to(place) for place in self._places):
            raise ModelError(
                f"{path} is a link to a file outside of the model's folder, and its content would go into the package; copy the "
                f"file into the folder"
            )

    @cached_property
    def _places(self) -> list[Path]:
        """Where its files may lie: in the folder, and, in the cache of the hub, where its links lead."""
        folder = self.folder.resolve()
        return [folder, folder.parents[1] / "blobs"] if folder.parent.name == "snapshots" else [folder]

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each of `files`, by its path in the folder."""
        return {path.relative_to(self.folder).as_posix(): file_digest(path) for path in self.files}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and digests of `files`."""
        return _digest_of(self.digests)

    @cached_property
    def structure_digest(self) -> str:
        """SHA-256 over those of `files` that say how large the model is and how it reads rows, without its weights."""
        others = (*self.licences, *self.folder.glob("README.md"), *self.folder.glob(f"*{_WEIGHTS}*"))
        left_out = {path.relative_to(self.folder).as_posix() for path in others}
        return _digest_of({name: digest for name, digest in self.digests.items() if name not in left_out})

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json.

        Raises:
            ModelError: The folder is no checkpoint, or config.json can't be read or doesn't fit the weights.
        """
        return read_config(self.folder)


def _digest_of(digests: Mapping[str, str]) -> str:
    lines = (f"{name} {digest}\n" for name, digest in digests.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def reads_images(config: Mapping[str, Any]) -> bool:
    """Tell whether a model with this config.json reads images. Every such config states an image size."""
    return "image_size" in config


def resolve_model(reference: str, *, offline: bool = False) -> ModelSource:
    """Find a model's folder. A hub id is downloaded unless `offline`.

    Raises:
        ModelError: The reference leads to no model.
    """
    if reference.startswith("package:"):
        return _from_package(reference)
    folder = Path(os.path.expanduser(reference))  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    if folder.is_dir():
        return _checked(ModelSource(folder, folder.resolve().name, reference))
    if folder.exists():
        raise ModelError(f"{reference} is a file; give the folder that holds config.json and model.safetensors")
    if reference.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(reference):
        raise ModelError(
            f"there is no folder {reference}; give a local folder, a hub id with @revision, or package:NAME/FOLDER"
        )
    return _from_hub(reference, offline=offline)


def _checked(source: ModelSource) -> ModelSource:
    source.config  # noqa: B018 (reads config.json, and raises where it can't be used)
    return source


def _from_package(reference: str) -> ModelSource:
    package, _, folder = reference.removeprefix("package:").partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"{reference}: the Python package {package!r} is not installed; install it, e.g. pip install 'edgeprune[demo]'"
        )
    for location in spec.submodule_search_locations:
        path = Path(location) / folder
        if path.is_dir():
            return _checked(ModelSource(path, package.replace("_", "-"), reference))
    raise ModelError(f"{reference}: the package {package!r} has no folder {folder!r}")


def _from_hub(reference: str, *, offline: bool) -> ModelSource:
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = reference.partition("@")
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=[*_PATTERNS, *MARKERS], local_files_only=offline
        )
        found = None
        if not offline and not any(Path(folder).glob("*.safetensors")):
            files = model_info(repository, revision=Path(folder).name).siblings or []
            found = other_weights(file.rfilename for file in files)
    except LocalEntryNotFoundError as error:
        where = "the local cache (--offline)" if offline else "the local cache, and the hub can't be reached"
        raise ModelError(
            f"there is no folder {reference}, nor a model of this name in {where}; give a local folder, or download the "
            f"model first"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"there is no folder {reference}, nor a model of this name on the hub: {first_line(error)}"
        ) from error
    if found is not None:
        raise ModelError(f"{reference} has {found}")
    return _checked(ModelSource(Path(folder), repository.replace("/", "-"), reference, repository))

"""Where a model is: a local folder, a hub id with `@revision`, or `package:NAME/FOLDER`.

Resolving gives a folder and the digest of the files in it that matter, so that a key depends on what the model is, not
on where it was found. Light on purpose: planning a build must not import torch.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeprune.base.errors import ModelError
from edgeprune.store.files import file_digest

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
    "LICENSE*",
    "README.md",
)
"""The files of a model folder that edgeprune reads; nothing else of it enters a key."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


@dataclass(frozen=True)
class ModelSource:
    """A resolved model: `folder` to read from, `name` for people, `reference` as it was given."""

    folder: Path
    name: str
    reference: str

    @property
    def files(self) -> list[Path]:
        """The files that matter, sorted."""
        return sorted({path for pattern in _PATTERNS for path in self.folder.glob(pattern) if path.is_file()})

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and digests of `files`."""
        lines = (f"{path.relative_to(self.folder).as_posix()} {file_digest(path)}\n" for path in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json as it stands.

        Raises:
            ModelError: It is missing or not JSON.
        """
        path = self.folder / "config.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelError(
                f"{self.folder} holds no config.json; give a folder with a Hugging Face checkpoint"
            ) from error
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} can't be read as JSON ({error})") from error
        if not isinstance(content, dict) or "model_type" not in content:
            raise ModelError(f"{path} names no model_type; it is not a Hugging Face model's config")
        return content


def reads_images(config: Mapping[str, Any]) -> bool:
    """Whether a model with this config.json reads images, not texts: transformers' image models all say of what size."""
    return "image_size" in config


def resolve_model(reference: str, *, offline: bool = False) -> ModelSource:
    """Find a model's folder, downloading it if it is a hub id and `offline` is false.

    Raises:
        ModelError: Nothing is there.
    """
    if reference.startswith("package:"):
        return _from_package(reference)
    folder = Path(os.path.expanduser(reference))  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    if folder.is_dir():
        return _checked(ModelSource(folder, folder.resolve().name, reference))
    if folder.exists():
        raise ModelError(f"{reference} is a file; give the folder that holds config.json and model.safetensors")
    if reference.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(reference):
        raise ModelError(f"no folder {reference}; give a local folder, a hub id with @revision, or package:NAME/FOLDER")
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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = reference.partition("@")
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(_PATTERNS), local_files_only=offline
        )
    except LocalEntryNotFoundError as error:
        where = (
            "in the local cache (--offline)"
            if offline
            else "on the hub, which can't be reached, nor in the local cache"
        )
        raise ModelError(f"{reference} is not {where}; download it first, or give a local folder") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"{reference} is neither a folder here nor a model on the hub: {str(error).splitlines()[0]}"
        ) from error
    return _checked(ModelSource(Path(folder), repository.replace("/", "-"), reference))

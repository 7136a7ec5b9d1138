"""Find the checkpoint that an artifact or a package was made from."""

import json
from pathlib import Path

from edgeprune.base.errors import ModelError
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store

__all__ = ["checkpoint_artifact"]

_WEIGHTS = "checkpoint/model.safetensors"
_MADE_FROM = ("checkpoint", "onnx", "model", "final", "package")
"""Roles of the parent that holds the same model one step earlier. A stage has at most one such parent. The stage mobile
may have several, but their graphs come from one checkpoint."""


def checkpoint_artifact(path: Path, store: Store) -> Artifact | None:
    """Find the artifact whose checkpoint an artifact or a package holds, or was made from.

    Args:
        path: An artifact's folder, or a package's.
        store: The store that holds a package's artifacts. An artifact's parents are looked up in the store that it lies
            in.

    Returns:
        The artifact that has the folder `checkpoint`; None if `path` is neither an artifact nor a package.

    Raises:
        ModelError: The checkpoint isn't in the store any more.
    """
    if (path / "lineage.json").is_file():
        return _of_package(path, store)
    if not (path / "manifest.json").is_file():
        return None
    artifact, home = Store.open(path), Store.holding(path)
    while not artifact.file(_WEIGHTS).is_file():
        key = next((artifact.manifest.parents[role] for role in _MADE_FROM if role in artifact.manifest.parents), None)
        parent = None if key is None else home.by_key(key)
        if parent is None:
            raise ModelError(f"{artifact.path} names no checkpoint that is in the store {home.root}; build again")
        artifact = parent
    return artifact


def _of_package(path: Path, store: Store) -> Artifact:
    stages = json.loads((path / "lineage.json").read_text(encoding="utf-8"))["stages"]
    last = [stage for stage in stages if _WEIGHTS in stage["files"]][-1]
    folder = store.folder(last["stage"], last["key"])
    if not folder.is_dir():
        raise ModelError(f"{path} was made from {folder}, which is not in the store; give the right --store")
    return Store.open(folder)

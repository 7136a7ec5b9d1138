"""Find the checkpoint that an artifact or a package was made from."""

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from edgeprune.base.errors import IntegrityError, ModelError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.store.records import Artifact, Key
from edgeprune.store.store import Store

__all__ = ["checkpoint_artifact"]

_WEIGHTS = "checkpoint/model.safetensors"
_MADE_FROM = ("checkpoint", "onnx", "model", "final", "package")
"""Roles of the parent that holds the same model one step earlier. A stage has at most one such parent. The stage mobile
may have several, but their graphs come from one checkpoint."""


class _Step(Frozen):
    """Hold as much of a step in `lineage.json` as is read here."""

    model_config = ConfigDict(extra="ignore")

    stage: Annotated[str, Field(pattern=r"^[a-z]+$")]
    key: Key
    files: dict[str, str]


class _Lineage(Frozen):
    """Hold as much of `lineage.json` as is read here."""

    model_config = ConfigDict(extra="ignore")

    stages: tuple[_Step, ...]


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
        IntegrityError: A manifest or lineage.json can't be read, or names no checkpoint.
    """
    if (path / "lineage.json").is_file():
        return _of_package(path, store)
    if not (path / "manifest.json").is_file():
        return None
    artifact, home = Store.open(path), Store.holding(path)
    seen: set[str] = set()
    while not artifact.file(_WEIGHTS).is_file():
        if artifact.key in seen:
            raise IntegrityError(f"{artifact.path} is damaged: it was made from itself; delete it and build again")
        seen.add(artifact.key)
        key = next((artifact.manifest.parents[role] for role in _MADE_FROM if role in artifact.manifest.parents), None)
        parent = None if key is None else home.by_key(key)
        if parent is None:
            raise ModelError(f"{artifact.path} names no checkpoint that is in the store {home.root}; build again")
        artifact = parent
    return artifact


def _of_package(path: Path, store: Store) -> Artifact:
    try:
        steps = _Lineage.model_validate_json((path / "lineage.json").read_bytes()).stages
    except (OSError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise IntegrityError(f"{path}: lineage.json can't be read ({why}); unpack the archive again") from error
    last = next((step for step in reversed(steps) if _WEIGHTS in step.files), None)
    if last is None:
        raise IntegrityError(f"{path}: lineage.json names no checkpoint; unpack the archive again")
    folder = store.folder(last.stage, last.key)
    if not folder.is_dir():
        raise ModelError(f"{path} was made from {folder}, which is not in the store; give the right --store")
    return Store.open(folder)

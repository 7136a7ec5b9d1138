"""Find the checkpoint that an artifact or a package was made from."""

import json
from pathlib import Path

from edgeprune.base.errors import ModelError
from edgeprune.store.store import Store

__all__ = ["checkpoint_folder"]


def checkpoint_folder(path: Path, store: Store) -> Path | None:
    """The checkpoint that an artifact is, or was made from; None if `path` is neither artifact nor package."""
    if (path / "lineage.json").is_file():
        stages = json.loads((path / "lineage.json").read_text(encoding="utf-8"))["stages"]
        with_weights = [stage for stage in stages if "checkpoint/model.safetensors" in stage["files"]]
        folder = store.folder(with_weights[-1]["stage"], with_weights[-1]["key"])
        if not folder.is_dir():
            raise ModelError(f"{path} was made from {folder}, which is not in the store; give the right --store")
        return folder / "checkpoint"
    while (path / "manifest.json").is_file():
        if (path / "checkpoint").is_dir():
            return path / "checkpoint"
        artifact = Store.open(path)
        root = path.absolute().parents[2 if artifact.manifest.stage == "benchmark" else 1]
        stages_by_role = {
            "checkpoint": ("finetune", "prune", "prepare"),
            "onnx": ("export",),
            "model": ("quantize",),
            "final": ("quantize",),
        }
        candidates = [
            root / stage / artifact.manifest.parents[role]
            for role, stages in stages_by_role.items()
            if role in artifact.manifest.parents
            for stage in stages
        ]
        found = next((candidate for candidate in candidates if candidate.is_dir()), None)
        if found is None:
            raise ModelError(f"{path} names no checkpoint that is in the store")
        path = found
    return None

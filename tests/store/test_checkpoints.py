import json
from pathlib import Path

import pytest

from edgeprune.base.errors import IntegrityError, ModelError
from edgeprune.store.checkpoints import checkpoint_artifact
from edgeprune.store.store import Store
from tests.support.artifacts import KEY, OTHER, manifest_of

WEIGHTS = "checkpoint/model.safetensors"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def made(store: Store, stage: str, key: str, parent: str, *, weights: bool = False) -> Path:
    draft = store.draft(stage, key)
    if weights:
        (draft / "checkpoint").mkdir()
        (draft / WEIGHTS).write_bytes(b"x")
    manifest = manifest_of(draft, stage, key).model_copy(update={"parents": {"checkpoint": parent}})
    return store.commit(draft, store.folder(stage, key), manifest).path


def package(folder: Path, lineage: object) -> Path:
    folder.mkdir()
    (folder / "lineage.json").write_text(lineage if isinstance(lineage, str) else json.dumps(lineage))
    return folder


def test_the_checkpoint_is_the_nearest_ancestors(store: Store):
    dense = made(store, "prepare", OTHER, "ef" * 32, weights=True)
    found = checkpoint_artifact(made(store, "export", KEY, OTHER), store)
    assert found is not None
    assert found.path == dense


def test_artifacts_that_were_made_from_one_another_are_damaged(store: Store):
    made(store, "export", OTHER, KEY)
    with pytest.raises(IntegrityError, match="it was made from itself"):
        checkpoint_artifact(made(store, "quantize", KEY, OTHER), store)


def test_a_packages_checkpoint_is_the_last_that_its_lineage_names(store: Store, tmp_path: Path):
    made(store, "prepare", OTHER, KEY, weights=True)
    pruned = made(store, "prune", KEY, OTHER, weights=True)
    steps = [
        {"id": "a", "stage": "prepare", "key": OTHER, "files": {WEIGHTS: "0"}},
        {"id": "b", "stage": "prune", "key": KEY, "files": {WEIGHTS: "0"}},
        {"id": "c", "stage": "export", "key": OTHER, "files": {"model.onnx": "0"}},
    ]
    found = checkpoint_artifact(package(tmp_path / "package", {"schema_version": 1, "stages": steps}), store)
    assert found is not None
    assert found.path == pruned
    with pytest.raises(ModelError, match="which is not in the store; give the right --store"):
        checkpoint_artifact(tmp_path / "package", Store(tmp_path / "another"))


@pytest.mark.parametrize(
    "lineage",
    [
        "", "null", "[]", "{}", "[" * 100_000, {"stages": None}, {"stages": []}, {"stages": [None]}, {"stages": [{}]},
        {"stages": [{"stage": "prepare", "key": KEY, "files": {}}]},
        {"stages": [{"stage": "../../etc", "key": KEY, "files": {WEIGHTS: "0"}}]},
        {"stages": [{"stage": "prepare", "key": "../../etc", "files": {WEIGHTS: "0"}}]},
        {"stages": [{"stage": "prepare", "key": f"{KEY}\n", "files": {WEIGHTS: "0"}}]},
        {"stages": [{"stage": "prepare", "key": KEY, "files": [WEIGHTS]}]},
    ],
    ids=lambda lineage: str(lineage)[:60],
)  # fmt: skip
def test_a_lineage_that_names_no_checkpoint_is_damaged(store: Store, tmp_path: Path, lineage: object):
    with pytest.raises(IntegrityError, match=r"lineage\.json .*; unpack the archive again"):
        checkpoint_artifact(package(tmp_path / "package", lineage), store)

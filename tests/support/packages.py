"""A package's folder made by hand: the right names, and nothing that runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.base.errors import EdgepruneError
from edgeprune.ondevice.package_files import SCHEMA_VERSION
from edgeprune.store.files import file_records
from edgeprune.store.package import DIGESTS, write_digests

FILES = (
    "README.md", "edgeprune.json", "goldens.json", "lineage.json", "onnx/model.onnx", "package_files.py",
    "postprocess.py", "preprocess.py", "run.py", "tokenizer.json",
)  # fmt: skip


def handmade(folder: Path) -> Path:
    """Make a package's folder that only its digests are read of."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    write_digests(folder)
    return folder


def described(folder: Path, *, name: str = "reviews", content: str = "weights") -> Path:
    """Make such a folder whose edgeprune.json says what it is, and whose graph has this content."""
    handmade(folder)
    about = {
        "schema_version": SCHEMA_VERSION, "name": name, "release": "1", "target": "here", "task": "text-classification",
        "problem_type": "single_label_classification", "labels": ["bad", "good"], "graph": "onnx/model.onnx",
        "inputs": ["input_ids"], "outputs": ["logits"], "provider": "CPUExecutionProvider", "oldest_onnxruntime": "1.18",
        "session": {"threads": 1, "level": "all", "arena": True, "config": {}},
        "precision": {"mode": "int8-dynamic"}, "licence": "apache-2.0",
    }  # fmt: skip
    (folder / "edgeprune.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "onnx/model.onnx").write_text(content, encoding="utf-8")
    (folder / "LICENSE").write_text("as you like", encoding="utf-8")
    (folder / DIGESTS).unlink()
    write_digests(folder)
    return folder


def with_documents(folder: Path) -> Path:
    """Make such a folder, with its bill of materials and its provenance beside it."""
    described(folder)
    for suffix in ("cdx.json", "provenance.json"):
        folder.with_name(f"{folder.name}.{suffix}").write_text(f'{{"about": "{suffix}"}}', encoding="utf-8")
    return folder


def contents(folder: Path) -> list[tuple[str, str]]:
    """The paths and digests of a folder's files."""
    return [(one.path, one.sha256) for one in file_records(folder)]


def complaint_without(secret: str, kind: type[EdgepruneError], call: Callable[[], object]) -> str:
    """The one line that a call fails with, which doesn't tell a secret."""
    with pytest.raises(EdgepruneError) as caught:
        call()
    assert type(caught.value) is kind, caught.value
    said = str(caught.value)
    assert "\n" not in said
    assert secret not in said
    return said

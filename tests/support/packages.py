"""A package's folder made by hand: the right names, and nothing that runs."""

import json
from pathlib import Path

from edgeprune.ondevice.package_files import SCHEMA_VERSION
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

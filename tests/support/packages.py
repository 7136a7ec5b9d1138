"""A package's folder made by hand: the right names, and nothing that runs."""

from pathlib import Path

from edgeprune.store.package import write_digests

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

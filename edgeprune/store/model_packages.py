"""Write ONNX Runtime's model packages: several graphs of one model, of which ONNX Runtime selects one and opens it.

The format is of version 1.0, which ONNX Runtime reads from 1.28 on. It has no JSON Schema. Its rules stand in prose beside
its parser in ONNX Runtime's source:

- https://github.com/microsoft/onnxruntime/blob/main/model_package/README.md (the files and their keys)
- https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/session/model_package/README.md (the key `ort`, and
  which variant is selected)

    manifest.json                      what the package is, and its components
    model/component.json               the variants of the only component
    model/<variant>/                   a variant's own files
    shared_assets/sha256-<digest>/     files that several variants have, by the digest of their names and content
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.base.strict_yaml import Frozen
from edgeprune.store.files import file_digest
from edgeprune.store.package import DIGESTS, MANIFEST

__all__ = ["COMPONENT", "ExecutorInfo", "OrtInfo", "VariantBody", "add_asset", "is_model_package", "write_manifests"]

COMPONENT = "model"
"""The name of the component that has all variants, and of its folder."""

_OURS = "edgeprune"


class OrtInfo(Frozen):
    """Say how ONNX Runtime opens a variant."""

    model_file: str
    """The graph: a path from the variant's folder, or `sha256:<digest>/<name>` for one of the shared assets."""
    session_options: Mapping[str, str]
    """Keys and values of onnxruntime_session_options_config_keys.h."""


class ExecutorInfo(Frozen):
    """Say by program how it uses a variant: what it reads itself, or the name of a JSON file in the variant's folder."""

    ort: OrtInfo
    edgeprune: str


class VariantBody(Frozen):
    """Describe a variant.

    There are more keys. `device` is left out because ONNX Runtime up to 1.31 knows no device of its CPU provider, and
    would select no variant that asks for one. `compatibility_string` is for graphs that a provider compiled.
    """

    ep: str
    """The execution provider."""
    executor_info: ExecutorInfo


def add_asset(package: Path, files: Mapping[str, Path]) -> str:
    """Copy files into the folder of a shared asset, unless it is there, and return its `sha256:<digest>`.

    Args:
        package: The model package's folder.
        files: The files by the names that they get.
    """
    lines = "".join(f"{file_digest(files[name])}  {name}\n" for name in sorted(files))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    folder = package / "shared_assets" / f"sha256-{digest}"
    if not folder.exists():
        folder.mkdir(parents=True)
        for name, path in files.items():
            shutil.copyfile(path, folder / name)
    return f"sha256:{digest}"


def write_manifests(
    package: Path,
    *,
    name: str,
    version: str,
    description: str,
    variants: Mapping[str, VariantBody],
    ours: Mapping[str, Any],
) -> None:
    """Write manifest.json and component.json.

    Args:
        package: The model package's folder.
        name: Its name.
        version: Its version.
        description: A sentence for people.
        variants: The variants by name. ONNX Runtime selects the first one that fits.
        ours: What only edgeprune reads.
    """
    manifest = {
        "schema_version": "1.0",
        "package_name": name,
        "package_version": version,
        "description": description,
        "layout": "portable",
        "components": {COMPONENT: COMPONENT},
        "additional_metadata": {_OURS: ours},
    }
    component = {"variants": {name: body.model_dump(mode="json") for name, body in variants.items()}}
    for path, content in ((package / MANIFEST, manifest), (package / COMPONENT / "component.json", component)):
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_model_package(folder: Path) -> bool:
    """Tell whether edgeprune wrote this folder as a model package."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    metadata = manifest.get("additional_metadata") if isinstance(manifest, dict) else None
    return isinstance(metadata, dict) and _OURS in metadata and (folder / DIGESTS).is_file()

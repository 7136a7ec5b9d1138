"""Find the packages of npm that a page needs: onnxruntime-web, and the tokenizers that a page reads texts with."""

import json
import os
from pathlib import Path

__all__ = ["RUNTIME", "TOKENIZERS", "WebModules"]

RUNTIME = "onnxruntime-web"
TOKENIZERS = "@huggingface/tokenizers"

_FILES = {
    RUNTIME: ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    TOKENIZERS: ("dist/tokenizers.min.mjs",),
}
"""The files of each package that a page fetches."""

_PLACE = ".edgeprune-browser"


class WebModules:
    """Find packages in a folder that npm made.

    Args:
        folder: The folder `node_modules`; None: $EDGEPRUNE_NODE_MODULES or, if that isn't set, the folder that
            `make browser` makes in the current folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = Path(folder or os.environ.get("EDGEPRUNE_NODE_MODULES") or f"{_PLACE}/node_modules")

    def lacking(self, *packages: str) -> str | None:
        """Say which packages aren't there, and what to do. None if all are there."""
        missing = [
            name for name in packages if not all((self._folder / name / file).is_file() for file in _FILES[name])
        ]
        if not missing:
            return None
        return (
            f"there is no {' and no '.join(missing)} in {self._folder}; run make browser in edgeprune's checkout, or "
            f"npm install --prefix {_PLACE} {' '.join(missing)}, or name the folder node_modules in EDGEPRUNE_NODE_MODULES"
        )

    def files(self, package: str) -> dict[str, Path]:
        """The files of a package that a page fetches, by name."""
        return {Path(file).name: self._folder / package / file for file in _FILES[package]}

    def licence(self, package: str) -> str:
        """The package's name, version and licence, as its own package.json says it."""
        described = json.loads((self._folder / package / "package.json").read_text(encoding="utf-8"))
        return f"{package} {described['version']}, {described['license']}"

    def version(self, package: str) -> str | None:
        """The version of a package; None: it isn't there."""
        described = self._folder / package / "package.json"
        return json.loads(described.read_text(encoding="utf-8"))["version"] if described.is_file() else None

"""Prune a Transformer encoder, recover it, and ship it as a measured ONNX package for a device.

import edgeprune

report = edgeprune.build("./my-model", data="reviews.jsonl", target="cpu-x86-avx2")
model = edgeprune.load(".edgeprune/finetune/<key>")     # an ordinary PreTrainedModel
shipped = edgeprune.load_onnx(report.package.path)       # what was packaged, to be called
"""

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

if TYPE_CHECKING:
    from edgeprune.pipeline.api import build, load, load_onnx

__all__ = ["build", "load", "load_onnx"]


def __getattr__(name: str) -> Any:
    """Import the functions when they are asked for, so that `import edgeprune` is quick."""
    if name in __all__:
        from edgeprune.pipeline import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgeprune' has no attribute {name!r}")

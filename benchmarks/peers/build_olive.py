"""Olive: conversion, its transformer fusions for the CPU, dynamic int8; `model.onnx`.

`olive optimize` would choose these passes, but needs packages that it doesn't declare; a workflow of them doesn't.
`attn_implementation=eager` exports attention in the form that its fusion knows.
"""

import json
import shutil
import sys
from pathlib import Path

from olive.workflows import run

request = json.load(sys.stdin)
output = Path(request["output"])
run(
    {
        "input_model": {
            "type": "HfModel",
            "model_path": request["checkpoint"],
            "task": "text-classification",
            "load_kwargs": dict(setting.split("=") for setting in request["settings"]),
        },
        "systems": {
            "local": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "passes": {
            "conversion": {"type": "OnnxConversion", "target_opset": 20},
            "fusion": {"type": "OrtTransformersOptimization", "model_type": "bert"},
            "quantization": {"type": "OnnxDynamicQuantization", "reduce_range": not request["exact_int8"]},
        },
        "host": "local",
        "target": "local",
        "evaluate_input_model": False,
        "cache_dir": str(output / "cache"),
        "output_dir": str(output / "out"),
    }
)
(found,) = (output / "out").rglob("*.onnx")
for file in found.parent.glob("*.onnx*"):
    shutil.move(file, output / file.name)

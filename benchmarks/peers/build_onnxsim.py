"""onnxsim's own pruning of the fp32 export: half of the heads and neurons, solved again, then its int8; `model.onnx`.

Heads and neurons are ranked by weights and activations over training texts. What is left is fitted to what the export
gave, in closed form. Nothing is trained: onnxsim reads a graph alone.
https://github.com/onnxsim/onnxsim
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxsim

TEXTS = 64
"""Texts for calibration; onnxsim keeps all of their activations in memory."""

request = json.load(sys.stdin)
original = onnx.load(request["export"])
names = [one.name for one in original.graph.input]
feeds = [
    {
        name: np.array([{"input_ids": ids, "attention_mask": [1] * len(ids)}.get(name, [0] * len(ids))], dtype=np.int64)
        for name in names
    }
    for ids in request["calibration"][:TEXTS]
]
pruned = onnxsim.apply_structured_wanda_pruning(original, feeds, sparsity=0.5)
pruned = onnxsim.apply_attention_head_wanda_pruning(pruned, feeds, sparsity=0.5)
pruned = onnxsim.apply_pruning_finetune(original, pruned, feeds)
onnx.save(onnxsim.quantize_dynamic(pruned), Path(request["output"]) / "model.onnx")

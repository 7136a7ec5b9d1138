"""The checkpoint as an fp32 ONNX graph by edgeprune's exporter, without any rewrite of the race; `model.onnx`."""

import json
import sys
from pathlib import Path

import torch

from edgeprune.graph.export import export_onnx
from edgeprune.models.architectures import longest_text
from edgeprune.models.checkpoint import load_any, load_tokenizer

request = json.load(sys.stdin)
checkpoint = Path(request["checkpoint"])
model = load_any(checkpoint, attn_implementation="eager")
example = torch.full((2, 16), 100)
values = {"input_ids": example, "attention_mask": torch.ones_like(example), "token_type_ids": torch.zeros_like(example)}
export_onnx(
    model,
    {name: values[name] for name in load_tokenizer(checkpoint).model_input_names},
    Path(request["output"]) / "model.onnx",
    opset=20,
    longest_sequence=longest_text(model.config),
    output_names=["logits"],
)

"""The plain fp32 export, by `quantize_dynamic` with its own defaults and signed weights; `model.onnx`."""

import json
import sys
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

request = json.load(sys.stdin)
quantize_dynamic(
    request["export"],
    Path(request["output"]) / "model.onnx",
    weight_type=QuantType.QInt8,
    reduce_range=not request["exact_int8"],
)

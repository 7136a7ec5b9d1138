"""OpenVINO + NNCF: static int8 of the fp32 export, calibrated on training texts; `model.xml`, `model.bin`.

https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
"""

import json
import sys
from pathlib import Path

import nncf
import numpy as np
import openvino

request = json.load(sys.stdin)
model = openvino.convert_model(request["export"])
names = [one.get_any_name() for one in model.inputs]


def feed(ids: list[int]) -> dict[str, np.ndarray]:
    """One text as the model's inputs."""
    values = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
    return {name: np.array([values[name]], dtype=np.int64) for name in names}


calibration = request["calibration"]
quantized = nncf.quantize(
    model,
    nncf.Dataset(calibration, feed),
    model_type=nncf.ModelType.TRANSFORMER,
    subset_size=len(calibration),
)
openvino.save_model(quantized, Path(request["output"]) / "model.xml")

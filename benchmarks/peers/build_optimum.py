"""optimum-onnx: export, then dynamic int8 for this instruction set, as its guide does it; `int8/model_quantized.onnx`.

https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/quantization
"""

import json
import sys
from pathlib import Path

from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

request = json.load(sys.stdin)
output = Path(request["output"])
ORTModelForSequenceClassification.from_pretrained(request["checkpoint"], export=True).save_pretrained(output / "fp32")
settings = AutoQuantizationConfig.avx512_vnni if request["exact_int8"] else AutoQuantizationConfig.avx2
ORTQuantizer.from_pretrained(output / "fp32").quantize(
    save_dir=output / "int8", quantization_config=settings(is_static=False, per_channel=False)
)

"""fp32 ONNX → the target's precision.

int8-dynamic: weights in int8 ahead of time, activations in uint8 at run time, scales chosen for each input. fp16: for
GPUs; inputs and outputs keep their types. `edgeprune.precision` says which settings an instruction set needs.
"""

import shutil
from pathlib import Path

import onnx
import onnx_ir
from onnxruntime.quantization import QuantType
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers.exporters import OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer
from transformers.exporters.configs import ExportFormat

from edgeprune.precision import PrecisionSettings

__all__ = ["convert"]

_WEIGHT_TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


def convert(source: Path, destination: Path, settings: PrecisionSettings) -> None:
    """Write the fp32 graph `source` in the precision that `settings` name; both are .onnx files."""
    if settings.mode == "fp32":
        shutil.copyfile(source, destination)
        return
    if settings.mode == "fp16":
        model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    else:
        quantizer = OnnxRuntimeQuantizer(
            OnnxRuntimeDynamicConfig(
                weight_type=_WEIGHT_TYPES[settings.weight_type or "int8"],
                reduce_range=settings.reduce_range,
                per_channel=settings.per_channel,
            )
        )
        model = onnx_ir.to_proto(quantizer.quantize(onnx_ir.load(source), {}, ExportFormat.ONNX))
    model.producer_name, model.producer_version = "edgeprune", ""
    destination.write_bytes(model.SerializeToString(deterministic=True))

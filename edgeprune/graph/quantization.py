"""fp32 ONNX → the target's precision.

int8-dynamic: weights in int8 ahead of time, activations in uint8 at run time, scales chosen for each input. fp16: for
GPUs; inputs and outputs keep their types. What projects an image's patches, a convolution, stays in fp32: it is small
beside the rest. `edgeprune.precision` says which settings an instruction set needs.

ONNX Runtime's `quantize_dynamic` is called without transformers' `OnnxRuntimeQuantizer` around it: that wrapper exists to
drop stale shapes, which our export doesn't write, and it holds another copy of the model (4.2 times the fp32 file at its
peak for BERT-base, against 3.2).
"""

import shutil
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.registry import IntegerOpsRegistry
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgeprune.precision import PrecisionSettings

__all__ = ["convert"]

_WEIGHT_TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


def convert(source: Path, destination: Path, settings: PrecisionSettings) -> None:
    """Write the fp32 graph `source` in the precision that `settings` name; both are .onnx files."""
    if settings.mode == "fp32":
        for file in sorted(source.parent.glob(f"{source.name}*")):  # above 2 GB, weights are beside the graph
            shutil.copyfile(file, destination.parent / file.name)
    elif settings.mode == "fp16":
        model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
        destination.write_bytes(model.SerializeToString(deterministic=True))
    else:
        quantize_dynamic(
            source,
            destination,
            op_types_to_quantize=[name for name in IntegerOpsRegistry if name != "Conv"],
            weight_type=_WEIGHT_TYPES[settings.weight_type or "int8"],
            reduce_range=bool(settings.reduce_range),
            per_channel=bool(settings.per_channel),
        )

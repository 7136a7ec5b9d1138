"""fp32 ONNX → the target's precision.

| mode | weights of products | their inputs |
|---|---|---|
| int8-dynamic | int8 | uint8, a scale chosen for each at run time |
| int8-static | int8 | uint8, a scale fixed on calibration rows; QuantizeLinear and DequantizeLinear around the products |
| int8-weights, int4-weights | blocks of 128 or 32 with a scale each (`MatMulNBits`) | quantized inside the kernel |
| fp16 | fp16, as everything between inputs and outputs | fp16 |

Products are MatMul nodes with weights; int8-dynamic quantizes a pooler's and a classifier's Gemm too, which the others leave
in fp32. Embeddings are tables that rows are taken of: int8, or the large ones int4 in blocks of 128 (`GatherBlockQuantized`). What
projects an image's patches, a convolution, stays in fp32: it is small beside the rest. `edgeprune.profiles.precision` says which
settings an instruction set needs.

ONNX Runtime's `quantize_dynamic` is called without transformers' `OnnxRuntimeQuantizer` around it: that wrapper exists to
drop stale shapes, which our export doesn't write, and it holds another copy of the model (4.2 times the fp32 file at its
peak for BERT-base, against 3.2). It also takes about six times an embedding's size, so that it is given two rows in its place,
with the same extremes and therefore the same scale, and the table itself is quantized some rows at a time.
"""

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.quant_utils import TENSOR_NAME_QUANT_SUFFIX, quantize_nparray
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgeprune.base.quiet_libraries import logging_kept
from edgeprune.graph.serialization import write_onnx
from edgeprune.profiles.precision import PrecisionSettings

__all__ = ["Feed", "convert", "quantized_products"]

_WEIGHT_TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
_BLOCKS = {4: 32, 8: 128}
"""Weights of a product that share a scale, by their bits."""
_TABLE_BLOCK = 128
"""Values of an embedding that share a scale. Of 32, 64 and 128, none was nearer to fp32 than the others."""
_LARGE = 0.25
"""A smaller share of the largest table is not worth the slower operator."""
_ROWS_AT_ONCE = 4096
"""Of a table, quantized together."""
_INT8_ACTIVATIONS = 4
"""`accuracy_level` of MatMulNBits: products in int8."""

Feed = Mapping[str, npt.NDArray[Any]]


def convert(source: Path, destination: Path, settings: PrecisionSettings, calibration: Sequence[Feed] = ()) -> None:
    """Write the fp32 graph `source` in the precision that `settings` name.

    Args:
        source: An .onnx file.
        destination: Likewise, in another folder.
        settings: What is wanted.
        calibration: Inputs of real rows; needed for int8-static.
    """
    rows = ["Gather"] if settings.embeddings in ("int8", "int4") else []
    tables = _large_tables(source) if settings.embeddings == "int4" else []
    others = [*settings.keep_fp32, *tables]
    match settings.mode:
        case "fp32":
            for file in sorted(source.parent.glob(f"{source.name}*")):  # above 2 GB, weights are beside the graph
                shutil.copyfile(file, destination.parent / file.name)
        case "fp16":
            # Shapes are inferred from the file where its weights are beside it: a message ends at 2 GB.
            model = str(source) if _has_weights_outside(source) else onnx.load(source)
            _write(convert_float_to_float16(model, keep_io_types=True), destination)
        case "int8-dynamic":
            _quantize_dynamic(source, destination, settings, ["MatMul", *rows], but=others)
        case "int8-static":
            _quantize_static(source, destination, settings, calibration)
        case "int8-weights" | "int4-weights":
            kept = [name for name in quantized_products(source, settings) if name not in settings.keep_fp32]
            bits = 8 if settings.mode == "int8-weights" else 4
            _in_blocks(source, destination, kept, bits=bits, block=_BLOCKS[bits])
    if rows and settings.mode != "int8-dynamic":
        _quantize_dynamic(destination, destination, settings, rows, but=others)
    if tables:
        _in_blocks(destination, destination, tables, bits=4, block=_TABLE_BLOCK)
    beside = destination.with_name(f"{destination.name}.data")
    if beside.is_file() and not _has_weights_outside(destination):  # a step in between wrote them there
        beside.unlink()


def _has_weights_outside(path: Path) -> bool:
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors)


def quantized_products(path: Path, settings: PrecisionSettings) -> list[str]:
    """Names of the products with weights that a precision quantizes if none is kept, in the graph's order."""
    op_types = ("MatMul", "Gemm") if settings.mode == "int8-dynamic" else ("MatMul",)
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    return [node.name for node in graph.node if node.op_type in op_types and node.input[1] in weights]


def _large_tables(path: Path) -> list[str]:
    """Names of the nodes that take rows of a table in floating point which isn't small beside the largest."""
    graph = onnx.load(path, load_external_data=False).graph
    sizes = {
        tensor.name: math.prod(tensor.dims)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
    }
    readers = Counter(name for node in graph.node for name in node.input)
    taken = {
        node.name: sizes[node.input[0]]
        for node in graph.node
        # A table that a decoder reads as well would stay beside its 4-bit copy.
        if node.op_type == "Gather" and node.input[0] in sizes and readers[node.input[0]] == 1
    }
    return [name for name, size in taken.items() if size >= _LARGE * max(taken.values())]


def _quantize_dynamic(
    source: Path, destination: Path, settings: PrecisionSettings, op_types: Sequence[str], *, but: Sequence[str]
) -> None:
    model = onnx_ir.load(source)
    tables = _take_tables(model, but) if "Gather" in op_types else {}
    with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
        without_tables = Path(folder) / source.name
        write_onnx(model, without_tables)
        quantize_dynamic(
            without_tables,
            destination,
            op_types_to_quantize=list(op_types),
            weight_type=_WEIGHT_TYPES[settings.weight_type or "int8"],
            reduce_range=bool(settings.reduce_range),
            per_channel=bool(settings.per_channel),
            # The quantizer makes two nodes of a Gemm before it looks at names.
            nodes_to_exclude=[name for node in but for name in (node, f"{node}_MatMul")],
        )
    _put_tables(destination, tables)


def _take_tables(model: onnx_ir.Model, but: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Replace the tables that nodes not in `but` take rows of by their extremes; the tables, by name.

    A decoder may read one too, transposed: it is given what the quantized table stands for.
    """
    tables = {}
    for name, value in model.graph.initializers.items():
        tensor, users = value.const_value, [use.node for use in value.uses()]
        if tensor is None or tensor.dtype != onnx_ir.DataType.FLOAT or tensor.size == 0:
            continue
        taken = [
            node for node in users if node.op_type == "Gather" and node.inputs[0] is value and node.name not in but
        ]
        others = [node for node in users if node not in taken]
        if taken and all(node.op_type == "Transpose" for node in others):
            values = tensor.numpy()
            extremes = np.full((2, *values.shape[1:]), values.min(), values.dtype)
            extremes[1] = values.max()
            value.const_value = onnx_ir.tensor(extremes, name=name)
            value.shape = value.const_value.shape
            tables[name] = values  # the tensor would hold the whole model's message
    return tables


def _put_tables(path: Path, tables: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put the tables into a graph that was quantized without them."""
    model = onnx_ir.load(path)
    known = model.graph.initializers
    for name, values in tables.items():
        scale, zero_point = (_values(known[f"{name}_{what}"]) for what in ("scale", "zero_point"))
        place = known[f"{name}{TENSOR_NAME_QUANT_SUFFIX}"]
        table = np.empty(values.shape, zero_point.dtype)
        for first in range(0, len(values), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            table[rows] = quantize_nparray(
                onnx.helper.np_dtype_to_tensor_dtype(table.dtype), values[rows], scale, zero_point
            )
        place.const_value = onnx_ir.tensor(table, name=place.name)
        place.shape = place.const_value.shape
    write_onnx(model, path)


def _values(initializer: onnx_ir.Value) -> npt.NDArray[Any]:
    assert initializer.const_value is not None  # noqa: S101 (an initializer has values)
    return np.asarray(initializer.const_value.numpy())


def _quantize_static(source: Path, destination: Path, settings: PrecisionSettings, calibration: Sequence[Feed]) -> None:
    quantize_static(
        source,
        destination,
        _Calibration(source, calibration),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=[name for name in quantized_products(source, settings) if name not in settings.keep_fp32],
        activation_type=QuantType.QUInt8,
        weight_type=_WEIGHT_TYPES[settings.weight_type or "int8"],
        reduce_range=bool(settings.reduce_range),
        per_channel=bool(settings.per_channel),
        use_external_data_format=_has_weights_outside(source),
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
    )


class _Calibration(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Hands out rows, and of each the inputs that a graph takes."""

    def __init__(self, path: Path, rows: Sequence[Feed]) -> None:
        names = {value.name for value in onnx.load(path, load_external_data=False).graph.input}
        self._rows: Iterator[Feed] = iter(
            {name: values for name, values in row.items() if name in names} for row in rows
        )

    def get_next(self) -> Feed | None:
        return next(self._rows, None)


def _in_blocks(source: Path, destination: Path, nodes: Sequence[str], *, bits: int, block: int) -> None:
    """Put the weights of these nodes into blocks with a scale each."""
    with logging_kept():  # the module configures the root logger when it is imported
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    model = onnx.load(source)
    opset, ir_version = next(one.version for one in model.opset_import if not one.domain), model.ir_version
    quantizer = MatMulNBitsQuantizer(
        model,
        bits=bits,
        block_size=block,
        accuracy_level=_INT8_ACTIVATIONS,
        nodes_to_exclude=[node.name for node in model.graph.node if node.name not in nodes],
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # of blocks of zeros, which the quantizer then handles
        quantizer.process()
    made = quantizer.model.model
    _tables_in_bytes(made)
    # The quantizer raises these for a 4-bit type that isn't there any more.
    next(one for one in made.opset_import if not one.domain).version = opset
    made.ir_version = ir_version
    _write(made, destination)


def _tables_in_bytes(model: onnx.ModelProto) -> None:
    """4-bit tables as bytes of two values each, rows padded to whole bytes: ORT format has no 4-bit type."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "GatherBlockQuantized":
            continue
        for name in (node.input[0], *node.input[3:]):
            tensor = tensors[name]
            values = onnx.numpy_helper.to_array(tensor).astype(np.uint8)
            pairs = np.pad(values, ((0, 0), (0, values.shape[1] % 2)))
            tensor.CopyFrom(onnx.numpy_helper.from_array(pairs[:, ::2] | pairs[:, 1::2] << 4, name))
        node.attribute.append(onnx.helper.make_attribute("bits", 4))


def _write(model: onnx.ModelProto, path: Path) -> None:
    write_onnx(onnx_ir.from_proto(model), path)

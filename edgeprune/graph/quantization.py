"""Convert an fp32 ONNX graph to the target's precision.

| mode | weights of products | inputs of products |
|---|---|---|
| int8-dynamic | int8 | uint8, a scale chosen for each input at run time |
| int8-static | int8 | uint8, a scale fixed on calibration rows; QuantizeLinear and DequantizeLinear around products |
| int8-weights, int4-weights | blocks of 128 or 32 with a scale each (`MatMulNBits`) | quantized inside the kernel |
| fp16 | fp16, like everything between the graph's inputs and outputs | fp16 |

Products are MatMul nodes with weights. int8-dynamic also quantizes the Gemm of a pooler and of a classifier; the other
modes leave these in fp32. Embeddings are tables from which a graph takes rows. They are quantized to int8, or the large
tables to int4 or int2 (`edgeprune.graph.small_tables`). The convolution that projects an image's patches stays in
fp32: it is small beside the rest. `edgeprune.profiles.precision` says which settings an instruction set needs.

ONNX Runtime's `quantize_dynamic` is called without transformers' `OnnxRuntimeQuantizer` around it. That wrapper exists
to drop stale shapes, which our export doesn't write, and it holds another copy of the model: for BERT-base the peak is
4.2 times the fp32 file with the wrapper, and 3.2 times without it. `quantize_dynamic` would also take memory of about
six times an embedding's size, and quantizes the weights of a product column by column in Python. It is therefore given
two rows in the place of a table or of a product's weights, with the same extremes and so the same scale. The values
themselves are quantized here, some rows at a time, to the same numbers.
"""

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.quant_utils import (
    TENSOR_NAME_QUANT_SUFFIX,
    get_qmin_qmax_for_qType,
    quantize_nparray,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgeprune.base.quiet_libraries import logging_kept
from edgeprune.graph.serialization import write_onnx
from edgeprune.graph.small_tables import quantize_tables
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.store.files import graph_files

__all__ = ["Feed", "convert", "quantized_products"]

_WEIGHT_TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
_BLOCKS = {4: 32, 8: 128}
"""By bits, how many weights of a product share a scale."""
_TABLE_BITS: Mapping[str | None, Literal[2, 4]] = {"int4": 4, "int2": 2}
"""By the type of the embeddings, the bits of a value of a large table, if it is smaller than a byte."""
_LARGE = 0.25
"""The share of the largest table's size from which a table is large; a smaller one isn't worth the slower operator."""
_ROWS_AT_ONCE = 4096
"""How many rows of a table are quantized together."""
_INT8_ACTIVATIONS = 4
"""The `accuracy_level` of MatMulNBits that computes products in int8."""

Weights = npt.NDArray[Any]

Feed = Mapping[str, npt.NDArray[Any]]
"""One batch: by the name of an input, the array that a graph is given."""


def convert(source: Path, destination: Path, settings: PrecisionSettings, calibration: Sequence[Feed] = ()) -> None:
    """Write the fp32 graph `source` in the precision that `settings` name.

    Args:
        source: The .onnx file to convert.
        destination: The .onnx file to write, in another folder.
        settings: The precision to convert to.
        calibration: Inputs of real rows, which int8-static needs.
    """
    rows = ["Gather"] if settings.embeddings not in (None, "fp32") else []
    bits_of_tables = _TABLE_BITS.get(settings.embeddings)
    tables = [] if bits_of_tables is None else _large_tables(source)
    others = [*settings.keep_fp32, *tables]
    match settings.mode:
        case "fp32":
            for file in graph_files(source):
                shutil.copyfile(file, destination.parent / file.name)
        case "fp16":
            # If the weights are beside the file, shapes are inferred from the path: a protobuf message ends at 2 GB.
            model = str(source) if _has_weights_outside(source) else onnx.load(source)
            _write(convert_float_to_float16(model, keep_io_types=True), destination)
        case "int8-dynamic":
            _quantize_dynamic(source, destination, settings, ["MatMul", *rows], but=others)
        case "int8-static":
            _quantize_static(source, destination, settings, calibration)
        case "int8-weights" | "int4-weights":
            kept = [name for name in quantized_products(source, settings) if name not in settings.keep_fp32]
            bits = 8 if settings.mode == "int8-weights" else 4
            _in_blocks(source, destination, kept, bits=bits)
    if rows and settings.mode != "int8-dynamic":
        _quantize_dynamic(destination, destination, settings, rows, but=others)
    if bits_of_tables is not None and tables:
        quantize_tables(destination, destination, tables, bits=bits_of_tables)
    beside = destination.with_name(f"{destination.name}.data")
    if beside.is_file() and not _has_weights_outside(destination):  # an earlier step wrote these weights
        beside.unlink()


def _has_weights_outside(path: Path) -> bool:
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors)


def quantized_products(path: Path, settings: PrecisionSettings) -> list[str]:
    """List the names of the products that a precision quantizes if none is kept in fp32, in the graph's order."""
    op_types = ("MatMul", "Gemm") if settings.mode == "int8-dynamic" else ("MatMul",)
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    return [node.name for node in graph.node if node.op_type in op_types and node.input[1] in weights]


def _large_tables(path: Path) -> list[str]:
    """List the names of the nodes that take rows of a large table in floating point; `_LARGE` says what is large."""
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
        # If a decoder reads the table too, the fp32 table would stay beside its small copy.
        if node.op_type == "Gather" and node.input[0] in sizes and readers[node.input[0]] == 1
    }
    return [name for name, size in taken.items() if size >= _LARGE * max(taken.values())]


def _quantize_dynamic(
    source: Path, destination: Path, settings: PrecisionSettings, op_types: Sequence[str], *, but: Sequence[str]
) -> None:
    model = onnx_ir.load(source)
    shapes = {value.name: value.shape for value in _computed(model)}
    excluded = {name for node in but for name in (node, f"{node}_MatMul")}  # the quantizer splits a Gemm into two nodes
    tables = _take_tables(model, but) if "Gather" in op_types else {}
    products = _take_products(model, excluded) if "MatMul" in op_types else {}
    with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
        without_weights = Path(folder) / source.name
        write_onnx(model, without_weights)
        quantize_dynamic(
            without_weights,
            destination,
            op_types_to_quantize=list(op_types),
            weight_type=_WEIGHT_TYPES[settings.weight_type or "int8"],
            reduce_range=bool(settings.reduce_range),
            per_channel=bool(settings.per_channel),
            nodes_to_exclude=list(excluded),
            # The library infers shapes and types. With stand-ins it can't infer those that the graph doesn't name.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    quantized = onnx_ir.load(destination)
    for value in _computed(quantized):
        value.shape = shapes.get(value.name)  # not what was inferred from a stand-in
    _put_weights(quantized, tables, products, settings)
    write_onnx(quantized, destination)


def _computed(model: onnx_ir.Model) -> list[onnx_ir.Value]:
    """List the values that nodes compute on the way to the outputs."""
    return [value for node in model.graph for value in node.outputs if not value.is_graph_output()]


def _take_tables(model: onnx_ir.Model, but: Sequence[str]) -> dict[str, Weights]:
    """Replace tables by their extremes, and return the tables by name.

    Only tables are replaced from which a node that isn't in `but` takes rows. A decoder may read such a table too,
    transposed; it then reads the values that the quantized table stands for.
    """
    tables = {}
    for value, values in _float_weights(model):
        taken = [node for node in _users(value) if node.op_type == "Gather" and node.name not in but]
        if taken and all(node in taken or node.op_type == "Transpose" for node in _users(value)):
            tables[value.name] = _stand_in(value, values, values.shape[1:])
    return tables


def _take_products(model: onnx_ir.Model, excluded: Collection[str]) -> dict[str, Weights]:
    """Replace the weights of MatMul nodes that aren't excluded by their extremes, and return the weights by name."""
    products = {}
    for value, values in _float_weights(model):
        users = _users(value)
        if values.ndim == 2 and all(
            node.op_type == "MatMul" and node.inputs[1] is value and node.name not in excluded for node in users
        ):
            products[value.name] = _stand_in(value, values, (1,))
    return products


def _float_weights(model: onnx_ir.Model) -> Iterator[tuple[onnx_ir.Value, Weights]]:
    """Give the initializers that nodes read, in floating point, with their values."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == onnx_ir.DataType.FLOAT and tensor.size and value.uses():
            yield value, tensor.numpy()


def _users(value: onnx_ir.Value) -> list[onnx_ir.Node]:
    return [use.node for use in value.uses()]


def _stand_in(value: onnx_ir.Value, values: Weights, shape: tuple[int, ...]) -> Weights:
    """Put the extremes of weights in the weights' place: two rows of this shape. Return the weights."""
    extremes = np.full((2, *shape), values.min(), values.dtype)
    extremes[1] = values.max()
    value.const_value = onnx_ir.tensor(extremes, name=value.name)
    value.shape = value.const_value.shape
    return values  # the tensor would keep the whole model's message alive


def _put_weights(
    model: onnx_ir.Model, tables: Mapping[str, Weights], products: Mapping[str, Weights], settings: PrecisionSettings
) -> None:
    """Put the weights, quantized, into a graph that was quantized without them."""
    known = model.graph.initializers
    for name, values in (*tables.items(), *products.items()):
        scale, zero_point = (_values(known[f"{name}_{what}"]) for what in ("scale", "zero_point"))
        if settings.per_channel and name in products:
            scale, zero_point = _scales_by_column(values, zero_point.dtype, reduce_range=bool(settings.reduce_range))
            _set(known[f"{name}_scale"], scale)
            _set(known[f"{name}_zero_point"], zero_point)
        quantized = np.empty(values.shape, zero_point.dtype)
        for first in range(0, len(values), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            quantized[rows] = quantize_nparray(_onnx_type(quantized.dtype), values[rows], scale, zero_point)
        _set(known[f"{name}{TENSOR_NAME_QUANT_SUFFIX}"], quantized)


def _scales_by_column(values: Weights, dtype: np.dtype[Any], *, reduce_range: bool) -> tuple[Weights, Weights]:
    """Compute a scale and a zero point for each column, as the quantizer does in a loop over the columns.

    Args:
        values: The weights of a product, [inputs, outputs].
        dtype: int8 or uint8. A range of int8 lies around 0.
        reduce_range: Whether only seven bits are used.
    """
    symmetric = dtype == np.int8
    least, most = get_qmin_qmax_for_qType(_onnx_type(dtype), reduce_range=reduce_range, symmetric=symmetric)
    low, high = np.minimum(values.min(0), 0), np.maximum(values.max(0), 0)
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
    scale = (high.astype(np.float64) - low) / (np.float64(most) - least)
    empty = scale < np.finfo(values.dtype).tiny
    scale[empty] = 1
    zero_point = np.zeros(scale.shape) if symmetric else np.round(least - low / scale)
    zero_point[empty] = 0
    return scale.astype(values.dtype), zero_point.astype(dtype)


def _onnx_type(dtype: np.dtype[Any]) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))


def _set(initializer: onnx_ir.Value, values: Weights) -> None:
    initializer.const_value = onnx_ir.tensor(values, name=initializer.name)
    initializer.shape = initializer.const_value.shape


def _values(initializer: onnx_ir.Value) -> Weights:
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
    """Hand out calibration rows one by one, each with only the inputs that a graph takes."""

    def __init__(self, path: Path, rows: Sequence[Feed]) -> None:
        names = {value.name for value in onnx.load(path, load_external_data=False).graph.input}
        self._rows: Iterator[Feed] = iter(
            {name: values for name, values in row.items() if name in names} for row in rows
        )

    def get_next(self) -> Feed | None:
        return next(self._rows, None)


def _in_blocks(source: Path, destination: Path, products: Sequence[str], *, bits: int) -> None:
    """Quantize the weights of these products in blocks that have a scale each."""
    with logging_kept():  # the module configures the root logger when it is imported
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    model = onnx.load(source)
    quantizer = MatMulNBitsQuantizer(
        model,
        bits=bits,
        block_size=_BLOCKS[bits],
        accuracy_level=_INT8_ACTIVATIONS,
        nodes_to_exclude=[node.name for node in model.graph.node if node.name not in products],
        op_types_to_quantize=("MatMul",),
        quant_axes=(("MatMul", 0),),
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # blocks of zeros warn; the quantizer handles them
        quantizer.process()
    _write(quantizer.model.model, destination)


def _write(model: onnx.ModelProto, path: Path) -> None:
    write_onnx(onnx_ir.from_proto(model), path)

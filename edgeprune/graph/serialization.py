"""Write an ONNX file one tensor at a time.

`SerializeToString` holds the whole model in memory three times (the message, the C++ string, the Python bytes).
Protobuf's wire format is a sequence of length-prefixed fields, so the weights can follow the graph one by one instead:

    ModelProto  = [other fields] 0x3A <length of graph> GraphProto
    GraphProto  = [other fields] (0x2A <length> TensorProto)*
    TensorProto = [shape, type, name] 0x4A <length> values

(https://protobuf.dev/programming-guides/encoding; field numbers from onnx.proto). A protobuf message ends at 2 GB, so
larger models keep their weights beside the file.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir

from edgeprune.store.files import graph_files

__all__ = ["copy_graph", "remove_graph", "write_onnx"]

_LIMIT_BYTES = 2**31 - 2**20
_WEIGHTS_SUFFIX = ".data"
"""What ONNX Runtime's quantization appends to the graph's name."""
_GRAPH_FIELD = b"\x3a"
_INITIALIZER_FIELD = b"\x2a"
_RAW_DATA_FIELD = b"\x4a"


def write_onnx(model: onnx_ir.Model, path: Path) -> None:
    """Write `model` to `path`; the model has no weights afterwards."""
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    if sum(tensor.nbytes for tensor in tensors.values()) > _LIMIT_BYTES:
        for value in model.graph.initializers.values():
            value.shape = value.type = None
        onnx_ir.save(model, path, external_data=f"{path.name}{_WEIGHTS_SUFFIX}")
        return
    # Nodes and values refer to each other: the weights would stay in memory until Python's garbage collector runs.
    for value in model.graph.initializers.values():
        value.const_value = None
    model.graph.initializers.clear()
    proto = onnx_ir.to_proto(model)
    # The exporter also lists weights as intermediate values, and quantize_dynamic's shape inference fails on these.
    shapes = [info for info in proto.graph.value_info if info.name not in tensors]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(shapes)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    heads = [_head(name, tensor) for name, tensor in tensors.items()]
    length = len(graph) + sum(len(head) + tensor.nbytes for head, tensor in zip(heads, tensors.values(), strict=True))
    with path.open("wb") as file:
        file.write(proto.SerializeToString(deterministic=True))
        file.write(_GRAPH_FIELD + _varint(length) + graph)
        for head, tensor in zip(heads, tensors.values(), strict=True):
            file.write(head)
            file.write(tensor.tobytes())


def copy_graph(source: Path, destination: Path) -> bool:
    """Copy an ONNX file, and its weights if they are beside it. Return whether they are.

    The weights are called as other programs look for them: `model.onnx_data` beside `model.onnx`.
    """
    weights = source.with_name(f"{source.name}{_WEIGHTS_SUFFIX}")
    if not weights.is_file():
        shutil.copyfile(source, destination)
        return False
    beside = destination.with_name(f"{destination.name}_data")
    model = onnx.load(source, load_external_data=False)
    for entry in (entry for tensor in model.graph.initializer for entry in tensor.external_data):
        if entry.key == "location":
            entry.value = beside.name
    destination.write_bytes(model.SerializeToString(deterministic=True))
    shutil.copyfile(weights, beside)
    return True


def remove_graph(path: Path) -> None:
    """Delete an ONNX file, and its weights if they are beside it."""
    for file in graph_files(path):
        file.unlink()


def _head(name: str, tensor: onnx_ir.TensorProtocol) -> bytes:
    """Encode the part of an initializer that comes before its values."""
    described = onnx.TensorProto(dims=tensor.shape.numpy(), data_type=tensor.dtype.value, name=name)
    fields: bytes = described.SerializeToString(deterministic=True) + _RAW_DATA_FIELD + _varint(tensor.nbytes)
    return _INITIALIZER_FIELD + _varint(len(fields) + tensor.nbytes) + fields


def _varint(value: int) -> bytes:
    """Encode a number in base 128, least significant group first, with the high bit set in all bytes but the last."""
    return bytes(_groups(value))


def _groups(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value

"""Find the oldest ONNX Runtime that a graph runs in. `benchmarks/runtimes.py` found these versions by trying."""

from pathlib import Path

import onnx_ir

__all__ = ["oldest_runtime", "opset_of"]

_OLDEST = (1, 18)
"""The first ONNX Runtime that reads IR version 10, in which graphs are exported."""

_IR_VERSIONS = {10: (1, 18), 11: (1, 23)}
_OPSETS = {18: (1, 18), 19: (1, 18), 20: (1, 18), 21: (1, 18), 22: (1, 21), 23: (1, 23)}
"""By version, the first ONNX Runtime from `_OLDEST` on that reads it. A version that isn't listed was not tried."""

_MASKED_ATTENTION = (1, 20)
"""The first ONNX Runtime that computes MultiHeadAttention with a mask: a bias that is the same for all heads."""

_ATTENTION_BIAS = 5
"""The bias's place among the inputs (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md)."""

_OPERATORS = {
    ("MatMulNBits", 8): (1, 22),
    ("GatherBlockQuantized", 4): (1, 23),  # two values a byte
    ("GatherBlockQuantized", 2): (1, 27),
}
"""By an operator of ONNX Runtime's own and its `bits`, the first ONNX Runtime that computes it, if not `_OLDEST`."""


def oldest_runtime(path: Path) -> str:
    """Find the oldest ONNX Runtime that runs the graph of an .onnx file; the version is written as `1.18`."""
    model = onnx_ir.load(path)
    needed: list[tuple[int, int]] = [_OLDEST, _IR_VERSIONS[model.ir_version], _OPSETS[_opset(model)]]
    for node in onnx_ir.traversal.RecursiveGraphIterator(model.graph):  # a cascade's encoder is in a branch
        bits = node.attributes.get_int("bits", 0)
        needed.append(_OPERATORS.get((node.op_type, bits), _OLDEST))
        if node.op_type == "MultiHeadAttention" and any(node.inputs[_ATTENTION_BIAS:]):
            needed.append(_MASKED_ATTENTION)
    return ".".join(map(str, max(needed)))


def opset_of(path: Path) -> int:
    """Read the version of ONNX's own operator set that a graph uses."""
    return _opset(onnx_ir.load(path))


def _opset(model: onnx_ir.Model) -> int:
    return int(model.opset_imports[""])

"""Find the oldest ONNX Runtime that a graph runs in. `benchmarks/runtimes.py` found these versions by trying."""

from collections.abc import Iterator
from pathlib import Path

import onnx

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
    model = onnx.load(path, load_external_data=False)
    opset = _opset(model)
    needed: list[tuple[int, int]] = [_OLDEST, _IR_VERSIONS[model.ir_version], _OPSETS[opset]]
    for node in _nodes(model.graph):
        bits = next((attribute.i for attribute in node.attribute if attribute.name == "bits"), 0)
        needed.append(_OPERATORS.get((node.op_type, bits), _OLDEST))
        if node.op_type == "MultiHeadAttention" and any(node.input[_ATTENTION_BIAS:]):
            needed.append(_MASKED_ATTENTION)
    return ".".join(map(str, max(needed)))


def opset_of(path: Path) -> int:
    """Read the version of ONNX's own operator set that a graph uses."""
    return _opset(onnx.load(path, load_external_data=False))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _opset(model: onnx.ModelProto) -> int:
    return int(next(one.version for one in model.opset_import if not one.domain))

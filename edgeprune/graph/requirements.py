"""The oldest ONNX Runtime that a graph of ours runs in, as `benchmarks/runtimes.py` found by trying."""

from pathlib import Path

import onnx

__all__ = ["oldest_runtime"]

_OLDEST = (1, 18)
"""The first that reads IR version 10, in which graphs are exported."""

_IR_VERSIONS = {11: (1, 23)}
_OPSETS = {22: (1, 21), 23: (1, 23)}
"""Version to the first ONNX Runtime that reads it; earlier ones are read by all that are old enough for the rest."""

_OPERATORS = {
    ("MultiHeadAttention", None): (1, 20),  # without a mask and biases, as the rewrites write it
    ("MatMulNBits", 8): (1, 22),
    ("GatherBlockQuantized", 4): (1, 23),  # two values a byte
}
"""ONNX Runtime's own operators, and their `bits` where these matter, to the first version that computes them."""


def oldest_runtime(path: Path) -> str:
    """The version, as `1.18`, that the graph of an .onnx file needs at least."""
    model = onnx.load(path, load_external_data=False)
    opset = next(one.version for one in model.opset_import if not one.domain)
    needed = [_OLDEST, _IR_VERSIONS.get(model.ir_version, _OLDEST), _OPSETS.get(opset, _OLDEST)]
    for node in model.graph.node:
        bits = next((attribute.i for attribute in node.attribute if attribute.name == "bits"), None)
        needed.append(_OPERATORS.get((node.op_type, bits), _OLDEST))
    return ".".join(map(str, max(needed)))

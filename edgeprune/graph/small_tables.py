"""Quantize tables to 4 or 2 bits: `GatherBlockQuantized` takes rows of them, and dequantizes those rows alone.

A block of a row's values shares a scale, and a value is a whole number of scales. Bytes hold two or four values, because
ORT format has no smaller type. There are no zero points: before ONNX Runtime 1.27, the operator read those of a row with an
odd number of blocks wrong. The range then lies from -2^(bits - 1) to 2^(bits - 1) - 1, so a scale may be negative: the side
of the largest value gets the level more. Of a few scales for each block, the one with the least squared error is taken.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir

from edgeprune.graph.serialization import write_onnx
from edgeprune.graph.values import constant, constant_of

__all__ = ["quantize_tables"]

_BLOCKS = {4: 128, 2: 32}
"""By bits, how many values share a scale. With 4 bits, 32 are hardly nearer to fp32 than 128; with 2 bits they are much
nearer, and 16 hardly more."""
_RANGES = np.linspace(0.5, 1.0, 11)
"""Which parts of the way to the largest value a range may reach. With few levels, it pays to cut off the largest."""
_ROWS_AT_ONCE = 4096
_DOMAIN = "com.microsoft"

_Values = npt.NDArray[Any]


def quantize_tables(source: Path, destination: Path, nodes: Collection[str], *, bits: Literal[2, 4]) -> None:
    """Quantize the tables of these Gather nodes, and write the graph.

    Args:
        source: The .onnx file. Nothing else reads the tables.
        destination: The .onnx file to write; it may be `source`.
        nodes: The nodes' names.
        bits: Bits of a value.
    """
    model = onnx_ir.load(source)
    graph = model.graph
    for node in [node for node in graph if node.name in nodes]:
        table, ids = node.inputs[0], node.inputs[1]
        values = constant_of(table)
        assert values is not None  # noqa: S101 (it is an initializer)
        packed, scales = _quantized(np.asarray(values), bits)
        small = onnx_ir.node(
            "GatherBlockQuantized",
            [constant(graph, f"{table.name}_Q{bits}", packed), ids, constant(graph, f"{table.name}_scales", scales)],
            {"bits": bits, "block_size": _BLOCKS[bits], "gather_axis": 0, "quantize_axis": 1},
            domain=_DOMAIN,
            name=f"{node.name}_Q{bits}",
        )
        small.outputs[0].type, small.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        graph.insert_before(node, small)
        node.outputs[0].replace_all_uses_with(small.outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        del graph.initializers[table.name]
    graph.opset_imports.setdefault(_DOMAIN, 1)
    write_onnx(model, destination)


def _quantized(values: _Values, bits: int) -> tuple[_Values, _Values]:
    """Return a table [rows, columns] as bytes [rows, bytes], the lowest bits first, and its scales [rows, blocks]."""
    (rows, columns), block, each = values.shape, _BLOCKS[bits], 8 // bits
    blocks = -(-columns // block)
    packed = np.empty((rows, -(-columns // each)), np.uint8)
    scales = np.empty((rows, blocks), np.float32)
    for first in range(0, rows, _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        padded = np.pad(values[part].astype(np.float32), ((0, 0), (0, blocks * block - columns)))
        levels, found = _in_blocks(padded.reshape(-1, block), bits)
        scales[part] = found.reshape(-1, blocks)
        shifted = (levels.reshape(-1, blocks * block)[:, : packed.shape[1] * each] + 2 ** (bits - 1)).astype(np.uint8)
        packed[part] = sum(shifted[:, place::each] << (bits * place) for place in range(each))
    return packed, scales


def _in_blocks(values: _Values, bits: int) -> tuple[_Values, _Values]:
    """Find the levels of values [blocks, block] and the scale of each block."""
    half = 2 ** (bits - 1)
    largest = np.take_along_axis(values, np.abs(values).argmax(1)[:, None], 1)
    best = np.full((len(values), 1), np.inf, np.float32)
    levels, scales = np.zeros_like(values), np.ones((len(values), 1), np.float32)
    for part in _RANGES:
        scale = np.where(largest == 0, 1, -largest * np.float32(part) / half)
        tried = np.clip(np.round(values / scale), -half, half - 1)
        error = np.square(tried * scale - values).sum(1, keepdims=True)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        levels = np.where(better, tried, levels)
    return levels, scales[:, 0]

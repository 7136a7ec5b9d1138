"""edgeprune/graph/small_tables.py"""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.graph.requirements import oldest_runtime
from edgeprune.graph.session import onnx_session
from edgeprune.graph.small_tables import quantize_tables

ROWS = 12


def gathered(folder: Path, table: np.ndarray, bits: Literal[2, 4]) -> np.ndarray:
    """All rows of the table, as the quantized graph gives them."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["rows"], name="lookup")],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "sequence", table.shape[1]])],
        [numpy_helper.from_array(table, "table")],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), path)
    quantize_tables(path, path, ["lookup"], bits=bits)
    (rows,) = onnx_session(path).run(None, {"ids": np.arange(len(table))[None]})
    return np.asarray(rows)[0]


@pytest.mark.parametrize(("bits", "oldest"), [(4, "1.23"), (2, "1.27")])
@pytest.mark.parametrize("columns", [40, 128, 384])
def test_whole_numbers_of_a_scale_are_exact(tmp_path: Path, columns: int, bits: Literal[2, 4], oldest: str) -> None:
    """Whatever the number of columns and of blocks, and whichever side has the level more."""
    generator, half = np.random.default_rng(0), 2 ** (bits - 1)
    table = generator.integers(-half, half, (ROWS, columns)).astype(np.float32)
    table[:, ::16] = -half  # each block has its largest level
    table[1] *= -0.25
    table[2] = 0
    np.testing.assert_allclose(gathered(tmp_path, table, bits), table, atol=1e-6)
    made = onnx.load(tmp_path / "model.onnx")
    assert [node.op_type for node in made.graph.node] == ["GatherBlockQuantized"]
    assert len(made.graph.node[0].input) == 3, "zero points are read wrong by older runtimes"
    assert oldest_runtime(tmp_path / "model.onnx") == oldest


def test_four_bits_are_nearer_than_two(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((ROWS, 128)).astype(np.float32)
    four, two = (float(np.square(gathered(tmp_path, table, bits) - table).mean()) for bits in (4, 2))
    assert four < 0.015
    assert 4 * four < two < 0.2


def test_a_range_may_cut_off_the_largest_value(tmp_path: Path) -> None:
    """One value that is far from the others doesn't take all levels from them."""
    table = np.random.default_rng(0).standard_normal((ROWS, 32)).astype(np.float32)
    table[:, 0] = 6
    error = np.square(gathered(tmp_path, table, 2) - table).mean()
    reaching = np.square(np.clip(np.round(table / -3), -2, 1) * -3 - table).mean()
    assert error < 0.9 * reaching

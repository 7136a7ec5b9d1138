"""Measure how far `edgeprune benchmark` can be believed: on a package alone, against itself, and against a slower copy.

    python benchmarks/repeatability.py PACKAGE --alone 10 --same 200 --slower 50
    python benchmarks/repeatability.py PACKAGE --alone 10 --same 20 --slower 20 --busy 1      # one core is kept busy

Prints a Markdown table. For the package alone: the spread of p50 and p90 between runs (largest divided by smallest),
and how many intervals hold the median of all runs. Against a copy of itself: how often the package is called faster or
slower, which is wrong. Against a copy with 5% of added work: how often the package is called faster, which is right,
and the seconds that this takes. Last, the agent's loop beside a bare loop over the same model and inputs, by turns. The
added work is a chain of nodes whose result is multiplied by zero. A first measurement says how large the chain must be.
"""

import argparse
import contextlib
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from edgeprune.benchmark.compare import BenchmarkReport, benchmark
from edgeprune.devices.match import host_target, this_machine
from edgeprune.devices.runner import runner_of
from edgeprune.profiles.pipeline import BenchmarkConfig
from edgeprune.profiles.target import Target

ADDED = 0.05


def copied(package: Path, folder: Path, elements: int = 0) -> Path:
    """Copy a package. Its graph may do work that changes nothing: `elements` error functions."""
    made = Path(shutil.copytree(package, folder))
    if elements:
        path = made / "model.onnx"
        model = onnx.load(path)
        graph, output = model.graph, model.graph.output[0].name
        producer = next(node for node in graph.node if output in node.output)
        producer.output[list(producer.output).index(output)] = "before_work"
        graph.initializer.extend(
            [
                onnx.numpy_helper.from_array(np.array([elements], np.int64), "work_size"),
                onnx.numpy_helper.from_array(np.array(0, np.float32), "work_nothing"),
            ]
        )
        graph.node.extend(
            [
                helper.make_node("Cast", [graph.input[0].name], ["work_ids"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMax", ["work_ids"], ["work_one"], keepdims=0),
                helper.make_node("Expand", ["work_one", "work_size"], ["work_many"]),
                helper.make_node("Erf", ["work_many"], ["work_done"]),
                helper.make_node("ReduceSum", ["work_done"], ["work_sum"], keepdims=0),
                helper.make_node("Mul", ["work_sum", "work_nothing"], ["work_zero"]),
                helper.make_node("Add", ["before_work", "work_zero"], [output]),
            ]
        )
        onnx.save(model, path)
    # The copy is another package: its digests are those of what it holds now.
    import hashlib

    sums = made / "SHA256SUMS"
    names = [line.split("  ", 1)[1] for line in sums.read_text(encoding="utf-8").splitlines()]
    sums.write_text(
        "".join(f"{hashlib.sha256((made / n).read_bytes()).hexdigest()}  {n}\n" for n in names), encoding="utf-8"
    )
    return made


def measured(packages: list[Path], target: Target, config: BenchmarkConfig) -> BenchmarkReport:
    """Run the command once."""
    with contextlib.closing(runner_of(target)) as runner:
        return benchmark(packages, target, runner, config=config)


def slowed(package: Path, folder: Path, target: Target, config: BenchmarkConfig) -> tuple[Path, float]:
    """Make a copy that takes about 5% longer, and measure its ratio to the package."""
    elements = 200_000
    for number in range(4):
        made = copied(package, folder / f"slowed-{number}", elements)
        ratio = measured([made, package], target, config).ratio or 1.0
        if abs(ratio - 1 - ADDED) < 0.005:
            break
        elements = max(1000, round(elements * ADDED / max(ratio - 1, 0.005)))
    return made, ratio


def alone(package: Path, target: Target, config: BenchmarkConfig, repeats: int) -> list[list[str]]:
    """Write the rows about one package that is measured again and again."""
    found = [measured([package], target, config).latency[0] for _ in range(repeats)]
    rows = []
    for q in (50, 90):
        values = [getattr(one, f"p{q}_ms") for one in found]
        intervals = [getattr(one, f"p{q}_interval_ms") for one in found]
        middle = statistics.median(values)
        inside = sum(low <= middle <= high for low, high in intervals)
        spread = 100 * (max(values) / min(values) - 1)
        width = statistics.median(100 * (high - low) / middle for low, high in intervals)
        rows.append([f"alone, p{q}: spread of {repeats} runs", f"{spread:.1f}%"])
        rows.append(
            [f"alone, p{q}: intervals that hold the median of all", f"{inside} of {repeats}, {width:.1f}% wide"]
        )
    return rows


def told(
    packages: list[Path], target: Target, config: BenchmarkConfig, repeats: int
) -> tuple[dict[str, int], float, float]:
    """Count how often each word was said, and give a run's median seconds and an interval's median width in %."""
    words, seconds, widths = {"faster": 0, "slower": 0, "can't tell": 0}, [], []
    for _ in range(repeats):
        began = time.perf_counter()
        report = measured(packages, target, config)
        seconds.append(time.perf_counter() - began)
        words[report.comparison or "can't tell"] += 1
        low, high = report.ratio_interval or (0.0, 0.0)
        widths.append(100 * (high - low))
    return words, statistics.median(seconds), statistics.median(widths)


def overhead(package: Path) -> list[list[str]]:
    """Time the agent's timed call beside a bare loop over the same session and input."""
    described = json.loads((package / "edgeprune.json").read_text(encoding="utf-8"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = described["session"]["threads"]
    session = onnxruntime.InferenceSession(package / "model.onnx", options, providers=["CPUExecutionProvider"])
    feed = {value.name: np.ones((1, 24), np.int64) for value in session.get_inputs()}
    clock, runs = time.perf_counter_ns, 100
    bare, timed = [], []
    for _ in range(20):
        began = clock()
        for _ in range(runs):
            session.run(None, feed)
        bare.append((clock() - began) / runs)
        taken = []
        began = clock()
        for _ in range(runs):
            begin = clock()
            session.run(None, feed)
            taken.append(clock() - begin)
        timed.append((clock() - began) / runs)
    added = 100 * (statistics.median(timed) / statistics.median(bare) - 1)
    return [["a run in the agent's loop through one in a bare loop", f"{added:+.2f}%"]]


def busy() -> None:
    """Keep a core busy."""
    while True:
        sum(range(10_000))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--alone", type=int, default=10)
    parser.add_argument("--same", type=int, default=20)
    parser.add_argument("--slower", type=int, default=20)
    parser.add_argument("--busy", type=int, default=0, help="cores that are kept busy meanwhile")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--samples", type=int, default=40)
    arguments = parser.parse_args()
    target, config = (
        host_target(this_machine()),
        BenchmarkConfig(processes=arguments.processes, samples=arguments.samples),
    )
    target = target.model_copy(update={"budget": type(target.budget)()})
    with tempfile.TemporaryDirectory() as scratch:
        slow, ratio = slowed(arguments.package, Path(scratch), target, config)
        twin = copied(arguments.package, Path(scratch) / "twin")
        others = [multiprocessing.Process(target=busy, daemon=True) for _ in range(arguments.busy)]
        for other in others:
            other.start()
        rows = alone(arguments.package, target, config, arguments.alone) if arguments.alone else []
        for name, other, repeats in (
            ("itself", twin, arguments.same),
            (f"itself {100 * (ratio - 1):.1f}% slower", slow, arguments.slower),
        ):
            if repeats:
                words, seconds, width = told([arguments.package, other], target, config, repeats)
                said = ", ".join(f"{word}: {count}" for word, count in words.items())
                rows.append(
                    [f"against {name}, {repeats} times", f"{said}; {seconds:.1f} s, intervals {width:.1f}% wide"]
                )
        for other in others:
            other.terminate()
        rows += overhead(arguments.package)
    print("| what | found |\n|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()

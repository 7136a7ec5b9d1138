"""Pool runs of `peers/run.py` over seeds and data sets: accuracy beside the dense model, and how much faster.

    python benchmarks/peers/pooled.py movies-0.json movies-1.json r8-0.json --than plain-fp32

Prints a Markdown table with a row for each artifact that all runs have. Points are those lost to PyTorch's dense model on
the test texts of all runs together; the 95% interval resamples texts within each run, both models' answers together.
How many times as fast is the geometric mean over runs, and its interval resamples each run's rounds.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from inputs import SEED
from report import RESAMPLES, STATISTICS, Rounds

DENSE = "torch"


def lost(runs: list[dict], name: str) -> tuple[float, float, float]:
    """The points that an artifact loses to the dense model, and the interval's ends."""
    generator = np.random.default_rng(SEED)
    differences = []
    for run in runs:
        labels = np.array(run["labels"])
        right = {one: np.array(run["artifacts"][one]["answers"]) == labels for one in (name, DENSE)}
        differences.append(right[DENSE].astype(float) - right[name])
    drawn = [
        np.concatenate([one[generator.integers(len(one), size=len(one))] for one in differences]).mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return 100 * float(np.concatenate(differences).mean()), 100 * float(low), 100 * float(high)


def times(
    runs: list[dict], name: str, than: str, workload: str, statistic: Callable[[Rounds], float]
) -> tuple[float, float, float]:
    """How many times as fast an artifact is as another one, and the interval's ends."""
    samples = [[run["artifacts"][one]["latency"][workload]["samples_ns"] for one in (than, name)] for run in runs]
    generator = np.random.default_rng(SEED)

    def mean(pairs: list[list[Rounds]]) -> float:
        return float(np.exp(np.mean([np.log(statistic(slow) / statistic(fast)) for slow, fast in pairs])))

    drawn = []
    for _ in range(RESAMPLES):
        places = [generator.integers(len(slow), size=len(slow)) for slow, _ in samples]
        drawn.append(
            mean(
                [[[one[place] for place in order] for one in pair] for pair, order in zip(samples, places, strict=True)]
            )
        )
    low, high = np.percentile(drawn, [2.5, 97.5])
    return mean(samples), float(low), float(high)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="PEERS.json")
    parser.add_argument("--than", default="plain-fp32", help="whom times as fast are to")
    parser.add_argument("--workload", default="data")
    arguments = parser.parse_args()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.runs]
    names = [name for name in runs[0]["artifacts"] if all(name in run["artifacts"] for run in runs)]
    if not {DENSE, arguments.than} <= set(names):
        parser.error(f"every run should have {DENSE} and {arguments.than}; all of them have {', '.join(names)}")
    columns = ["artifact", "MB", "points lost [95%]", *(f"times, {name} [95%]" for name in STATISTICS)]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for name in names:
        sizes = [run["artifacts"][name]["size_bytes"] / 1e6 for run in runs]
        cells = [runs[0]["artifacts"][name]["title"], f"{np.mean(sizes):.1f}"]
        cells.append("{:+.2f} [{:+.2f}, {:+.2f}]".format(*lost(runs, name)))
        faster = [times(runs, name, arguments.than, arguments.workload, one) for one in STATISTICS.values()]
        cells += ["{:.2f} [{:.2f}, {:.2f}]".format(*one) for one in faster]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

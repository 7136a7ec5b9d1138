r"""Time a package with a first stage, its encoder alone and a dense graph by turns, on all rows of a file.

    python benchmarks/cascade.py dist/PACKAGE --data rows.jsonl --encoder .edgeprune/quantize/KEY/model.onnx \
        --dense .edgeprune/export/KEY/model.onnx

The keys are in `build.json`, under `stages`. Each row is run by each graph, one after the other; every round turns the order.
A row's time is the least over the rounds, so that a disturbance counts in no graph's favour. Answered early is the share of
rows for which the package's logits are not the encoder's. Rows are JSON Lines with `text` and `label`. No vocabulary may have
been pruned: every graph is given the package's tokens.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime import InferenceSession

from edgeprune.graph.session import onnx_session
from edgeprune.ondevice.preprocess_text import Inputs
from edgeprune.profiles.session_options import SessionOptions

Times = npt.NDArray[np.float64]


def main() -> None:
    """Read the arguments, time, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="the package's graph without its first stage")
    parser.add_argument("--dense", type=Path, required=True, help="the dense model's graph in fp32")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    config = json.loads((given.package / "edgeprune.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in given.data.read_text(encoding="utf-8").splitlines()]
    read = Inputs(given.package, config)
    feeds = [read.feed(read.encode(row["text"])) for row in rows]
    right = np.array([config["labels"].index(row["label"]) for row in rows])
    options = SessionOptions.model_validate(config["session"])
    sessions = {
        "dense fp32": onnx_session(given.dense),
        "encoder alone": onnx_session(given.encoder, options),
        "package": onnx_session(given.package / config["graph"], options),
    }
    logits, times = timed(sessions, feeds, given.rounds)
    early = np.any(logits["package"] != logits["encoder alone"], axis=-1)
    print(f"{len(rows):,} rows, {100 * early.mean():.1f}% answered early\n")
    print("| graph | accuracy | mean ms | p50 | p90 | p99 | mean, times the package's |")
    print("|---|---|---|---|---|---|---|")
    for name, values in times.items():
        figures = [values.mean(), *np.percentile(values, [50, 90, 99])]
        accuracy = float((logits[name].argmax(-1) == right).mean())
        shown = " | ".join(f"{one:.3f}" for one in figures)
        print(f"| {name} | {accuracy:.4f} | {shown} | {values.mean() / times['package'].mean():.2f} |")


def timed(
    sessions: dict[str, InferenceSession], feeds: list[dict[str, Any]], rounds: int
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, Times]]:
    """Run every graph on every row. Return logits, [rows, labels], and the least time of each row in ms, [rows]."""
    taken = {
        name: [{one.name: feed[one.name] for one in session.get_inputs()} for feed in feeds]
        for name, session in sessions.items()
    }
    logits = {
        name: np.stack([session.run(None, feed)[0][0] for feed in taken[name]]) for name, session in sessions.items()
    }
    times = {name: np.full(len(feeds), np.inf) for name in sessions}
    for turn in range(rounds):
        names = list(sessions)[:: 1 if turn % 2 else -1]
        for row in range(len(feeds)):
            for name in names:
                began = time.perf_counter_ns()
                sessions[name].run(None, taken[name][row])
                times[name][row] = min(times[name][row], (time.perf_counter_ns() - began) / 1e6)
    return logits, times


if __name__ == "__main__":
    main()

"""edgeprune beside its peers: int8 artifacts of one fine-tuned checkpoint, each made and run in its own environment.

    python benchmarks/peers/run.py --checkpoint FOLDER --train TRAIN.jsonl --test TEST.jsonl --output peers.json
    python benchmarks/peers/run.py --bert-base --max-rows 300 --train TRAIN.jsonl --test TEST.jsonl --output base.json

The checkpoint is a text classifier: `.edgeprune/prepare/KEY/checkpoint` of a build, or any other folder that transformers
loads; `--bert-base` takes one of BERT-base's size with random weights (its accuracy means nothing; the labels must be
`neg` and `pos`). Rows have `text` and `label`.

optimum-onnx, Olive, OpenVINO with NNCF, and onnxsim are installed into environments of their own below --environments,
which stay there (`requirements/` pins them). A package that was built before takes part with --package. Every artifact is
made in a fresh process, its seconds, CPU seconds and peak memory measured. Then all of them are timed in one run: batch 1,
one thread on one core, a process each, by turns of ten texts, at 128 tokens and at the test texts' own lengths. The ratios
have 95% intervals over rounds of fresh processes. Accuracy and agreement with the dense fp32 model (PyTorch) are over test
texts, one at a time without padding.

Prints a Markdown table; --output gets every sample. Exits with 1 if a peer failed; the table says which.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
from artifacts import RECIPES, Maker, packaged
from environments import Environment, open_environment
from inputs import MAX_LENGTH, Encoder, read_texts
from report import agreement, entry, table
from turns import judge, time_by_turns

from edgeprune.ondevice.agent import device_info
from edgeprune.profiles.precision import saturates

DENSE = "torch"
"""The recipe whose answers are the dense model's."""


def arguments_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path)
    model.add_argument("--bert-base", action="store_true")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    parser.add_argument("--only", default=",".join(RECIPES), help=f"of {','.join(RECIPES)}; {DENSE} always runs")
    parser.add_argument(
        "--package",
        action="append",
        default=[],
        dest="packages",
        metavar="NAME=FOLDER",
        help="a package that was built before and takes its turns too",
    )
    parser.add_argument("--reference", default="ours", help="whom ratios are to")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=80, help="texts a workload, in every round")
    parser.add_argument("--max-rows", type=int, help="test texts that are judged, and rows that our build reads")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core that runs are timed on")
    parser.add_argument("--set", action="append", default=[], help="for our builds, as of `edgeprune build`")
    arguments = parser.parse_args()
    arguments.packages = dict(one.split("=", 1) for one in arguments.packages)
    asked = [name for name in arguments.only.split(",") if name]
    arguments.only = [
        name for name in dict.fromkeys([*asked, arguments.reference, DENSE]) if name not in arguments.packages
    ]
    unknown = [name for name in arguments.only if name not in RECIPES]
    if unknown:
        parser.error(f"{', '.join(unknown)}: no such competitor, there are {', '.join(RECIPES)}")
    return arguments


def bert_base(folder: Path) -> Path:
    """`memory.bert_base` in a process of its own: torch's size would count for every build after it."""
    code = "import sys, pathlib, memory; memory.bert_base(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, folder], cwd=Path(__file__).parent.parent, check=True)
    return folder


def main() -> int:
    """Make, time and judge what was asked for."""
    arguments = arguments_of()
    work = arguments.environments.absolute() / "work"
    shutil.rmtree(work, ignore_errors=True)
    checkpoint = bert_base(work / "checkpoint") if arguments.bert_base else arguments.checkpoint.absolute()
    texts = read_texts(
        checkpoint, arguments.train, arguments.test, samples=arguments.samples, max_rows=arguments.max_rows
    )
    device = device_info()
    request = {
        "checkpoint": str(checkpoint),
        "train": str(arguments.train.absolute()),
        "test": str(arguments.test.absolute()),
        "calibration": Encoder(checkpoint / "tokenizer.json", MAX_LENGTH).ids(texts.calibration),
        "exact_int8": not saturates(device["arch"], device["isa"]),
        "max_rows": arguments.max_rows,
        "set": arguments.set,
    }

    @cache
    def environment(name: str) -> Environment:
        return open_environment(name, arguments.environments)

    maker, artifacts, logits, said, failures = Maker(work, request, environment), [], {}, {}, {}
    for name in (*arguments.packages, *arguments.only):
        try:
            folder = arguments.packages.get(name)
            artifact = maker.make(name) if folder is None else packaged(name, Path(folder).absolute())
            print(f"{name}: {len(texts.test)} test texts", file=sys.stderr, flush=True)
            rows, said[name] = judge(artifact, artifact.encoder(checkpoint).ids(texts.test), cpu=arguments.cpu)
            logits[name] = np.array(rows)
            artifacts.append(artifact)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            failures[name] = str(error)
            print(error, file=sys.stderr, flush=True)
    if {arguments.reference, DENSE} & failures.keys():
        return 1
    print(f"{arguments.rounds} rounds by turns on core {arguments.cpu}", file=sys.stderr, flush=True)
    workloads = {one: one.encoder(checkpoint).workloads(texts.timed) for one in artifacts}
    samples = time_by_turns(workloads, cpu=arguments.cpu, rounds=arguments.rounds)
    labels = np.array(texts.labels)
    found = {
        artifact.name: entry(
            artifact,
            agreement(logits[artifact.name], logits[DENSE], labels),
            said[artifact.name],
            samples,
            arguments.reference,
        )
        for artifact in artifacts
    }
    result = {
        "schema_version": 2,
        "device": device,
        "reference": arguments.reference,
        "test_texts": len(labels),
        "tokens": {name: [len(ids) for ids in rows] for name, rows in workloads[artifacts[-1]].items()},
        "labels": texts.labels,
        "artifacts": found,
        "failures": failures,
    }
    partial = arguments.output.with_name(f"{arguments.output.name}.partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(arguments.output)
    print(table(found, failures, list(result["tokens"]), arguments.reference))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

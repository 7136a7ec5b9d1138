r"""Compare first stages of a cascade: the bag that a build ships, and a smaller pruned encoder.

    D="--data TRAIN.jsonl --test-data TEST.jsonl"
    edgeprune build MODEL $D --pipeline fastest --name bag
    edgeprune build MODEL $D --pipeline fastest --name small --set rounds=1 --set stages.cascade=null --set \
        "stages.prune.steps=[{method: layers, remove: 5}, {method: structured, keep_heads: 0.25, keep_ffn: 0.25}, {method: reconstruct}]"
    python benchmarks/first_stages.py dist/bag-0-TARGET.build.json dist/small-0-TARGET.build.json $D

Both builds are on one dense model and one division of the rows. The smaller encoder's threshold is chosen as the bag's was: by
the same rows, the same test and the same promise, but without rows that have no labels. All graphs run on each test text by turns; a text's time is the least
over the rounds. A text that the smaller encoder is sure of takes its time, and any other text the sum of both encoders: what
an `If` costs comes on top. "bag, then small" asks the bag first and the smaller encoder second, each with its own threshold.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cascade import timed

from edgeprune.cascade.bag import margins
from edgeprune.cascade.risk_control import Promise, candidates, choose_threshold
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.graph.session import onnx_session, predict_onnx
from edgeprune.models.reader import Array
from edgeprune.pipeline.stages.cascade import answered_early, read_cascade
from edgeprune.profiles.variant import read_variant
from edgeprune.report.records import BuildReport
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store
from edgeprune.tasks.prepared import open_prepared
from edgeprune.tasks.registry import COLUMNS


def main() -> None:
    """Read the arguments, choose the threshold, time, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, help="build.json of the build with a bag as first stage")
    parser.add_argument("small", type=Path, help="build.json of the smaller encoder's build")
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--store", type=Path, default=Path(".edgeprune"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    store = Store(given.store)
    builds = [BuildReport.model_validate_json(path.read_bytes()) for path in (given.bag, given.small)]
    dense, other = (artifact(store, build, "prepare") for build in builds)
    if dense.manifest.key != other.manifest.key:
        parser.error(f"the builds have different dense models: {dense.manifest.key[:12]} and {other.manifest.key[:12]}")
    encoder, small, cascade = (
        artifact(store, builds[0], "quantize"),
        artifact(store, builds[1], "quantize"),
        artifact(store, builds[0], "cascade"),
    )
    row = read_cascade(cascade)
    if row is None or row.threshold is None:
        parser.error(f"{given.bag} has no first stage; give a build in which one answers")
    if row.than_dense is not None:
        parser.error(f"{given.bag} is a search, whose first stage promises more; give a build of one model")
    data = DataSource(
        DataSpec(train=given.data, test=given.test_data), columns=COLUMNS["text-classification"], offline=True
    )
    prepared = open_prepared(dense, data, reader=encoder.file("reader"))
    labels = {split: np.array(prepared.splits[split].references) for split in ("selection", "test")}
    sessions = {"dense": onnx_session(artifact(store, builds[0], "export", 0).file("model.onnx"))}
    for name, one in (("encoder", encoder), ("small", small), ("bag, then encoder", cascade)):
        variant = read_variant(one)
        assert variant is not None
        sessions[name] = onnx_session(one.file("model.onnx"), variant.session_on(1))

    def answers(name: str, split: str) -> Array:
        return np.stack(predict_onnx(sessions[name], prepared.task, prepared.splits[split].examples, prepared.reader))

    learned = margins(answers("small", "train"))
    selection = {name: answers(name, "selection") for name in ("encoder", "small")}
    right = [selection[name].argmax(-1) == labels["selection"] for name in ("small", "encoder")]
    threshold = choose_threshold(
        margins(selection["small"]),
        (right[0], right[1]),
        candidates(learned),
        [Promise(right[1], **row.than_encoder.model_dump())],
    )
    feeds = [prepared.reader.collate([one]) for one in prepared.test.inputs]
    logits, times = timed(sessions, feeds, given.rounds)
    by_small = margins(logits["small"]) >= (np.inf if threshold is None else threshold)
    by_bag = np.isin(np.arange(len(feeds)), answered_early(cascade))
    small_first = times["small"] + np.where(by_small, 0, times["encoder"])
    print(
        f"{len(feeds):,} test texts; on {len(labels['selection']):,} selection rows at most {row.than_encoder.limit} is lost\n"
    )
    print("| graph | answered early | accuracy | mean ms | p50 | p90 | mean, times the dense one's |")
    print("|---|---|---|---|---|---|---|")
    figures = {
        "dense fp32": (0.0, logits["dense"], times["dense"]),
        "encoder": (0.0, logits["encoder"], times["encoder"]),
        "small encoder": (0.0, logits["small"], times["small"]),
        "bag, then encoder": (by_bag.mean(), logits["bag, then encoder"], times["bag, then encoder"]),
        "small, then encoder": (
            by_small.mean(),
            np.where(by_small[:, None], logits["small"], logits["encoder"]),
            small_first,
        ),
        "bag, then small, then encoder": (
            (by_bag | by_small).mean(),
            np.where((~by_bag & by_small)[:, None], logits["small"], logits["bag, then encoder"]),
            times["bag, then encoder"] + np.where(by_bag, 0, small_first - times["encoder"]),
        ),
    }
    for name, (early, found, taken) in figures.items():
        print(line(name, float(early), float((found.argmax(-1) == labels["test"]).mean()), taken, times["dense"]))


def artifact(store: Store, build: BuildReport, stage: str, place: int = -1) -> Artifact:
    """Find a build's last artifact of a stage, or another one by its place; the first export is the dense model's."""
    key = [one.key for one in build.stages if one.stage == stage][place]
    found = store.by_key(key)
    assert found is not None
    return found


def line(
    name: str, early: float, accuracy: float, taken: npt.NDArray[np.float64], dense: npt.NDArray[np.float64]
) -> str:
    """Write a row of the table."""
    shown = " | ".join(f"{one:.3f}" for one in (taken.mean(), *np.percentile(taken, [50, 90])))
    return f"| {name} | {100 * early:.1f}% | {accuracy:.4f} | {shown} | {dense.mean() / taken.mean():.1f} |"


if __name__ == "__main__":
    main()

"""edgeprune/pipeline/stages/quantize.py on the pruned graph of the shared build."""

from pathlib import Path

import pytest

from edgeprune.data.table import SplitName
from edgeprune.pipeline.stages.quantize import Quantize
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import Variant
from edgeprune.store.records import StageMetrics
from edgeprune.tasks.prepared import OUTPUTS, load_outputs, open_prepared
from tests.support.e2e import Built, work_of

GRAPH = {"dense": ("prepare", 0), "checkpoint": ("finetune", 1), "onnx": ("export", 1)}
INT8 = PrecisionSettings(
    mode="int8-dynamic", weight_type="int8", reduce_range=False, per_channel=True, embeddings="int8"
)
TO_FP32 = {"same_answers_as_fp32", "max_error_to_fp32", "mean_error_to_fp32"}


def quantize(judged_on: SplitName) -> Quantize:
    variant = Variant(rewrites=(), precision=INT8, session=SessionOptions(threads=1))
    return Quantize(variant, tolerance=1e-4, drop_limit=None, round_number=1, judged_on=judged_on)


def judged(built: Built, folder: Path, judged_on: SplitName) -> StageMetrics:
    folder.mkdir()
    return quantize(judged_on)(work_of(built, folder, **GRAPH))


def test_one_of_several_models_to_choose_from_is_judged_on_selection_alone(built: Built, tmp_path: Path) -> None:
    reported, candidate = (judged(built, tmp_path / split, split) for split in ("test", "selection"))
    outputs = {split: load_outputs(tmp_path / split / OUTPUTS) for split in ("test", "selection")}
    assert {split: list(found) for split, found in outputs.items()} == {split: [split] for split in outputs}

    work = work_of(built, tmp_path, **GRAPH)
    prepared = open_prepared(work.parents["dense"], work.data, splits=("selection",))
    rows = prepared.splits["selection"]
    dense = prepared.task.metric(prepared.dense_outputs["selection"], rows.references)
    assert candidate.metric is not None
    assert candidate.metric.samples == len(rows.examples)
    assert candidate.metric.value == prepared.task.metric(outputs["selection"]["selection"], rows.references)
    assert candidate.metric.drop == pytest.approx(dense - candidate.metric.value)

    assert reported.scores.keys() - candidate.scores.keys() == TO_FP32
    assert candidate.scores["parity_max_error"] == reported.scores["parity_max_error"]


def test_the_split_that_judges_is_in_the_key() -> None:
    parents = {"dense": "d", "checkpoint": "c", "onnx": "o"}
    assert quantize("test").key(parents, 0) != quantize("selection").key(parents, 0)

"""edgeprune/pipeline/checks.py: searches of models that can't be searched, and hidden sizes that can't be pruned."""

import json
import shutil
from pathlib import Path

import pytest

from edgeprune.base.errors import UsageError
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import read_request
from edgeprune.tasks.registry import TaskName
from tests.conftest import DataFactory, ModelFactory

SPARSE = {
    "schema_version": 1, "base_digest": "d", "head_dim": 8, "sparse": True,
    "layers": [{"index": index, "heads": list(range(4)), "neurons": list(range(128))} for index in range(2)],
}  # fmt: skip


def plan(
    folder: Path, data: Path, *overrides: str, task: TaskName = "text-classification", pipeline: str = "fit"
) -> None:
    options = BuildOptions(
        model=str(folder), data=str(data), task=task, pipeline=pipeline,
        set_=["stages.prepare.max_length=16", "target.budget.metric_drop=0.1", *overrides],
    )  # fmt: skip
    make_plan(read_request(options))


def test_layers_that_share_their_weights_can_not_differ(tiny_model_folder: ModelFactory, tiny_data: DataFactory):
    with pytest.raises(
        UsageError, match=r"stages\.search gives every layer its own size, but the layers of this model share"
    ):
        plan(tiny_model_folder("albert"), tiny_data())


def test_zeros_that_must_stay_would_be_filled(tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_model_folder(), tmp_path / "sparse"))
    (folder / "pruning.json").write_text(json.dumps(SPARSE), encoding="utf-8")
    with pytest.raises(UsageError, match="would fill the zeros of this sparse model"):
        plan(folder, tiny_data())


@pytest.mark.parametrize(
    "step", ["{method: magnitude, sparsity: 0.5}", "{method: gradient, sparsity: 0.5}", "{method: n_m}"]
)
def test_a_step_that_sets_weights_to_zero_does_not_go_with_a_search(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, step: str
):
    steps = f"stages.prune.steps=[{{method: vocabulary}}, {step}]"
    with pytest.raises(
        UsageError, match=r"stages\.prune\.steps\.1 sets single weights to zero, which stages\.search would"
    ):
        plan(tiny_model_folder(), tiny_data(), steps)


NARROW = "stages.prune.steps=[{method: structured, keep_hidden: 0.5}]"


def test_a_search_does_not_prune_the_hidden_size(tiny_model_folder: ModelFactory, tiny_data: DataFactory):
    with pytest.raises(
        UsageError, match=r"steps\.0\.keep_hidden is 0\.5, but stages\.search counts and times layers of the"
    ):
        plan(tiny_model_folder(), tiny_data(), NARROW)


def test_answers_that_are_the_hidden_states_keep_their_size(tiny_model_folder: ModelFactory, tiny_data: DataFactory):
    model, data = tiny_model_folder(head="Model"), tiny_data()
    with pytest.raises(
        UsageError, match=r"keep_hidden is 0\.5, but the answers of feature-extraction are the hidden states"
    ):
        plan(model, data, NARROW, task="feature-extraction", pipeline="structured")
    plan(model, data, NARROW, pipeline="structured")

"""Every key of a pipeline and of a target is read by a build, or said to be without effect and left out of the keys.

Reading is seen by watching the attributes of the models that a build is given. Writing a whole model into a key or a file
doesn't count: pydantic does that without asking for attributes.
"""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgeprune.pipeline.build import build
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import BuildRequest, read_request
from edgeprune.profiles.training import TrainingConfig
from tests.conftest import ModelFactory
from tests.support.e2e import target_text, write_data
from tests.support.watching import watched

OF_PEOPLE = {
    "Pipeline.schema_version", "Pipeline.description", "Target.schema_version", "Target.description", "Stages.quantize",
}  # fmt: skip
"""Checked when the file is read, and shown by `list` and `show`; `quantize` has no keys. What tells one model from another
(`method`, `type`) is read by pydantic."""

PIPELINE = """\
schema_version: 1
name: everything
description: A step of every kind
rounds: 2
stages:
  prepare: {epochs: 1, learning_rate: 5.0e-3, batch_size: 8, max_length: 16, evaluations_per_epoch: 3}
  prune:
    schedule: {shape: linear, start: 0.1}
    steps:
      - {method: structured, keep_heads: 0.5, keep_ffn: 0.5, allocation: multiply_adds, align: 8, samples: 16}
      - {method: layers, remove: 1, choose: metric, shortlist: 2, samples: 16}
      - {method: vocabulary}
      - {method: magnitude, sparsity: 0.5}
  finetune: {epochs: 1, batch_size: 8, augment: 0.2, replace: {texts: 0.5, words: 0.5}}
  race: {processes: 1, samples: 60}
  cascade: {share: 0.4, confidence: 0.9, pair_bits: 8}
  benchmark: {processes: 1, samples: 16, warmup: 1}
  package: {goldens: 2}
"""


def fields_of(model: BaseModel) -> set[str]:
    """`Class.field` of a model and all models inside."""
    found = set()
    for name in type(model).model_fields:
        found.add(f"{type(model).__name__}.{name}")
        value = model.__dict__[name]
        for inner in value if isinstance(value, tuple | list) else [value]:
            if isinstance(inner, BaseModel):
                found |= fields_of(inner)
    return found


def unread(request: BuildRequest, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Build, and give the fields of the pipeline and the target that nobody asked for."""
    written = fields_of(request.pipeline) | fields_of(request.target)
    read = watched(monkeypatch)
    build(make_plan(request), request)
    monkeypatch.undo()
    asked = {f"{owner}.{name}" for owner, names in read.items() for name in names}
    return {name for name in written - asked - OF_PEOPLE if not name.endswith((".method", ".type"))}


def requested(folder: Path, model: Path, **changes: Any) -> BuildRequest:
    (folder / "everything.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "here.yaml").write_text(
        target_text("here", workload={"text": True, "sessions": 2}, budget={"metric_drop": 1.0}, ort_format=True),
        encoding="utf-8",
    )
    options = {
        "data": str(write_data(folder / "rows.jsonl")), "pipeline": str(folder / "everything.yaml"),
        "target": str(folder / "here.yaml"), "task": "text-classification", "store": folder / "store",
        "output": folder / "dist", "offline": True,
    }  # fmt: skip
    return read_request(BuildOptions(str(model), **(options | changes)))


def test_every_key_is_read_where_a_head_is_trained(
    tiny_model_folder: ModelFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = requested(tmp_path, tiny_model_folder(head="Model"))
    assert unread(request, monkeypatch) == set()


CHANGED = {
    "epochs": 4, "learning_rate": 0.003, "batch_size": 16, "warmup_ratio": 0.3, "weight_decay": 0.2,
    "evaluations_per_epoch": 4, "freeze_embeddings": "true", "patience": 1,
}  # fmt: skip
"""Another value for each key of a training."""


def test_keys_that_nothing_reads_enter_no_key_and_are_told(
    tiny_model_folder: ModelFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings of a bare encoder: nothing is trained before pruning, nor on labels or softened probabilities."""
    model = tiny_model_folder(head="Model")
    request = requested(tmp_path, model, task="feature-extraction")
    plan = make_plan(request)
    read = watched(monkeypatch)
    build(plan, request)
    monkeypatch.undo()
    training = set(TrainingConfig.model_fields) - {"precision"}
    assert not training & read["PrepareConfig"]
    assert "labels" not in read["DistillConfig"]
    keys = [node.key for node in plan.nodes]
    assert sorted(note.partition(" is not read: ")[0] for note in plan.notes) == [
        "stages.cascade", "stages.prepare.batch_size", "stages.prepare.epochs", "stages.prepare.evaluations_per_epoch",
        "stages.prepare.learning_rate",
    ]  # fmt: skip
    for key, value in [
        *((f"stages.prepare.{name}", CHANGED[name]) for name in training),
        ("stages.finetune.distill.temperature", 5.0), ("stages.finetune.distill.labels", 0.9),
    ]:  # fmt: skip
        other = make_plan(requested(tmp_path, model, task="feature-extraction", set_=[f"{key}={value}"]))
        assert [node.key for node in other.nodes] == keys, key
        assert any(note.startswith(f"{key} is not read: ") for note in other.notes), key


def test_a_share_of_rows_that_a_file_has_is_told(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    given = {"selection_data": str(write_data(tmp_path / "selection.jsonl"))}
    plain, asked = (
        make_plan(requested(tmp_path, tiny_model_folder(head="Model"), set_=overrides, **given))
        for overrides in ([], ["stages.prepare.selection_share=0.3"])
    )
    assert [node.key for node in plain.nodes] == [node.key for node in asked.nodes]
    assert asked.notes == [
        "stages.prepare.selection_share is not read: --selection-data has the rows of the selection split"
    ]


def test_a_key_that_is_read_changes_a_key(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    model = tiny_model_folder(head="Model")
    keys = [node.key for node in make_plan(requested(tmp_path, model)).nodes]
    for name, value in CHANGED.items():
        changed = make_plan(requested(tmp_path, model, set_=[f"stages.prepare.{name}={value}"]))
        assert changed.nodes[0].key != keys[0], name
        assert changed.notes == []

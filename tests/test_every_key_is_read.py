"""Every key of a pipeline and of a target is read by a build, or said to be without effect and left out of the keys.

Reading is seen by watching the attributes of the models that a build is given. Writing a whole model into a key or a file
doesn't count: pydantic does that without asking for attributes.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgeprune.base.strict_yaml import Frozen
from edgeprune.pipeline.build import build
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import BuildRequest, read_request
from tests.conftest import ModelFactory
from tests.support.e2e import target_text, write_data

OF_PEOPLE = {"Pipeline.schema_version", "Pipeline.description", "Target.schema_version", "Target.description"}
"""Checked when the file is read, and shown by `list` and `show`."""

PIPELINE = """\
schema_version: 1
name: everything
description: A step of every kind
rounds: 2
stages:
  prepare: {epochs: 1, learning_rate: 5.0e-3, batch_size: 8, max_length: 16, evaluations_per_epoch: 2}
  prune:
    schedule: {shape: linear, start: 0.1}
    steps:
      - {method: structured, keep_heads: 0.5, keep_ffn: 0.5, align: 8, samples: 16}
      - {method: layers, remove: 1, shortlist: 2, samples: 16}
      - {method: vocabulary}
      - {method: magnitude, sparsity: 0.5}
  finetune: {epochs: 1, batch_size: 8, evaluations_per_epoch: 1, augment: 0.2}
  race: {processes: 1, samples: 60}
  benchmark: {processes: 1, samples: 16, warmup: 1}
  package: {goldens: 2}
"""


def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Watch from now on which fields are asked for, by class."""
    found: dict[str, set[str]] = defaultdict(set)
    ask = BaseModel.__getattribute__

    def watching(self: Frozen, name: str) -> Any:
        if name in type(self).model_fields:
            found[type(self).__name__].add(name)
        return ask(self, name)

    monkeypatch.setattr(Frozen, "__getattribute__", watching, raising=False)
    return found


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
    return written - {f"{owner}.{name}" for owner, names in read.items() for name in names} - OF_PEOPLE


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

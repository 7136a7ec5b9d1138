"""edgeprune/pipeline/stages/given.py: which inputs a model is given for one text, and for two."""

import json
from pathlib import Path

import pytest

from edgeprune.base.events import ignore
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.reference import resolve_model
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.given import read_given
from edgeprune.tasks.registry import COLUMNS
from tests.conftest import DataFactory, ModelFactory
from tests.support.e2e import write_rows

PLAIN = {"input_ids", "attention_mask"}


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_token_types_are_for_pairs(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path, model_type: str, pair: bool
) -> None:
    rows = [json.loads(line) for line in tiny_data(rows=40).read_text(encoding="utf-8").splitlines()]
    path = write_rows(tmp_path / "rows.jsonl", [{"other": "the film", **row} for row in rows])
    spec = DataSpec(train=str(path), text_column="text", pair_column="other" if pair else None, label_column="label")
    work = Work(
        resolve_model(str(tiny_model_folder(model_type))),
        DataSource(spec, columns=COLUMNS["text-classification"], offline=True),
        parents={}, folder=tmp_path, partial=tmp_path, seed=0, emit=ignore, progress=lambda *_: None,
    )  # fmt: skip
    given = read_given(work, "text-classification", problem_type=None, max_length=16, selection_share=0.1)
    assert given.task.spec.pair is pair
    expected = PLAIN | {"token_type_ids"} if pair and model_type == "bert" else PLAIN
    assert set(given.task.spec.inputs) == expected
    (example,) = given.task.encode(given.reader, given.tables["train"].contents[:1])
    assert set(example.inputs) == expected

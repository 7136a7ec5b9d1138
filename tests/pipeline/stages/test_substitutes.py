"""edgeprune/pipeline/stages/substitutes.py: words are found once for all rounds, and the finetune draws from them."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from edgeprune.base.events import Event, Progress, StageStarted
from edgeprune.data.source import DataSource
from edgeprune.data.table import Columns, DataSpec, Text
from edgeprune.pipeline.plan import plan_checkpoints
from edgeprune.pipeline.run import run_nodes
from edgeprune.pipeline.stages.substitutes import SUBSTITUTES
from edgeprune.pipeline.subject import find_subject
from edgeprune.profiles.shipped import load_pipeline
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store
from edgeprune.tasks.prepared import read_tables
from edgeprune.training.word_replacement import WordReplacement
from edgeprune.training.words_in_context import FoundInContext, InContext
from tests.conftest import UNUSED, ModelFactory
from tests.support.e2e import write_data, write_rows

MORE = ["a warm film", "a stale plot ."]
OVERRIDES = [
    "rounds=2", "stages.prune.steps=[{method: vocabulary, floor: 1}]", "stages.finetune.replace={by: context}",
]  # fmt: skip


def test_two_rounds_find_words_once_and_learn_from_them(
    tiny_model_folder: ModelFactory, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rows = write_data(tmp_path / "rows.jsonl", rows=40), [{"text": text} for text in MORE]
    spec = DataSpec(train=str(write_rows(tmp_path / "more.jsonl", rows)))
    subject = replace(
        find_subject(
            str(tiny_model_folder(head="ForMaskedLM", spare=len(UNUSED))), DataSpec(train=str(data)),
            task="text-classification", offline=True,
        ),
        unlabelled=DataSource(spec, columns=Columns(content=("text",)), offline=True),
    )  # fmt: skip
    store, told = Store(tmp_path / "store"), list[Event]()
    drawn, draw = list[tuple[int, str, str, InContext]](), WordReplacement.draw

    def watched(self: WordReplacement, rows: list[tuple[int, Text]], generator: np.random.Generator) -> list[Text]:
        ((row, text),) = rows
        (changed,) = draw(self, rows, generator)
        drawn.append((row, str(text), str(changed), cast("InContext", self._substitutes)))
        return [changed]

    monkeypatch.setattr(WordReplacement, "draw", watched)

    def run(*overrides: str) -> tuple[list[str], dict[str, Artifact]]:
        """The stages that were run, and all artifacts by the node's id."""
        told.clear()
        nodes = plan_checkpoints(subject, load_pipeline(str(tiny_pipeline), [*OVERRIDES, *overrides]), store)
        made = {node.id: done.artifact for node, done in run_nodes(nodes, subject, store, emit=told.append)}
        return [event.stage for event in told if isinstance(event, StageStarted)], made

    stages, made = run()
    assert stages == ["prepare", "prune", "substitutes", "finetune", "prune", "finetune"]
    *_, last = (event for event in told if isinstance(event, Progress) and event.stage == "substitutes")
    assert (last.done, last.unit) == (last.total, "batches")

    contents = [str(text) for text in read_tables(made["prepare"], subject.data, ("train",))["train"].contents] + MORE
    found = FoundInContext.load(made["substitutes"].file(SUBSTITUTES))
    assert found.counts[:, 0].tolist() == [len(text.replace(".", "").split()) for text in contents]
    assert made["substitutes"].manifest.metrics.scores == {
        "rows": len(contents), "places": sum(len(text.replace(".", "").split()) for text in contents),
    }  # fmt: skip

    changes = 0
    for row, before, after, substitutes in drawn:
        assert before == contents[row]
        words = before.split()
        for old, new, others in zip(words, after.split(), substitutes.of(row, 0, words), strict=True):
            assert new == old or new in others
            assert bool(others) is (old != ".")
            assert not {*UNUSED, old} & {*others}, "the pruned model has no tokens for words that are in no text"
            changes += new != old
    assert changes > 50

    assert run()[0] == []
    assert run("stages.finetune.learning_rate=0.001")[0] == ["finetune", "prune", "finetune"]

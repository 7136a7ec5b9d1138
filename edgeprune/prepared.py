"""The prepared data as the later stages see it: task, tokenizer, and every split encoded, with its references.

The prepare artifact holds row numbers; the texts are read again from the user's data, whose digest is in every key.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerFast

from edgeprune.artifacts import Artifact, Metric
from edgeprune.data import DataSource, SplitName, Table, pick
from edgeprune.evaluation import Encoding, encode, measure
from edgeprune.models.checkpoint import load_tokenizer
from edgeprune.stage import Work
from edgeprune.tasks import TaskSpec, task_for
from edgeprune.tasks.base import Array, Task

__all__ = ["OUTPUTS", "Prepared", "Split", "SplitRows", "open_prepared", "read_spec", "report", "select"]

OUTPUTS = "outputs.safetensors"
"""The file in which a stage keeps its model's outputs on the test split (the dense baseline: on selection too)."""

SplitRows = dict[SplitName, tuple[SplitName, list[int]]]
"""Split to (the given table its rows are in, their numbers from 0)."""

_ROWS = TypeAdapter(SplitRows)


@dataclass(frozen=True)
class Split:
    """One split: texts, token ids, and what outputs are compared with."""

    texts: list[str]
    encodings: list[Encoding]
    references: Array | None
    """[rows, …]; for a task without labels the dense model's outputs, None on train."""


@dataclass(frozen=True)
class Prepared:
    """Everything a stage needs to know of task and data."""

    task: Task
    tokenizer: PreTrainedTokenizerFast
    splits: dict[SplitName, Split]
    dense_outputs: Array
    """The dense PyTorch model's outputs on test, [rows, …]."""

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerFast) -> "Prepared":
        """The same rows under another tokenizer; itself if it is the same one."""
        if tokenizer is self.tokenizer:
            return self
        splits = {
            name: replace(split, encodings=encode(tokenizer, split.texts, self.task.spec))
            for name, split in self.splits.items()
        }
        return replace(self, tokenizer=tokenizer, splits=splits)

    @property
    def pad_token_id(self) -> int:
        """The id that fills short texts in a batch."""
        return int(self.tokenizer.pad_token_id)

    @property
    def test(self) -> Split:
        """The split that reported figures and the gate read."""
        return self.splits["test"]


def select(tables: dict[SplitName, Table], rows: SplitRows) -> dict[SplitName, Table]:
    """The tables of the resolved splits."""
    return {split: pick(tables[source], positions) for split, (source, positions) in rows.items()}


def read_spec(artifact: Artifact) -> TaskSpec:
    """The task that a prepare artifact was made for."""
    return TaskSpec.model_validate_json(artifact.file("task.json").read_text(encoding="utf-8"))


def open_prepared(
    artifact: Artifact,
    data: DataSource,
    *,
    splits: tuple[SplitName, ...] = ("train", "selection", "test"),
    tokenizer: Path | None = None,
) -> Prepared:
    """Read a prepare artifact and the user's data.

    Args:
        artifact: The dense baseline.
        data: The user's.
        splits: Those that are needed; the others are not encoded.
        tokenizer: The folder of the tokenizer to encode with; None: the dense model's.
    """
    spec = read_spec(artifact)
    task = task_for(spec)
    rows = _ROWS.validate_json(artifact.file("splits.json").read_text(encoding="utf-8"))
    used = load_tokenizer(tokenizer or artifact.file("checkpoint"))
    dense = load_file(artifact.file(OUTPUTS))
    found: dict[SplitName, Split] = {}
    wanted = {name: where for name, where in rows.items() if name in splits}
    for name, table in select(data.load(), wanted).items():
        references = (
            dense.get(name) if table.labels is None else task.references(table.labels, where=name, rows=table.rows)
        )
        found[name] = Split(table.texts, encode(used, table.texts, spec), references)
    return Prepared(task, used, found, dense["test"])


def report(work: Work, prepared: Prepared, outputs: Array) -> Metric:
    """Keep a model's outputs on test beside the artifact, and measure them against the dense model."""
    save_file({"test": np.ascontiguousarray(outputs)}, work.folder / OUTPUTS)
    references = prepared.test.references
    assert references is not None  # noqa: S101 (test always has references: labels or the dense outputs)
    return measure(prepared.task, outputs, references, dense_outputs=prepared.dense_outputs, seed=work.seed)


def write_rows(rows: SplitRows) -> str:
    """`splits.json`."""
    return json.dumps(rows) + "\n"

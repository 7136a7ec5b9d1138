"""Open the prepared data as later stages see it: the task, the reader, and every split, encoded with its references.

The prepare artifact holds row numbers. The rows are read again from the user's data, whose digest is in every stage's
key.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors.numpy import load_file, save_file

from edgeprune.data.source import DataSource
from edgeprune.data.table import Content, SplitName, Table, pick
from edgeprune.models.reader import Array, Inputs, Reader
from edgeprune.store.records import Artifact, Metric
from edgeprune.tasks.evaluation import measure
from edgeprune.tasks.example import Example
from edgeprune.tasks.registry import load_reader, task_for
from edgeprune.tasks.roles import Task
from edgeprune.tasks.spec import TaskSpec

__all__ = [
    "OUTPUTS",
    "Prepared",
    "Split",
    "SplitRows",
    "load_outputs",
    "open_prepared",
    "read_spec",
    "read_tables",
    "save_outputs",
    "select",
    "write_rows",
]

OUTPUTS = "outputs.safetensors"
"""The file in which a stage keeps its model's outputs on the split that it reports; the dense baseline's has both
selection and test."""

SplitRows = dict[SplitName, tuple[SplitName, list[int]]]
"""By split, the given table that its rows are in, and the numbers of these rows from 0."""

_ROWS = TypeAdapter(SplitRows)


@dataclass(frozen=True)
class Split:
    """Hold one split: its texts or images, the model's inputs, and what outputs are compared with."""

    contents: Sequence[Content]
    examples: list[Example]
    references: Sequence[Any] | None
    """One reference for each row. If the task has no labels, these are the dense model's outputs, or None on train."""

    @property
    def inputs(self) -> list[Inputs]:
        """Give the model's inputs, by row."""
        return [example.inputs for example in self.examples]


@dataclass(frozen=True)
class Prepared:
    """Hold everything that a stage needs to know about the task and the data."""

    task: Task
    reader: Reader
    splits: dict[SplitName, Split]
    dense_outputs: dict[str, list[Array]]
    """The dense PyTorch model's outputs on the selection and the test split, one for each row."""

    def with_reader(self, reader: Reader) -> "Prepared":
        """Encode the same rows with another reader. With the same reader, nothing changes."""
        if reader is self.reader:
            return self
        splits = {
            name: replace(split, examples=self.task.encode(reader, split.contents, split.references))
            for name, split in self.splits.items()
        }
        return replace(self, reader=reader, splits=splits)

    @property
    def test(self) -> Split:
        """Give the split that reported figures and the gate read."""
        return self.splits["test"]

    def spread(self, count: int, among: Sequence[int] | None = None) -> list[int]:
        """Choose `count` rows of the test split, spread over all lengths from the shortest to the longest.

        Args:
            count: How many rows are chosen, or all if there are fewer.
            among: The rows to choose from; None: all of them.
        """
        lengths = list(map(self.reader.length, self.test.inputs))
        order = sorted(range(len(lengths)) if among is None else among, key=lambda row: (lengths[row], row))
        positions = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
        return [order[position] for position in positions]

    def report(self, outputs: Sequence[Array], folder: Path, *, seed: int, split: SplitName = "test") -> Metric:
        """Keep a model's outputs on a split in a stage's folder, and measure them against the dense model's outputs.

        Args:
            outputs: One output for each row of the split.
            folder: The stage's folder.
            seed: The seed of the interval.
            split: The rows that the outputs are of: `selection` where a choice follows from the metric.
        """
        save_outputs({split: outputs}, folder / OUTPUTS)
        references = self.splits[split].references
        assert references is not None  # noqa: S101 (but for train there are references: labels or the dense outputs)
        return measure(self.task, outputs, references, dense_outputs=self.dense_outputs[split], seed=seed)


def select(tables: dict[SplitName, Table], rows: SplitRows) -> dict[SplitName, Table]:
    """Pick the rows of every resolved split from the given tables."""
    return {split: pick(tables[source], positions) for split, (source, positions) in rows.items()}


def read_spec(artifact: Artifact) -> TaskSpec:
    """Read the task that a prepare artifact was made for."""
    return TaskSpec.model_validate_json(artifact.file("task.json").read_text(encoding="utf-8"))


def read_tables(
    artifact: Artifact, data: DataSource, splits: tuple[SplitName, ...] = ("train", "selection", "test")
) -> dict[SplitName, Table]:
    """Read the rows of some splits, as the prepare artifact divided them, from the user's data."""
    rows = _ROWS.validate_json(artifact.file("splits.json").read_text(encoding="utf-8"))
    return select(data.load(), {name: where for name, where in rows.items() if name in splits})


def open_prepared(
    artifact: Artifact,
    data: DataSource,
    *,
    splits: tuple[SplitName, ...] = ("train", "selection", "test"),
    reader: Path | None = None,
) -> Prepared:
    """Read a prepare artifact and the user's data.

    Args:
        artifact: The prepare artifact, which is the dense baseline.
        data: The user's data.
        splits: The splits that are needed; others are not encoded.
        reader: The folder of the reader to encode with; None: the dense model's reader.
    """
    spec = read_spec(artifact)
    task = task_for(spec)
    used = load_reader(spec.task, reader or artifact.file("checkpoint"), spec.max_length)
    dense = load_outputs(artifact.file(OUTPUTS))
    found: dict[SplitName, Split] = {}
    for name, table in read_tables(artifact, data, splits).items():
        references = task.references(table, where=f"the {name} split") or dense.get(name)
        found[name] = Split(table.contents, task.encode(used, table.contents, references), references)
    return Prepared(task, used, found, dense)


def save_outputs(outputs: Mapping[str, Sequence[Array]], path: Path) -> None:
    """Write outputs to a file, by split.

    Rows of one shape are stacked, [rows, …]. Other rows are written one after the other, and `<split>.rows` has the
    length of each.
    """
    tensors = {}
    for split, rows in outputs.items():
        if len({row.shape for row in rows}) == 1:
            tensors[split] = np.stack(rows)
        else:
            tensors[split] = np.concatenate(rows)
            tensors[f"{split}.rows"] = np.array([len(row) for row in rows], np.int64)
    save_file(tensors, path)


def load_outputs(path: Path) -> dict[str, list[Array]]:
    """Read what `save_outputs` wrote."""
    tensors = load_file(path)
    lengths = {name.removesuffix(".rows"): tensors.pop(name) for name in list(tensors) if name.endswith(".rows")}
    return {
        name: np.split(values, np.cumsum(lengths[name])[:-1]) if name in lengths else list(values)
        for name, values in tensors.items()
    }


def write_rows(rows: SplitRows) -> str:
    """Write the text of `splits.json`."""
    return json.dumps(rows) + "\n"

"""Read the model's config and reader and the data, resolve the task, and split the rows: what `prepare` starts with.

Nothing here needs the model's weights. The latency table is measured before anything is trained, on the rows that
`prepare` will select by.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.base.errors import DataError
from edgeprune.base.events import Note
from edgeprune.data.table import SplitName, Table
from edgeprune.pipeline.stages.base import Work
from edgeprune.tasks.labels import labels_by_row
from edgeprune.tasks.registry import TaskName
from edgeprune.tasks.spec import ProblemType, TaskSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from edgeprune.models.reader import Reader
    from edgeprune.models.record import PruningRecord
    from edgeprune.tasks.prepared import SplitRows
    from edgeprune.tasks.roles import Task

__all__ = ["Given", "read_given"]

_TEST_SHARE = 0.15
_FEWEST_ROWS = 4


@dataclass(frozen=True)
class Given:
    """Hold what a build is given, as it was read."""

    config: "PreTrainedConfig"
    record: "PruningRecord | None"
    """What is left of the model's own dense model; None: it wasn't pruned."""
    reader: "Reader"
    task: "Task"
    tables: dict[SplitName, Table]
    rows: "SplitRows"
    notes: tuple[Note, ...]
    """What was assumed, for the user."""


def read_given(
    work: Work,
    name: TaskName,
    *,
    problem_type: ProblemType | None,
    max_length: int | None,
    selection_share: float,
) -> Given:
    """Read what a build is given.

    Args:
        work: The work of a stage, with the model, the data and the seed of the split.
        name: The task's name.
        problem_type: The kind of a classification; None: the checkpoint or the labels decide it, or the task has none.
        max_length: Tokens that a text is cut to; None: the model reads images.
        selection_share: Share of the training rows that the selection split takes if it isn't given.

    Raises:
        UsageError: The model or the data can't be used.
    """
    from edgeprune.models.checkpoint import load_config
    from edgeprune.models.record import read_pruning
    from edgeprune.tasks.registry import load_reader, resolve_spec, task_for
    from edgeprune.tasks.source import Source

    folder = work.model.folder
    config = load_config(folder)
    reader = load_reader(name, folder, max_length)
    record = read_pruning(folder)
    reader.fit_to(config, tokens=None if record is None or record.vocabulary is None else len(record.vocabulary))
    tables = work.data.load()
    notes = [Note(note) for note in (reader.doubt, *work.data.notes) if note is not None]
    source = Source(
        task=name,
        folder=folder,
        config=config,
        inputs=reader.inputs,
        splits=tables,
        max_length=max_length,
        problem_type=problem_type,
        note=lambda message: notes.append(Note(message, level="info")),
    )
    spec = resolve_spec(source)
    spec = spec.model_copy(update={"inputs": reader.inputs_of(pair=spec.pair)})
    rows = _split(tables, spec, work.seed, selection_share)
    return Given(config, record, reader, task_for(spec), tables, rows, tuple(notes))


def _split(
    tables: dict[SplitName, Table], spec: TaskSpec, seed: int, selection_share: float
) -> dict[SplitName, tuple[SplitName, list[int]]]:
    """Keep the splits that are given, and split the missing ones off train with a seed.

    A missing test split takes 15% of train. Then a missing selection split takes its share of the rest. A split has each
    label about as often as the rest has it, and train keeps a row of each label.

    Raises:
        DataError: Too few rows are left to train on, or too few that train doesn't need for its labels.
    """
    generator = np.random.default_rng(seed)
    labels = labels_by_row(tables["train"], spec)
    kept, known = set[int](), set[str]()
    order = generator.permutation(len(labels)).tolist()
    for row in order:
        if not labels[row] <= known:
            kept.add(row)
            known |= labels[row]
    order.sort(key=lambda row: sorted(labels[row]))  # the rows of a label in turn, in the order of the permutation
    result: dict[SplitName, tuple[SplitName, list[int]]] = {}
    names: tuple[SplitName, ...] = ("test", "selection")
    for name in names:
        if name in tables:
            result[name] = (name, list(range(len(tables[name].contents))))
            continue
        count = max(1, round((_TEST_SHARE if name == "test" else selection_share) * len(order)))
        free = [row for row in order if row not in kept]
        if count > len(free):
            raise DataError(
                f"{len(known):,} labels in {len(labels):,} rows leave {len(free):,} rows for the {name} split, which takes "
                f"{count:,}: one of each label stays in training; give more data, or the split with --{name}-data"
                + (", or lower stages.prepare.selection_share" if name == "selection" else "")
            )
        steps = (np.arange(count) + generator.random()) * (len(free) / count)
        chosen = {free[position] for position in steps.astype(int).tolist()}
        result[name] = ("train", sorted(chosen))
        order = [row for row in order if row not in chosen]
    if len(order) < _FEWEST_ROWS:
        raise DataError(f"only {len(order)} rows are left to train on, and {_FEWEST_ROWS} are needed; give more data")
    return {"train": ("train", sorted(order)), "selection": result["selection"], "test": result["test"]}

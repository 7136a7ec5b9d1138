"""Gather what a report says about the shipped model itself: what is left of its layers, and which texts it now gets wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.base.wording import cut
from edgeprune.data.source import DataSource
from edgeprune.pipeline.nodes import Node
from edgeprune.report.records import ChangedRow, LayerRow, PartSizeRow
from edgeprune.store.records import Artifact

if TYPE_CHECKING:
    from edgeprune.models.sizes import Inspection, PartRow

__all__ = ["Facts", "checkpoint_of", "gather_facts"]

_MOST_TEXTS = 10
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Facts:
    """Hold what a report says about the shipped model itself."""

    try_with: tuple[str, ...]
    layers: tuple[LayerRow, ...]
    hidden_size: int
    dense_hidden_size: int
    embedding_rank: int | None
    parts: tuple[PartSizeRow, ...]
    changed: tuple[ChangedRow, ...]


def checkpoint_of(node: Node, artifacts: Mapping[str, Artifact]) -> Path:
    """Find the folder of the checkpoint that a graph was made from.

    Args:
        node: The node of the graph.
        artifacts: The artifacts of the plan, by the node's id.
    """
    while not (folder := artifacts[node.id].file("checkpoint")).is_dir():
        node = next(node.parents[role] for role in ("checkpoint", "onnx", "model") if role in node.parents)
    return folder


def gather_facts(dense: Artifact, checkpoint: Path, shipped: Artifact, data: DataSource, *, texts: bool) -> Facts:
    """Compare the shipped model with the dense one, from what the stages wrote.

    Args:
        dense: The prepare artifact.
        checkpoint: The folder of the shipped model's checkpoint.
        shipped: The quantize artifact.
        data: The user's data.
        texts: Whether test texts are gathered.
    """
    from edgeprune.models.sizes import inspect_checkpoint
    from edgeprune.tasks.prepared import read_spec
    from edgeprune.tasks.registry import load_reader, task_for

    spec = read_spec(dense)
    reader = load_reader(spec.task, shipped.file("reader"), spec.max_length)
    before = inspect_checkpoint(dense.file("checkpoint"), reference="dense")
    now = inspect_checkpoint(checkpoint, reference="shipped")
    single = spec.task == "text-classification" and spec.problem_type == "single_label_classification"
    return Facts(
        try_with=task_for(spec).example_inputs(reader),
        layers=_layers(before, now),
        hidden_size=now.hidden_size,
        dense_hidden_size=before.hidden_size,
        embedding_rank=now.embedding_rank,
        parts=_parts(before, now),
        changed=_changed(dense, shipped, data) if texts and single else (),
    )


def _layers(before: "Inspection", now: "Inspection") -> tuple[LayerRow, ...]:
    """List the layers that the dense model has. It may be a pruned model itself, so its heads are counted anew."""
    after = {row.part: row for row in now.parts}
    attention = [row for row in before.parts if row.heads is not None]
    ffn = [row for row in before.parts if row.neurons is not None]
    return tuple(
        LayerRow(
            dense_heads=len(_heads(heads)),
            dense_neurons=neurons.neurons or 0,
            heads=tuple(_heads(heads).index(head) for head in _heads(after[heads.part])),
            neurons=after[neurons.part].neurons or 0,
        )
        for heads, neurons in zip(attention, ffn, strict=True)
        if heads.parameters > 0  # else the dense model lacks the layer
    )


def _heads(row: "PartRow") -> tuple[int, ...]:
    """Give the numbers of the heads that are left."""
    return tuple(range(row.heads or 0)) if row.kept is None else row.kept


def _parts(before: "Inspection", now: "Inspection") -> tuple[PartSizeRow, ...]:
    return tuple(
        PartSizeRow(
            part=part,
            parameters=sum(row.parameters for row in now.parts if row.part.split()[-1] == kind),
            dense_parameters=sum(row.parameters for row in before.parts if row.part.split()[-1] == kind),
        )
        for part, kind in (("embeddings", "embeddings"), ("attention", "attention"), ("ffn", "ffn"), ("rest", "head"))
    )


def _changed(dense: Artifact, shipped: Artifact, data: DataSource) -> tuple[ChangedRow, ...]:
    """Find test texts that the dense model labels rightly and the shipped one doesn't, those first of which it is surest."""
    import numpy as np
    from scipy.special import softmax

    from edgeprune.tasks.prepared import OUTPUTS, load_outputs, read_spec, read_tables
    from edgeprune.tasks.registry import task_for

    spec = read_spec(dense)
    table = read_tables(dense, data, ("test",))["test"]
    right = np.asarray(task_for(spec).references(table, where="the test split"))
    was, is_ = (
        softmax(np.stack(load_outputs(one.file(OUTPUTS))["test"]).astype(np.float64), axis=-1)
        for one in (dense, shipped)
    )
    lost = np.flatnonzero((was.argmax(-1) == right) & (is_.argmax(-1) != right))
    surest = lost[np.argsort(-was.max(-1)[lost], kind="stable")][:_MOST_TEXTS]
    return tuple(
        ChangedRow(
            text=cut(text if isinstance(text, str) else "\n".join(text), _LONGEST_TEXT),
            label=spec.labels[right[row]],
            dense_confidence=was[row].max(),
            answer=spec.labels[is_[row].argmax()],
            confidence=is_[row].max(),
        )
        for row in surest
        for text in (table.texts[row],)
    )

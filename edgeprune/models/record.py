"""Record in `pruning.json` what is left of the dense model, in the dense model's own numbers.

To be loaded again, a pruned checkpoint needs only this record, its tensors and the dense model's config.json. Reading
the record is light: planning reads it without torch.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edgeprune.base.errors import ModelError, SchemaVersionError
from edgeprune.base.strict_yaml import Frozen

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = [
    "LayerRecord",
    "PruningRecord",
    "dense_hidden",
    "dense_layers",
    "dense_tokens",
    "hidden_size_left",
    "read_pruning",
    "write_pruning",
]

_FILE = "pruning.json"
_OF_SOME = ("hidden", "embedding_rank")


class LayerRecord(Frozen):
    """Record what is left of one layer, as indices into the dense model's layers, heads and FFN neurons."""

    index: int
    heads: tuple[int, ...]
    neurons: tuple[int, ...]


class PruningRecord(Frozen):
    """Record what is left of a model: the content of `pruning.json`."""

    schema_version: int = 1
    base_digest: str
    """SHA-256 of the dense checkpoint's weights file that the indices refer to."""
    head_dim: int
    layers: tuple[LayerRecord, ...]
    """The layers that are left, from the bottom up. A layer that isn't here was dropped."""
    vocabulary: tuple[int, ...] | None = None
    """The dense model's id of every token that is left; None: all tokens are left."""
    hidden: tuple[int, ...] | None = None
    """The dimensions of the dense model's hidden states that are left, ascending; None: all are left."""
    embedding_rank: int | None = None
    """The columns of the token embedding's narrow table; None: the embedding is one table."""
    sparse: bool = False
    """Whether zeros among the encoder's projection weights must stay zero through fine-tuning."""

    def positions(self) -> dict[int, int]:
        """Map the dense model's number of each layer that is left to the layer's position now."""
        return {layer.index: position for position, layer in enumerate(self.layers)}

    @classmethod
    def dense(cls, model: "PreTrainedModel", base_digest: str) -> "PruningRecord":
        """Make the record of a model that still has everything."""
        from edgeprune.models.architectures import head_dim_of, layer_sizes

        return cls(
            base_digest=base_digest,
            head_dim=head_dim_of(model.config),
            layers=tuple(
                LayerRecord(index=index, heads=tuple(range(heads)), neurons=tuple(range(neurons)))
                for index, (heads, neurons) in enumerate(layer_sizes(model))
            ),
        )


def read_pruning(folder: Path) -> PruningRecord | None:
    """Read the folder's pruning record; None for a dense checkpoint.

    Raises:
        ModelError: pruning.json is not valid.
        SchemaVersionError: A newer edgeprune wrote pruning.json.
    """
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema_version") != 1:
            raise SchemaVersionError(
                f"{path} has schema_version {content.get('schema_version')}, but this edgeprune reads 1; use a newer one"
            )
        return PruningRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path} is not a valid pruning record: {where}: {first['msg']}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is not a valid pruning record: {error}") from error


def write_pruning(record: PruningRecord, folder: Path) -> None:
    """Write the folder's pruning.json. What only some models have is named only there."""
    text = record.model_dump_json(exclude={name for name in _OF_SOME if getattr(record, name) is None})
    (folder / _FILE).write_text(text + "\n", encoding="utf-8")


def dense_layers(record: PruningRecord | None, dense: PruningRecord | None, count: int) -> list[int]:
    """Find the positions that the layers of `record` have in the model of `dense`, which has `count` layers."""
    if record is None:
        return list(range(count))
    return [dense.positions()[layer.index] if dense else layer.index for layer in record.layers]


def dense_tokens(record: PruningRecord | None, dense: PruningRecord | None) -> "torch.Tensor | None":
    """Find the ids that the tokens of `record` have in the model of `dense`; None where they are the same."""
    return _places(*(None if one is None else one.vocabulary for one in (record, dense)))


def dense_hidden(record: PruningRecord | None, dense: PruningRecord | None) -> "torch.Tensor | None":
    """Find the positions that the hidden dimensions of `record` have in the model of `dense`; None where all are left."""
    return _places(*(None if one is None else one.hidden for one in (record, dense)))


def hidden_size_left(record: PruningRecord | None, whole: int) -> int:
    """Return the hidden size of a model whose config says `whole`."""
    return whole if record is None or record.hidden is None else len(record.hidden)


def _places(left: Sequence[int] | None, dense: Sequence[int] | None) -> "torch.Tensor | None":
    """Find where what is left of something is in `dense`; None, for either: everything is left."""
    import torch

    if left is None or left == dense:
        return None
    if dense is None:
        return torch.tensor(left)
    where = {one: position for position, one in enumerate(dense)}
    return torch.tensor([where[one] for one in left])

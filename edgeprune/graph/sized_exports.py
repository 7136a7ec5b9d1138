"""Export a model twice with random weights, at the two sizes from which graphs of all sizes are made."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedConfig, PreTrainedModel

from edgeprune.base.memory import release_memory
from edgeprune.graph.export import export_onnx
from edgeprune.graph.size_template import Sizes, template_sizes
from edgeprune.models.architectures import architecture_of, head_dim_of, longest_text
from edgeprune.models.checkpoint import empty_model
from edgeprune.models.random_weights import random_model
from edgeprune.models.reader import Inputs, Reader
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.tasks.evaluation import to_torch
from edgeprune.tasks.roles import Task

__all__ = ["SizedExports", "export_sizes"]

_TOKENS = 1024
"""How many tokens the models know. A larger table costs no time, but every graph would carry it."""
_BLOCK = 128
"""The widest block of weights that share a scale."""


@dataclass(frozen=True)
class SizedExports:
    """Hold two exports of a model."""

    files: tuple[Path, Path]
    sizes: tuple[Sizes, Sizes]
    tokens: int | None
    """How many tokens the exports know; None: all of the model's."""

    def known(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Give a batch with token ids that the exports know, as an array or, for the agent, as a list."""
        if self.tokens is None:
            return dict(batch)
        ids = batch["input_ids"]
        known = np.asarray(ids) % self.tokens
        return {**batch, "input_ids": known if isinstance(ids, np.ndarray) else known.tolist()}


def export_sizes(
    config: PreTrainedConfig,
    positions: Sequence[int],
    task: Task,
    reader: Reader,
    rows: Sequence[Inputs],
    folder: Path,
    *,
    opset: int,
    settings: PrecisionSettings,
    progress: Callable[[int], None],
    hidden: tuple[int, ...] | None = None,
    embedding_rank: int | None = None,
) -> SizedExports:
    """Export a model of a config at two sizes.

    Args:
        config: The dense model's config, with the task's entries.
        positions: Which layers of the config the model has.
        task: The task, which says what the model puts out.
        reader: Makes the example inputs.
        rows: One or more rows.
        folder: The folder for the files.
        opset: The version of ONNX's operator set.
        settings: The precision that graphs will be converted to. It may ask for sizes that blocks of weights fit into.
        progress: A function that is called with the number of exports that are done.
        hidden: The dimensions of the dense model's hidden states that the model has; None: all.
        embedding_rank: The rank of the model's token embedding; None: it isn't factored.
    """
    arguments = task.model_arguments(config.model_type)
    tokens = _tokens(empty_model(config, None, task.auto_class, **arguments), config)
    in_blocks, head_dim = settings.mode in ("int8-weights", "int4-weights"), head_dim_of(config)
    sizes = template_sizes(
        len(positions),
        # Graphs of a family that is told its number of heads hold it as a constant, among many small ones.
        first_heads=3 if architecture_of(config).head_count is None else 17,
        heads_step=_BLOCK // math.gcd(_BLOCK, head_dim) if in_blocks else 1,
        width_step=_BLOCK if in_blocks else 1,
    )
    exports = SizedExports((folder / "first.onnx", folder / "second.onnx"), sizes, tokens)
    example = to_torch(exports.known(reader.collate((list(rows) * 2)[:2], full=True)))
    for done, (path, layers) in enumerate(zip(exports.files, sizes, strict=True), start=1):
        record = PruningRecord(
            base_digest="",
            head_dim=head_dim,
            layers=tuple(
                # A family may need to know which of the dense model's heads they are. It may be the same one twice, but
                # never all of them in their order, for which a graph needs nothing.
                LayerRecord(
                    index=index,
                    heads=tuple((head + 1) % config.num_attention_heads for head in range(heads)),
                    neurons=tuple(range(width)),
                )
                for index, (heads, width) in zip(positions, layers, strict=True)
            ),
            vocabulary=None if tokens is None else _kept(config, tokens),
            hidden=hidden,
            embedding_rank=embedding_rank,
        )
        model = random_model(config, record, task.auto_class, attn_implementation="eager", **arguments)
        export_onnx(
            task.exportable(model),
            example,
            path,
            opset=opset,
            longest_sequence=longest_text(config),
            output_names=(*task.unread_names, *task.output_names),
        )
        del model
        release_memory()
        progress(done)
    return exports


def _tokens(model: PreTrainedModel, config: PreTrainedConfig) -> int | None:
    """Say how many tokens are enough; None: images have none, and a decoder's product takes time for each."""
    if longest_text(config) is None or model.get_output_embeddings() is not None:
        return None
    return min(_TOKENS, int(config.vocab_size))


def _kept(config: PreTrainedConfig, tokens: int) -> tuple[int, ...]:
    """Choose the tokens that stay, padding among them."""
    padding = config.pad_token_id
    first = range(tokens)
    return tuple(first) if padding is None or padding in first else (*first[:-1], padding)

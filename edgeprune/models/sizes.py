"""Count a model's parameters and multiply-adds by layer and part, dense beside pruned.

The model has no weights while it is counted (it is on the meta device), so that a checkpoint of any size is inspected
in a moment. A multiply-add is one product and one sum. Softmax, norms and activations are not counted.
"""

from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from edgeprune.base.errors import UsageError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.models.architectures import (
    architecture_of,
    counted_tokens,
    depth_of,
    head_dim_of,
    image_tokens,
    layers_of,
    unit_multiply_adds,
)
from edgeprune.models.checkpoint import count_parameters, empty_model, load_config
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.models.reference import resolve_model
from edgeprune.models.width import hidden_size_of
from edgeprune.store.checkpoints import checkpoint_artifact
from edgeprune.store.store import Store

__all__ = ["Count", "Inspection", "PartRow", "checkpoint_of", "count_parts", "inspect_checkpoint", "inspect_model"]


class PartRow(Frozen):
    """Describe one part of the dense model and what is left of it."""

    part: str
    heads: int | None = None
    neurons: int | None = None
    dense_heads: int | None = None
    dense_neurons: int | None = None
    kept: tuple[int, ...] | None = None
    """The dense model's numbers of the heads or neurons that are left; None: nothing was pruned, or the part has
    neither."""
    parameters: int
    dense_parameters: int
    multiply_adds: int
    dense_multiply_adds: int


class Inspection(Frozen):
    """Hold the sizes of a model's parts, and their sum."""

    model: str
    architecture: str
    tokens: int
    """Length of the one text, or of the image, that multiply-adds are counted for."""
    pruned: bool
    hidden_size: int
    """Width of the hidden states."""
    dense_hidden_size: int
    embedding_rank: int | None = None
    """Columns of the token embedding's narrow table; None: the embedding is one table."""
    parts: list[PartRow]
    total: PartRow


def inspect_model(reference: str, *, tokens: int | None, store: Store, offline: bool = False) -> Inspection:
    """Count the parts of the model that a reference, an artifact or a package names.

    Args:
        reference: A model reference, an artifact's folder in the store, or a package's folder.
        tokens: Length of the text that multiply-adds are counted for; None: 128, or the length of an image.
        store: The store in which a package's checkpoint is looked up.
        offline: Whether the hub is never asked.

    Raises:
        ModelError: There is no checkpoint.
        UsageError: `tokens` is given for a model that reads images.
    """
    return inspect_checkpoint(checkpoint_of(reference, store, offline=offline), reference=reference, tokens=tokens)


def inspect_checkpoint(folder: Path, *, reference: str, tokens: int | None = None) -> Inspection:
    """Count the parts of a checkpoint.

    Args:
        folder: The checkpoint's folder.
        reference: What the model is called.
        tokens: As for `inspect_model`.

    Raises:
        UsageError: `tokens` is given for a model that reads images.
    """
    config = load_config(folder)
    record = read_pruning(folder)
    of_image = image_tokens(config)
    if of_image is not None and tokens is not None:
        raise UsageError(
            f"--tokens is the length of a text, but {reference} reads images of {of_image} tokens each; leave it out"
        )
    tokens = counted_tokens(config, tokens)
    whole = empty_model(config, None)
    model = empty_model(config, record) if record else whole
    dense = count_parts(whole, tokens, None)
    parts = count_parts(model, tokens, record) if record else dense
    kept = _kept(record)
    rows = [
        PartRow(
            part=name,
            kept=kept.get(name),
            heads=now.heads,
            neurons=now.neurons,
            dense_heads=before.heads,
            dense_neurons=before.neurons,
            parameters=now.parameters,
            dense_parameters=before.parameters,
            multiply_adds=now.multiply_adds,
            dense_multiply_adds=before.multiply_adds,
        )
        for name, before in dense.items()
        for now in [parts.get(name, before.gone())]
    ]
    total = PartRow(
        part="total",
        parameters=sum(row.parameters for row in rows),
        dense_parameters=sum(row.dense_parameters for row in rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
        dense_multiply_adds=sum(row.dense_multiply_adds for row in rows),
    )
    name = (config.architectures or [config.model_type])[0]
    return Inspection(
        model=reference,
        architecture=name,
        tokens=tokens,
        pruned=record is not None,
        hidden_size=hidden_size_of(model),
        dense_hidden_size=hidden_size_of(whole),
        embedding_rank=None if record is None else record.embedding_rank,
        parts=rows,
        total=total,
    )


def checkpoint_of(reference: str, store: Store, *, offline: bool = False) -> Path:
    """Find the folder of the checkpoint that a model reference, an artifact's folder or a package's folder names.

    Raises:
        ModelError: There is no checkpoint.
    """
    artifact = checkpoint_artifact(Path(reference), store)
    return resolve_model(reference, offline=offline).folder if artifact is None else artifact.file("checkpoint")


class Count(Frozen):
    """Hold what one part of a model has."""

    parameters: int
    multiply_adds: int
    heads: int | None = None
    neurons: int | None = None

    def gone(self) -> "Count":
        """Make the count of the same part after it was dropped."""
        return Count(
            parameters=0,
            multiply_adds=0,
            heads=None if self.heads is None else 0,
            neurons=None if self.neurons is None else 0,
        )


def _kept(record: PruningRecord | None) -> dict[str, tuple[int, ...]]:
    return {
        f"layer {layer.index} {part}": units
        for layer in (record.layers if record else ())
        for part, units in (("attention", layer.heads), ("ffn", layer.neurons))
    }


def count_parts(model: PreTrainedModel, tokens: int, record: PruningRecord | None) -> dict[str, Count]:
    """Count the embeddings, each layer's attention and FFN by its number in the dense model, and the rest."""
    architecture = architecture_of(model.config)
    base = model.base_model
    embedding = base.get_submodule(architecture.embeddings)
    embeddings = count_parameters(embedding)
    # Looking up tokens costs no multiply-adds. Narrow rows are projected, and so are patches: every token but the one
    # that classifies.
    projected = sum(
        (tokens if isinstance(module, nn.Linear) else tokens - 1) * module.weight.numel()
        for module in embedding.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    )
    rows = {"embeddings": Count(parameters=embeddings, multiply_adds=projected)}
    counted = embeddings
    head_dim, depth = head_dim_of(model.config), depth_of(model.config)
    layers = zip(base.get_submodule(architecture.layers), layers_of(model), strict=True)
    for position, (layer, parts) in enumerate(layers):
        index = record.layers[position].index if record else position
        ffn = sum(count_parameters(one.linear) for one in parts.projections if one.unit == "neuron")
        attention = count_parameters(layer) - ffn  # norms are counted with the attention
        heads, neurons = parts.attention_output.linear.in_features // head_dim, parts.ffn_out.linear.in_features
        head_cost, neuron_cost = unit_multiply_adds(model.config, parts, head_dim, tokens)
        rows[f"layer {index} attention"] = Count(
            parameters=attention, multiply_adds=depth * heads * head_cost, heads=heads
        )
        rows[f"layer {index} ffn"] = Count(parameters=ffn, multiply_adds=depth * neurons * neuron_cost, neurons=neurons)
        counted += attention + ffn
    done = {id(module) for part in (base.get_submodule(architecture.layers), embedding) for module in part.modules()}
    pooler = getattr(base, architecture.pooler or "", None)
    once = {id(module) for module in pooler.modules()} if isinstance(pooler, nn.Module) else set()
    if type(model).__name__.endswith(("ForSequenceClassification", "ForImageClassification")):
        once |= {id(module) for module in model.modules()} - {id(module) for module in base.modules()}
    # A pooler and a classifier are computed for one position, everything else for every token.
    multiply_adds = sum(
        (1 if id(module) in once else tokens) * module.in_features * module.out_features
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module) not in done
    )
    return rows | {"head": Count(parameters=count_parameters(model) - counted, multiply_adds=multiply_adds)}

"""Load a checkpoint with its masked-language head, and say why one has none that can be used."""

from pathlib import Path

from transformers import AutoModelForMaskedLM, PreTrainedModel

from edgeprune.models.checkpoint import load_config, load_tokenizer
from edgeprune.models.dense import load_dense, some_of
from edgeprune.models.record import read_pruning

__all__ = ["load_masked_model", "why_no_masked_head"]


def why_no_masked_head(folder: Path) -> str | None:
    """Say why a checkpoint can't predict masked words; None: it can. The values of its weights aren't read.

    Raises:
        ModelError: The folder is no checkpoint, or has no tokenizer.
    """
    if read_pruning(folder) is not None:
        return "this one is pruned and has none"
    dense = load_dense(folder, AutoModelForMaskedLM, load_config(folder), device_map="meta")
    if dense.missing:
        return f"this one lacks {some_of(dense.missing)}"
    if load_tokenizer(folder).mask_token_id is None:
        return "the tokenizer of this one names no mask token"
    return None


def load_masked_model(folder: Path) -> PreTrainedModel:
    """Load a checkpoint that has such a head, in fp32 and evaluation mode."""
    return load_dense(folder, AutoModelForMaskedLM, load_config(folder)).model.eval()

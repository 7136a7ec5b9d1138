"""Keep what PyTorch computes for a few real batches beside an export, and compare every later graph with it."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from onnxruntime import InferenceSession
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedModel

from edgeprune.base.threads import torch_threads
from edgeprune.graph.parity import Agreement, agreement
from edgeprune.graph.session import raw_output
from edgeprune.models.reader import Array, Inputs, Reader
from edgeprune.tasks.evaluation import to_torch
from edgeprune.tasks.roles import Task

__all__ = [
    "REFERENCES",
    "Reference",
    "answered_by",
    "load_references",
    "reference_outputs",
    "save_references",
    "worst_agreement",
]

REFERENCES = "references.safetensors"
"""The file of an export that holds the references."""

_COMPARED = 1000
"""About how many logits of a vocabulary are compared for a token."""


@dataclass(frozen=True)
class Reference:
    """Hold one batch, and what the PyTorch model computes for it."""

    inputs: dict[str, Array]
    outputs: Array
    """The part of the outputs that `_compared` keeps."""

    @property
    def padded(self) -> bool:
        """Tell whether a text of the batch has padding."""
        mask = self.inputs.get("attention_mask")
        return mask is not None and not bool(mask.all())


def reference_outputs(
    model: PreTrainedModel, task: Task, rows: Sequence[Inputs], reader: Reader, *, longest: int | None
) -> list[Reference]:
    """Compute a PyTorch model's outputs for real batches that differ as much as inputs can.

    This runs on one thread. For so few batches more threads would mostly wait for each other, and where other programs
    take the cores they wait busily: six times the CPU time of one thread.

    Args:
        longest: The most tokens that the model takes. None: all of its inputs have the same size.
    """
    with torch.inference_mode(), torch_threads(1):
        return [
            Reference(batch, _compared(task.forward(model, to_torch(batch))[0].numpy(), batch))
            for batch in reader.varied(rows, task.max_batch_tokens, longest)
        ]


def worst_agreement(
    session: InferenceSession, references: Sequence[Reference], *, with_padding: bool = True
) -> Agreement:
    """Compare an ONNX graph's outputs with the references.

    The distance is computed over all batches together. Every other figure is the worst batch's.

    Args:
        with_padding: Whether the graph takes padded texts. If it doesn't, only batches without padding are compared.
    """
    answers = answered_by(session, references, with_padding=with_padding)
    compared = [one for one in references if with_padding or not one.padded]
    found = [agreement(one.outputs, answer.outputs) for one, answer in zip(compared, answers, strict=True)]
    worst = Agreement(*map(max, zip(*map(astuple, found), strict=True)))
    # Outputs near 0 are far from any rounding of them, so that one such text would decide alone.
    whole, ours = (np.concatenate([one.outputs.ravel() for one in each]) for each in (compared, answers))
    return replace(worst, distance=agreement(whole, ours).distance)


def answered_by(session: InferenceSession, references: Sequence[Reference], *, with_padding: bool) -> list[Reference]:
    """Run a graph on the batches that it takes. Return these batches with the graph's outputs in place of PyTorch's."""
    return [
        replace(one, outputs=_compared(raw_output(session, one.inputs), one.inputs))
        for one in references
        if with_padding or not one.padded
    ]


def save_references(references: Sequence[Reference], path: Path) -> None:
    """Write references to a safetensors file."""
    tensors: dict[str, Array] = {}
    for number, one in enumerate(references):
        tensors |= {f"{number}.inputs.{name}": values for name, values in one.inputs.items()}
        tensors[f"{number}.outputs"] = np.ascontiguousarray(one.outputs)
    save_file(tensors, path)


def load_references(path: Path) -> list[Reference]:
    """Read the references that `save_references` wrote."""
    tensors = load_file(path)
    found: list[Reference] = []
    while (outputs := tensors.get(f"{len(found)}.outputs")) is not None:
        prefix = f"{len(found)}.inputs."
        inputs = {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}
        found.append(Reference(inputs, outputs))
    return found


def _compared(raw: Array, inputs: dict[str, Array]) -> Array:
    """Keep the part of raw outputs that is compared, because all outputs would not fit in memory.

    Outputs by token lose the tokens that are padding, and all but about `_COMPARED` logits of a vocabulary.
    """
    if raw.ndim < 3:
        return raw
    return raw[..., :: max(1, raw.shape[-1] // _COMPARED)][inputs["attention_mask"] > 0]

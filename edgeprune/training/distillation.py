"""Distil from the dense model: the loss of a student that is taught by labels, logits and hidden states.

The loss of a batch is

    labels · task loss + logits · divergence from the teacher (T) + hidden · MSE of the hidden states

(Hinton et al., https://arxiv.org/abs/1503.02531; hidden states as in TinyBERT, https://arxiv.org/abs/1909.10351). The
teacher's outputs may be the mean of several dense models' outputs, as those of an ensemble in the first paper. The
student's layers and dimensions are some of the teacher's, so hidden states map one to one. A student with a smaller
hidden size is compared in the dimensions that it has: nothing is learned for the map, and nothing is dropped later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from edgeprune.models.architectures import state_positions
from edgeprune.models.reader import unpadded
from edgeprune.profiles.pipeline import DistillConfig
from edgeprune.tasks.roles import Task

__all__ = ["Teacher", "distillation_loss"]


@dataclass(frozen=True)
class Teacher:
    """Hold the dense model, and say how the student learns from it."""

    model: PreTrainedModel
    """The build's dense model, whose hidden states the student is compared with."""
    config: DistillConfig
    layers: Sequence[int]
    """For each layer of the student, the teacher's layer that it was."""
    others: Sequence[PreTrainedModel] = ()
    """Dense models of other seeds, where their answers aren't known. The student learns the mean of all models' outputs."""
    tokens: torch.Tensor | None = None
    """For each token of the student, the teacher's id of it. None: the ids are the same."""
    hidden: torch.Tensor | None = None
    """For each dimension of the student's hidden states, the teacher's dimension that it was. None: both have the same."""

    @property
    def embedding(self) -> torch.Tensor:
        """The teacher's input embedding, with a row for each token of the student, [tokens, size]."""
        rows: torch.Tensor = self.model.get_input_embeddings().weight.detach()
        return rows if self.tokens is None else rows[self.tokens]


def distillation_loss(
    student: torch.nn.Module, task: Task, teacher: Teacher, inputs: dict[str, torch.Tensor], *, bf16: bool
) -> torch.Tensor:
    """Compute the loss of one batch.

    Args:
        student: The model that is trained; accelerate runs it under autocast.
        task: The task of both models.
        teacher: The dense model, and the weights of the terms.
        inputs: A batch: the model's inputs [batch, tokens], and `targets` where the task has labels. `labelled` says which
            rows have one, where some have none. `answers` are the teachers' outputs where they are known: of all teachers, or
            of all but the dense model where its hidden states are learned too.
        bf16: Whether the teacher computes in bf16 too.

    Returns:
        A scalar.
    """
    weights, targets = teacher.config, inputs.get("targets")
    outputs, states = task.forward(student, inputs, hidden=weights.hidden > 0)
    wanted, wanted_states = _taught(task, teacher, inputs, bf16=bf16)
    loss = weights.logits * task.distill_loss(outputs, wanted, weights.temperature, targets)
    if targets is not None and weights.labels:
        labelled = outputs[inputs["labelled"]] if "labelled" in inputs else outputs
        loss = loss + weights.labels * task.label_loss(labelled, targets)
    if weights.hidden:
        places = state_positions(teacher.model.config, teacher.layers)
        errors = [
            functional.mse_loss(unpadded(ours, inputs).float(), unpadded(wanted_states[place], inputs).float())
            for ours, place in zip(states, places, strict=True)
        ]
        loss = loss + weights.hidden * torch.stack(errors).mean()
    return loss


def _taught(
    task: Task, teacher: Teacher, inputs: dict[str, torch.Tensor], *, bf16: bool
) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Give the teacher's outputs and hidden states, of the student's tokens and dimensions where these are fewer."""
    answers = inputs.get("answers")
    if answers is not None and not teacher.config.hidden:
        return answers, ()
    # accelerate runs only the trained model under autocast.
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        shown = dict(inputs)
        if teacher.tokens is not None:
            shown["input_ids"] = teacher.tokens[inputs["input_ids"]]
        outputs, states = task.forward(teacher.model, shown, hidden=teacher.config.hidden > 0)
        if answers is not None:
            others = teacher.config.teachers - 1
            outputs = (outputs.float() + others * answers) / (others + 1)
        elif teacher.others:
            every = [outputs, *(task.forward(other, shown)[0] for other in teacher.others)]
            outputs = torch.stack([one.float() for one in every]).mean(0)
        if teacher.hidden is not None:
            states = tuple(one[..., teacher.hidden] for one in states)
        return outputs if teacher.tokens is None else task.among(outputs, teacher.tokens), states

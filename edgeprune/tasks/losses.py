"""Compute the losses that tasks share: the losses of a softmax, and the random signs that other losses need."""

import torch
from torch.nn import functional

from edgeprune.tasks.example import IGNORED
from edgeprune.tasks.roles import Losses, Reduction

__all__ = ["SoftmaxLosses", "random_signs"]


class SoftmaxLosses(Losses):
    """Compute the losses of a task whose rows each choose one of some classes."""

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        """Give raw outputs as [rows, classes], one softmax for each row. With targets, leave out rows without one."""
        return outputs

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        classes = targets[targets != IGNORED]
        loss = functional.cross_entropy(self.rows(outputs, targets).float(), classes, reduction="sum")
        return loss if reduction == "sum" else loss / max(1, len(classes))

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the KL divergence at temperature T, times T², as a mean over the rows; 0 if there are no rows.

        Hinton et al., https://arxiv.org/abs/1503.02531.
        """
        student, teacher = self.rows(student, targets), self.rows(teacher, targets)
        divergence = functional.kl_div(
            functional.log_softmax(student.float() / temperature, -1),
            functional.log_softmax(teacher.float() / temperature, -1),
            log_target=True,
            reduction="sum",
        )
        return divergence / max(1, len(student)) * temperature**2

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum the loss on classes drawn from the outputs' own probabilities.

        Its squared gradients average to the Fisher information, the curvature of the KL divergence (Martens,
        https://arxiv.org/abs/1412.1193).
        """
        outputs = self.rows(outputs, targets).float()
        drawn = torch.multinomial(outputs.detach().softmax(-1), 1, generator=generator)[:, 0]
        return functional.cross_entropy(outputs, drawn, reduction="sum")


def random_signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw +1 or -1 with equal probability, in the shape and type of `like`."""
    return torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) * 2 - 1

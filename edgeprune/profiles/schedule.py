"""Say what each round of pruning does: how the amounts of the steps grow, all of them together, or one step after the other.

    schedule: {shape: stepwise}
    steps:
      - {method: structured, keep_heads: 0.5, keep_ffn: 0.5}
      - {method: layers, remove: 3}
      - {method: reconstruct}

In two rounds, the first halves the width and the second drops the layers; both solve again what is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Literal, Self

from pydantic import Field, model_validator

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.steps import (
    GradientStep,
    LayersStep,
    MagnitudeStep,
    MasksStep,
    NMStep,
    ReconstructStep,
    Step,
    StructuredStep,
)

__all__ = ["Begun", "Schedule", "after_round", "order_fault", "rounds_of", "steps_of_round"]

_KEPT = ("keep_heads", "keep_ffn", "keep_hidden")


class Schedule(Frozen):
    """Say how much of the final amount is gone after each round (Zhu and Gupta, https://arxiv.org/abs/1710.01878)."""

    shape: Literal["constant", "linear", "cubic", "stepwise"] = "linear"
    """constant: everything in the first round; linear: the same amount in each round; cubic: much at first, then ever
    less. stepwise: the steps take turns; a step begins in the round after the step before it has reached its final
    amount."""
    start: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the final amount that is gone at once, before the shape begins."""

    @model_validator(mode="after")
    def _starts(self) -> Self:
        idle = {
            "constant": "which takes all in the first round",
            "stepwise": "whose steps begin with what the steps before have left",
        }
        if self.start and self.shape in idle:
            raise ValueError(f"start has no effect on {self.shape}, {idle[self.shape]}; leave one of them out")
        return self

    def amount(self, round_number: int, rounds: int) -> float:
        """Return the fraction of a step's final amount that is gone after one of the step's rounds (from 1)."""
        power = {"constant": 0, "linear": 1, "cubic": 3, "stepwise": 1}[self.shape]
        if power == 0 or round_number == rounds:
            return 1.0
        return 1.0 - (1.0 - self.start) * (1.0 - round_number / rounds) ** power


def rounds_of(steps: Sequence[Step], schedule: Schedule, rounds: int) -> list[range]:
    """List for each step the rounds (from 1) in which it is done.

    Under `stepwise`, the steps that remove something share the rounds out in their order. A step whose amount can't grow
    gets one round. The others get equal numbers of the rounds that are left; what doesn't divide goes to the last ones.
    `reconstruct` removes nothing, and is done in every round.
    """
    everywhere = range(1, rounds + 1)
    if schedule.shape != "stepwise":
        return [everywhere] * len(steps)
    growing = [place for place, step in enumerate(steps) if _grows(step)]
    spare = rounds - len(_removing(steps))
    found, first = [], 1
    for place, step in enumerate(steps):
        if isinstance(step, ReconstructStep):
            found.append(everywhere)
            continue
        count = 1
        if _grows(step):
            turn = growing.index(place)
            count += spare * (turn + 1) // len(growing) - spare * turn // len(growing)
        found.append(range(first, first + count))
        first += count
    return found


def steps_of_round(
    steps: Sequence[Step], schedule: Schedule, round_number: int, rounds: int
) -> tuple[Step | None, ...]:
    """Return the steps with their amounts after a round (from 1); None in the place of a step that isn't done in it."""
    found: list[Step | None] = []
    for place, (step, turn) in enumerate(zip(steps, rounds_of(steps, schedule, rounds), strict=True)):
        if round_number not in turn:
            found.append(None)
            continue
        begun = Begun.after(steps[:place] if schedule.shape == "stepwise" else ())
        found.append(after_round(step, schedule.amount(turn.index(round_number) + 1, len(turn)), begun))
    return tuple(found)


def order_fault(steps: Sequence[Step], schedule: Schedule, rounds: int) -> str | None:
    """Say why the steps can't have this order in so many rounds; None if they can."""
    if schedule.shape == "stepwise" and (fault := _turns_fault(steps, rounds)):
        return fault
    turns = rounds_of(steps, schedule, rounds)
    for (place, earlier), (other, step) in permutations(enumerate(steps), 2):
        if (turns[place][0], place) > (turns[other][-1], other):
            continue  # whenever `step` is done, `earlier` is still to come
        if isinstance(earlier, MagnitudeStep | GradientStep | NMStep) and isinstance(step, ReconstructStep):
            return f"reconstruct comes after {earlier.method} and would undo its zeros; put reconstruct first, in one round"
        if isinstance(earlier, NMStep) and isinstance(step, StructuredStep | MasksStep):
            return f"{step.method} comes after n_m, whose groups of {earlier.m} it would tear apart; put n_m last, in one round"
    if any(
        isinstance(step, StructuredStep) and step.scores and len(turn) > 1
        for step, turn in zip(steps, turns, strict=True)
    ):
        return "scores of one checkpoint can't serve several rounds; remove scores, or prune in one round"
    return None


@dataclass(frozen=True)
class Begun:
    """Hold what is gone of the dense model before a step begins."""

    keep: Mapping[str, float | tuple[float, ...]] = field(default_factory=lambda: dict.fromkeys(_KEPT, 1.0))
    """What is left, by the key of a structured step."""
    layers: int = 0
    """How many layers are gone."""
    sparsity: float | tuple[float, ...] = 0.0

    @classmethod
    def after(cls, steps: Sequence[Step]) -> "Begun":
        """Say what is gone after these steps, each with its final amount."""
        keep: dict[str, float | tuple[float, ...]] = dict(cls().keep)
        layers, zeros = 0, cls().sparsity
        for step in steps:
            match step:
                case StructuredStep():
                    keep |= {name: value for name in _KEPT if (value := getattr(step, name)) != 1}
                case LayersStep(drop=tuple() as drop):
                    layers += len(drop)
                case LayersStep(remove=int(count)):
                    layers = max(layers, count)
                case MagnitudeStep(sparsity=float() | tuple() as sparsity) | GradientStep(sparsity=sparsity):
                    zeros = sparsity
        return cls(keep, layers, zeros)


def after_round(step: Step, amount: float, begun: Begun | None = None) -> Step:
    """Return the step as it is when the fraction `amount` (0 to 1) of its final amount is gone.

    Args:
        step: The step, with its final amount.
        amount: The fraction.
        begun: What is gone before the step begins. None: nothing is.
    """
    begun = begun or Begun()
    match step:
        case StructuredStep():
            return step.model_copy(
                update={
                    name: _between(begun.keep[name], value, amount)
                    for name in _KEPT
                    if (value := getattr(step, name)) != 1
                }
            )
        case LayersStep(remove=int(count)):
            now = max(begun.layers + 1, round(begun.layers + (count - begun.layers) * amount))
            return step.model_copy(update={"remove": min(count, now)})
        case MagnitudeStep(sparsity=float() | tuple() as sparsity) | GradientStep(sparsity=sparsity):
            return step.model_copy(update={"sparsity": _between(begun.sparsity, sparsity, amount)})
        case _:
            return step


def _between(
    start: float | tuple[float, ...], end: float | tuple[float, ...], amount: float
) -> float | tuple[float, ...]:
    """Go the fraction `amount` of the way; a list that leads to one value for all layers counts as its mean."""
    if amount == 1:
        return end  # exactly: a budget that is a rounding error lower costs a unit
    if isinstance(end, tuple):
        starts = start if isinstance(start, tuple) else (start,) * len(end)
        return tuple(one + (other - one) * amount for one, other in zip(starts, end, strict=True))
    mean = sum(start) / len(start) if isinstance(start, tuple) else start
    return mean + (end - mean) * amount


def _removing(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if not isinstance(step, ReconstructStep)]


def _grows(step: Step) -> bool:
    """Tell whether the step has an amount, of which a part can be taken."""
    match step:
        case GradientStep():
            return True
        case StructuredStep():
            return any(getattr(step, name) != 1 for name in _KEPT)
        case LayersStep(remove=int(count)):
            return count > 1
        case MagnitudeStep():
            return step.sparsity is not None
        case _:
            return False


def _turns_fault(steps: Sequence[Step], rounds: int) -> str | None:
    """Say why the steps can't take turns in so many rounds; None if they can."""
    count, shape = len(_removing(steps)), "stages.prune.schedule.shape is stepwise"
    if count < 2:
        return f"{shape}, whose steps take turns, but fewer than two steps remove something; use linear"
    if rounds < count:
        return (
            f"{shape}, which gives each of the {count} steps that remove something a round of its own, but rounds is "
            f"{rounds}; raise rounds to {count} or more"
        )
    if rounds > count and not any(map(_grows, steps)):
        return (
            f"{shape}, but none of the {count} steps has an amount that could grow over several rounds, and rounds is "
            f"{rounds}; lower rounds to {count}"
        )
    return None

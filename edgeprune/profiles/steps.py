"""Describe the steps of pruning as a pipeline's YAML names them: one model for each `method`.

Every amount says what is gone (or left) after the last round. The pipeline's schedule says how amounts grow over the
rounds: all of them together, or one step after the other.

    schedule: {shape: stepwise}
    steps:
      - {method: structured, keep_heads: 0.5, keep_ffn: 0.5}
      - {method: layers, remove: 3}
      - {method: reconstruct}
"""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = [
    "GradientStep",
    "LayersStep",
    "MagnitudeStep",
    "MasksStep",
    "NMStep",
    "ReconstructStep",
    "Schedule",
    "Step",
    "StructuredStep",
    "VocabularyStep",
    "after_round",
    "order_fault",
    "rounds_of",
    "steps_of_round",
]

Fraction = Annotated[float, Field(gt=0, le=1)]
Sparsity = Annotated[float, Field(gt=0, lt=1)]


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


class StructuredStep(Frozen):
    """Remove whole attention heads and FFN neurons, and dimensions of the hidden states."""

    method: Literal["structured"]
    keep_heads: Fraction | tuple[Fraction, ...] = 1.0
    """Fraction of the dense model's heads left after the last round; or a list with one fraction per layer."""
    keep_ffn: Fraction | tuple[Fraction, ...] = 1.0
    """Fraction of the dense model's FFN neurons left after the last round; or a list with one fraction per layer."""
    keep_hidden: Fraction = 1.0
    """Fraction of the dense model's hidden size left after the last round."""
    importance: Literal["random", "magnitude", "taylor", "fisher", "activation"] = "fisher"
    signal: Literal["auto", "labels", "divergence"] = "auto"
    """What the gradient criteria differentiate. labels: the loss on labels; divergence: the divergence from the outputs
    that the model has before the step; auto: labels where the data has them, else divergence."""
    allocation: Literal["uniform", "global", "multiply_adds"] = "uniform"
    """uniform: the same fractions in every layer, rounded so that the sum is right. global: the heads of all layers
    ranked together, and the neurons of all layers ranked together. multiply_adds: heads and neurons ranked together by
    score per multiply-add, and as many kept as have the cost of uniform's choice. With a list of fractions, global has
    nothing to choose."""
    head_cost: PositiveFloat = 1.0
    """How many times as long a head takes on the target as neurons of the same multiply-adds; `multiply_adds` charges each
    head so much more."""
    allow_empty: bool = False
    """Whether `global` and `multiply_adds` may leave a layer without heads or without neurons."""
    align: PositiveInt = 64
    """FFN widths and the hidden size are multiples of this."""
    samples: PositiveInt = 1024
    """Training texts that taylor, fisher and activation read."""
    scores: Path | None = None
    """A pruned artifact's `scores.safetensors`, to use instead of computing scores again. The scores must be those of
    the same checkpoint, the same criterion and the same place among the steps."""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        idle = [
            ("signal", self.signal != "auto", self.importance in ("fisher", "taylor")),
            ("samples", self.samples != 1024, self.importance in ("fisher", "taylor", "activation")),
        ]
        for name, given, read in idle:
            if given and (not read or self.scores):
                what = "saved" if self.scores else self.importance
                raise ValueError(f"{name} has no effect on {what} scores; leave it out")
        if self.scores and self.keep_hidden < 1:
            raise ValueError(
                "keep_hidden needs scores of the hidden dimensions, but saved scores are those of heads and neurons alone; "
                "leave one of them out"
            )
        if self.allow_empty and self.allocation == "uniform":
            raise ValueError("allow_empty has no effect on uniform, which empties no layer; leave it out")
        if self.head_cost != 1.0 and self.allocation != "multiply_adds":
            raise ValueError(
                f"head_cost has no effect on {self.allocation}, which doesn't weigh heads against neurons; leave it out, or "
                f"set allocation: multiply_adds"
            )
        return self

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if self.allocation != "multiply_adds":
            return self
        if self.importance not in ("fisher", "taylor"):
            raise ValueError(
                f"allocation multiply_adds compares heads with neurons, which {self.importance} scores don't allow; use "
                f"fisher or taylor"
            )
        if isinstance(self.keep_heads, tuple) or isinstance(self.keep_ffn, tuple):
            raise ValueError(  # noqa: TRY004 (pydantic reports no other)
                "allocation multiply_adds says itself what each layer keeps; give fractions, not lists"
            )
        return self


class MasksStep(Frozen):
    """Keep exactly the heads and neurons that a file names."""

    method: Literal["masks"]
    file: Path
    """YAML or safetensors with `head_mask` [layers, heads] and/or `ffn_mask` [layers, neurons] of 0 and 1."""


class LayersStep(Frozen):
    """Drop whole layers: named ones, evenly spaced ones, or those whose loss hurts the metric least."""

    method: Literal["layers"]
    drop: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    """Numbers of the dense model's layers, from 0."""
    remove: PositiveInt | None = None
    """How many layers are gone after the last round, counting those that an earlier step dropped."""
    choose: Literal["spaced", "metric"] = "spaced"
    """Which layers `remove` takes. spaced: those without which the others lie evenly over the dense model's depth, the
    first one among them. metric: one after the other the layer without which the metric on the selection split is
    highest."""
    shortlist: PositiveInt | None = 3
    """How many layers `metric` tries in each turn: those with the least block influence; null tries all."""
    samples: PositiveInt = 512
    """Selection texts that `metric` measures each trial on."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.drop is None) == (self.remove is None):
            raise ValueError("give either drop (which layers) or remove (how many)")
        if self.drop is not None and (self.choose, self.shortlist, self.samples) != ("spaced", 3, 512):
            raise ValueError(
                "choose, shortlist and samples have no effect on drop, which names the layers; leave them out"
            )
        if self.choose == "spaced" and (self.shortlist, self.samples) != (3, 512):
            raise ValueError(
                "shortlist and samples have no effect on spaced layers, which nothing is measured for; leave them out, or "
                "set choose: metric"
            )
        return self


class MagnitudeStep(Frozen):
    """Zero the smallest weights (unstructured sparsity). Dense kernels run no faster for it."""

    method: Literal["magnitude"]
    sparsity: Sparsity | tuple[Sparsity, ...] | None = None
    """Fraction of weights that is zero after the last round; or a list with one fraction per encoder layer."""
    threshold: PositiveFloat | None = None
    """Zero every weight smaller than this, whatever fraction that is."""
    scope: Literal["global", "layer"] = "global"
    """global: the weights of all layers ranked together; layer: the same sparsity in every layer."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.sparsity is None) == (self.threshold is None):
            raise ValueError("give either sparsity or threshold")
        if self.scope == "layer" and not isinstance(self.sparsity, float):
            raise ValueError("scope has no effect on a threshold or a list of sparsities; leave it out")
        return self


class GradientStep(Frozen):
    """Zero the weights with the smallest gradient scores (unstructured sparsity)."""

    method: Literal["gradient"]
    criterion: Literal["gradient", "weight_gradient"] = "weight_gradient"
    """Mean over batches of |∂L/∂w|, or of |w · ∂L/∂w|."""
    sparsity: Sparsity | tuple[Sparsity, ...]
    scope: Literal["global", "layer"] = "global"
    signal: Literal["auto", "labels", "divergence"] = "auto"
    batches: PositiveInt = 32
    batch_size: PositiveInt = 16

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.scope == "layer" and not isinstance(self.sparsity, float):
            raise ValueError("scope has no effect on a list of sparsities; leave it out")
        return self


class NMStep(Frozen):
    """Keep the `n` largest of every `m` weights along the input dimension, for sparse tensor cores."""

    method: Literal["n_m"]
    n: PositiveInt = 2
    m: PositiveInt = 4

    @model_validator(mode="after")
    def _some_left_out(self) -> Self:
        if not self.n < self.m:
            raise ValueError(f"n should be below m, but n is {self.n} and m is {self.m}")
        return self


class VocabularyStep(Frozen):
    """Keep the tokens that a corpus needs."""

    method: Literal["vocabulary"]
    corpus: Path | None = None
    """A text file, or JSON Lines with `text`; null: the training texts."""
    min_count: PositiveInt = 1
    """Keep tokens that occur at least this often."""
    floor: PositiveInt = 1000
    """Keep at least this many tokens. Where the corpus needs fewer, the vocabulary's first tokens are added."""


class ReconstructStep(Frozen):
    """Re-solve each layer's output projections to bring its states back to the dense model's.

    Where hidden states have lost dimensions, re-solve what reads them too.
    """

    method: Literal["reconstruct"]
    samples: PositiveInt = 512
    """Training texts for calibration."""
    ridge: float = Field(default=1e-2, ge=1e-6, le=1e6)
    """Weight of staying near the present projection, relative to the mean square of the activations."""


Step = Annotated[
    StructuredStep | MasksStep | LayersStep | MagnitudeStep | GradientStep | NMStep | VocabularyStep | ReconstructStep,
    Field(discriminator="method"),
]


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
        alike = [one for one in steps[:place] if type(one) is type(step)]
        begun = alike[-1] if alike and schedule.shape == "stepwise" else None
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


def after_round(step: Step, amount: float, begun: Step | None = None) -> Step:
    """Return the step as it is when the fraction `amount` (0 to 1) of its final amount is gone.

    Args:
        step: The step, with its final amount.
        amount: The fraction.
        begun: An earlier step of the same method, with what is gone before this one begins. None: nothing is.
    """
    match step:
        case StructuredStep():
            return step.model_copy(
                update={
                    name: _between(getattr(begun, name, 1.0), getattr(step, name), amount)
                    for name in ("keep_heads", "keep_ffn", "keep_hidden")
                }
            )
        case LayersStep(remove=int(count)):
            gone = begun.remove or len(begun.drop or ()) if isinstance(begun, LayersStep) else 0
            now = max(gone + 1, round(gone + (count - gone) * amount))
            return step.model_copy(update={"remove": min(count, now)})
        case MagnitudeStep(sparsity=float() | tuple() as sparsity) | GradientStep(sparsity=sparsity):
            zeros = begun.sparsity if isinstance(begun, MagnitudeStep | GradientStep) else None
            return step.model_copy(update={"sparsity": _between(zeros or 0.0, sparsity, amount)})
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
        case StructuredStep() | GradientStep():
            return True
        case LayersStep(remove=amount) | MagnitudeStep(sparsity=amount):
            return amount is not None
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

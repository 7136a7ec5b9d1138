"""Describe the steps of pruning as a pipeline's YAML names them: one model for each `method`.

Every amount says what is gone (or left) after the last round. The pipeline's schedule (`profiles/schedule.py`) says how
amounts grow over the rounds.

    steps:
      - {method: structured, keep_heads: 0.5, keep_ffn: 0.5}
      - {method: layers, remove: 3}
      - {method: reconstruct}
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = [
    "FactorEmbeddingsStep",
    "GradientStep",
    "LayersStep",
    "MagnitudeStep",
    "MasksStep",
    "NMStep",
    "ReconstructStep",
    "Step",
    "StructuredStep",
    "VocabularyStep",
]

Fraction = Annotated[float, Field(gt=0, le=1)]
Sparsity = Annotated[float, Field(gt=0, lt=1)]


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


class FactorEmbeddingsStep(Frozen):
    """Factor the token embedding into a narrow table and one projection of its rows."""

    method: Literal["factor_embeddings"]
    rank: PositiveInt
    """Columns of the narrow table."""


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
    StructuredStep
    | MasksStep
    | LayersStep
    | MagnitudeStep
    | GradientStep
    | NMStep
    | VocabularyStep
    | FactorEmbeddingsStep
    | ReconstructStep,
    Field(discriminator="method"),
]

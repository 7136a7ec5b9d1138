"""Say how a model is trained: for how long, how fast, and by what it is decided when it is done.

prepare: {epochs: auto, learning_rate: auto}     # until it is at its best
prepare: {epochs: 3, learning_rate: 1.0e-4}      # three epochs
"""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, PositiveInt, model_validator

from edgeprune.base.strict_yaml import Frozen

__all__ = ["PrepareConfig", "TrainingConfig"]

_MOST_EPOCHS = 20
_PATIENCE = 3
"""What `epochs: auto` stands for."""

_LEARNING_RATE = 1e-4
_OTHER_RATES = (3e-5, 3e-4)
_FEW_ROWS = 2000
"""What `learning_rate: auto` stands for: with so few training rows or fewer, other rates are tried too."""

_Rate = Annotated[float, Field(gt=0, lt=1)]


class _LoopConfig(Frozen):
    """Hold what every training has: how a step is taken, and how often the model is evaluated."""

    patience: PositiveInt | None = None
    """Evaluations in a row without a better metric on the selection split, after which the learning rate, constant until then,
    falls to 0 in one epoch more. null: all epochs are trained, and the learning rate falls to 0 over all of them."""
    batch_size: PositiveInt = 32
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; with `patience`, share of the fewest steps that there may be."""
    weight_decay: float = Field(default=0.01, ge=0)
    evaluations_per_epoch: PositiveInt = 1
    """Evaluations on the selection split in every epoch. The best evaluated state is kept; with `patience`, an earlier one
    only if it is better by more than noise. Training can resume from each."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the CPU has instructions for it, else fp32."""
    freeze_embeddings: bool = False

    @property
    def key_parts(self) -> dict[str, JsonValue]:
        """What the key of a stage has beside these settings: since its second version, a patience ends in a falling rate."""
        return {} if self.patience is None else {"patience_version": 2}


class TrainingConfig(_LoopConfig):
    """Hold the settings of one training."""

    epochs: PositiveInt = 2
    """Epochs that are trained; with `patience`, the most of them."""
    learning_rate: _Rate = _LEARNING_RATE

    @model_validator(mode="after")
    def _stops_early(self) -> Self:
        if (fault := _patience_fault(self.patience, self.epochs * self.evaluations_per_epoch)) is not None:
            raise ValueError(fault)
        return self


class PrepareConfig(_LoopConfig):
    """Configure the training of the dense baseline."""

    epochs: PositiveInt | Literal["auto"] = 3
    """Epochs that are trained; with `patience`, the most of them. auto: 20 at most, with a patience of 3 unless it is
    given."""
    learning_rate: _Rate | Annotated[tuple[_Rate, ...], Field(min_length=1)] | Literal["auto"] = _LEARNING_RATE
    """A list: each one trains a model, and the best model on the selection split is kept. auto: 1e-4, and where there are
    2,000 training rows or fewer also 3e-5 and 3e-4."""
    max_length: int = Field(default=128, ge=4)
    """Tokens that a text is cut to, in every stage and in the package. Refused for images, which aren't cut."""
    selection_share: float = Field(default=0.1, gt=0, le=0.5)
    """Share of the training rows that every choice is made by, where no file has such rows. More rows tell more models apart,
    and leave fewer to learn from."""

    @model_validator(mode="after")
    def _stops_early(self) -> Self:
        epochs = _MOST_EPOCHS if self.epochs == "auto" else self.epochs
        if (fault := _patience_fault(self.patience, epochs * self.evaluations_per_epoch)) is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _rates_differ(self) -> Self:
        rates = self.learning_rate
        if isinstance(rates, tuple) and len(set(rates)) < len(rates):
            raise ValueError(f"learning_rate names {_twice(rates):g} twice; name each rate once")
        return self

    def trainings(self, rows: int) -> tuple[TrainingConfig, ...]:
        """Give the trainings of which the best one is kept.

        Args:
            rows: How many training rows there are.
        """
        match self.learning_rate:
            case "auto":
                rates = (_LEARNING_RATE, *(_OTHER_RATES if rows <= _FEW_ROWS else ()))
            case tuple() as named:
                rates = named
            case rate:
                rates = (rate,)
        loop = {name: getattr(self, name) for name in _LoopConfig.model_fields}
        if self.epochs == "auto":
            loop |= {"epochs": _MOST_EPOCHS, "patience": self.patience or _PATIENCE}
        else:
            loop["epochs"] = self.epochs
        return tuple(TrainingConfig(learning_rate=rate, **loop) for rate in rates)


def _patience_fault(patience: int | None, evaluations: int) -> str | None:
    """Say why a patience has no effect on a training with so many evaluations; None if it has."""
    if patience is None or patience < evaluations - 1:
        return None
    return (
        f"patience is {patience}, but with {evaluations} evaluation(s) in all the training would never stop early; lower "
        f"patience, raise epochs or evaluations_per_epoch, or leave patience out"
    )


def _twice(rates: tuple[float, ...]) -> float:
    return next(rate for rate in rates if rates.count(rate) > 1)

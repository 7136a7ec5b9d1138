"""Describe a pipeline: its stages, and the settings of each one. These are the models behind the YAML.

A stage's model holds everything that its YAML may say, with units, bounds and defaults:

    pipeline = load_pipeline("structured", ["stages.finetune.epochs=1"])
    pipeline.stages.finetune.epochs    # 1
"""

from typing import Literal, Self

from pydantic import Field, JsonValue, PositiveFloat, PositiveInt, field_validator, model_validator

from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.schedule import Schedule, order_fault
from edgeprune.profiles.search import Objective, SearchConfig
from edgeprune.profiles.steps import Step
from edgeprune.profiles.training import PrepareConfig, TrainingConfig
from edgeprune.profiles.variant import Layout

__all__ = [
    "BLOCK",
    "FEWEST_TURNS",
    "CascadeConfig",
    "DistillConfig",
    "ExampleLanguage",
    "ExportConfig",
    "FinetuneConfig",
    "Pipeline",
    "PruneConfig",
    "QuantizeConfig",
    "RaceConfig",
    "ReplaceConfig",
]

BLOCK = 10
"""Runs of one model before it is the next model's turn: few enough that all models share a disturbance, enough for warm
caches."""


FEWEST_TURNS = 6
"""The fewest turns that give a ratio a 95% interval. The median lies between the smallest and the largest of six ratios
with a probability of 1 - 2 · 0.5^6 = 96.9%."""


class PruneConfig(Frozen):
    """Configure pruning: the steps in their order."""

    steps: tuple[Step, ...] = Field(min_length=1)
    schedule: Schedule = Schedule()
    """How the amounts grow over the pipeline's rounds, or which step is done in which of them."""


_TEMPERATURE = 2.0


class DistillConfig(Frozen):
    """Weigh the terms of the distillation loss. The teacher is the dense model."""

    teachers: PositiveInt = 1
    """Dense models whose mean outputs are learned: the build's own, and others of the next seeds, which are trained on the
    same rows."""
    temperature: PositiveFloat = _TEMPERATURE
    logits: float = Field(default=1.0, ge=0)
    """Divergence from the teacher's outputs."""
    hidden: float = Field(default=10.0, ge=0)
    """Mean squared error to the teacher's hidden states, over layers and unpadded tokens."""
    labels: float = Field(default=0.3, ge=0)
    """The task's own loss; it has no effect for a task without labels."""

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not self.logits + self.hidden + self.labels > 0:
            raise ValueError("logits, hidden and labels are all 0; at least one must be above 0")
        if self.teachers > 1 and not self.logits:
            raise ValueError(f"teachers is {self.teachers}, but has no effect without logits, which is 0; leave it out")
        if self.temperature != _TEMPERATURE and not self.logits:
            raise ValueError("temperature has no effect without logits, which is 0; leave it out")
        return self


class ReplaceConfig(Frozen):
    """Configure the replacement of words by others."""

    texts: float = Field(default=0.5, gt=0, le=1)
    """Share of an epoch's texts in which words are replaced. Only the dense model teaches on them."""
    words: float = Field(default=0.4, gt=0, le=1)
    """Share of such a text's words that are replaced. A word counts if it stands alone in the texts and has a token of its
    own."""
    by: Literal["embedding", "context"] = "embedding"
    """embedding: by its neighbours in the dense model's input embedding. context: by the likeliest words at its place in the
    text, which the masked-language head of the given checkpoint predicts."""


class FinetuneConfig(TrainingConfig):
    """Configure the recovery after pruning."""

    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    distill: DistillConfig = DistillConfig()
    augment: float = Field(default=0, ge=0, le=1)
    """Share of an epoch's texts that are put together from pieces of training texts. Only the dense model teaches on
    them."""
    replace: ReplaceConfig | None = None
    """Texts in which words are replaced, whether they are put together from pieces or not; null: none."""

    @property
    def key_parts(self) -> dict[str, JsonValue]:
        """What the key has beside these settings: since the second version, words are replaced before pieces are taken."""
        both = self.augment > 0 and self.replace is not None
        return {**super().key_parts, **({"pieces_version": 2} if both else {})}

    @model_validator(mode="after")
    def _taught(self) -> Self:
        for name, is_asked in (("augment", self.augment > 0), ("replace", self.replace is not None)):
            if is_asked and not self.distill.logits + self.distill.hidden:
                raise ValueError(f"{name} needs the dense model's answers, but distill.logits and distill.hidden are 0")
        return self


class ExportConfig(Frozen):
    """Configure the export from PyTorch to ONNX."""

    opset: int = Field(default=20, ge=18, le=23)
    tolerance: PositiveFloat = 1e-4
    """Largest difference of outputs that is allowed, relative to max(1, largest output)."""


class RaceConfig(Frozen):
    """Configure the race that finds the fastest variant of the graph on the target."""

    processes: PositiveInt = 6
    """Fresh processes in which the last few variants take turns."""
    samples: int = Field(default=30, ge=10)
    """Timed runs of each variant in each process. The earlier rounds use one process: the first round takes this many
    runs, the second twice as many, and so on."""

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        turns = self.processes * -(-self.samples // BLOCK)
        if turns < FEWEST_TURNS:
            raise ValueError(
                f"{self.processes} process(es) of {self.samples} samples are {turns} turns of {BLOCK}, but telling "
                f"variants apart takes {FEWEST_TURNS} turns or more; raise samples or processes"
            )
        return self


class QuantizeConfig(Frozen):
    """Configure nothing: the target decides how weights are quantized."""


class CascadeConfig(Frozen):
    """Configure a first stage, which answers the texts that it is sure of in place of the encoder.

    For single-label text classification on the CPU, one text at a time.
    """

    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the target's `metric_drop` that the first stage may lose against the encoder alone. The rest is left for
    pruning and precision."""
    drop: float = Field(default=0.005, gt=0, lt=1)
    """What it may lose for a target without a `metric_drop`."""
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    """How sure it must be that new texts lose no more than that."""
    pair_bits: int = Field(default=18, ge=1, le=22)
    """Pairs of neighbouring tokens share 2^pair_bits rows of the first stage's table. A row takes a byte for each label."""


class BenchmarkConfig(Frozen):
    """Configure how often the models are timed on the target."""

    processes: PositiveInt = 8
    """Fresh processes; fewer than 7 allow no interval, and no verdict on a latency budget."""
    samples: int = Field(default=40, ge=16)
    """Timed runs of each model in each process."""
    warmup: int = Field(default=10, ge=1)


ExampleLanguage = Literal["cpp", "js", "java", "kotlin"]
"""Languages in which there is a program that answers with a package."""


class PackageConfig(Frozen):
    """Configure what the package carries beside the model, and what lies beside the package."""

    goldens: PositiveInt = 8
    """Texts or images whose outputs are kept for `verify`."""
    layout: Layout = "portable"
    """portable: loaders of ONNX models open the folder too, so its graph reads the attention mask. bare: for `run.py` and
    your own code, whose graph may do without a mask."""
    tokenizer: Literal["json", "graph"] = "json"
    """json: the tokenizer is a file of the package. graph: beside the package there is also one file that takes a text and
    gives a label; onnxruntime-extensions runs it."""
    page: bool = False
    """Also write a static folder beside the package, whose page answers typed texts in a browser. For text
    classification only."""
    examples: tuple[ExampleLanguage, ...] = ()
    """Languages of which a small program is put beside the package, which answers as the package does. All but js
    read texts with the graph of `tokenizer: graph`."""

    @field_validator("examples")
    @classmethod
    def _named_once(cls, examples: tuple[ExampleLanguage, ...]) -> tuple[ExampleLanguage, ...]:
        twice = sorted({language for language in examples if examples.count(language) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice; name each language once")
        return examples


class Stages(Frozen):
    """Hold the settings of every stage. prune, search, finetune, race and cascade may be null."""

    prepare: PrepareConfig = PrepareConfig()
    prune: PruneConfig | None = None
    search: SearchConfig | None = None
    """The search for the model that the target's budgets ask for. With a search, the steps of `prune` are done once,
    before the first rung."""
    finetune: FinetuneConfig | None = None
    export: ExportConfig = ExportConfig()
    race: RaceConfig | None = RaceConfig()
    """null: there is no race, and the graph gets only the rewrites that need no measurement."""
    quantize: QuantizeConfig = QuantizeConfig()
    cascade: CascadeConfig | None = None
    """null: the encoder answers every text."""
    benchmark: BenchmarkConfig = BenchmarkConfig()
    package: PackageConfig = PackageConfig()


class Pipeline(Frozen):
    """Define a pipeline: its seed, its rounds and its stages."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    description: str
    seed: int = Field(default=0, ge=0, lt=2**32)
    rounds: PositiveInt = 1
    """How often to prune and finetune. The prune stage's schedule says how much each round takes."""
    objective: Objective | None = None
    """What a search looks for; null: nothing is searched, and `stages.prune` says what is removed."""
    stages: Stages

    @model_validator(mode="after")
    def _search_has_objective(self) -> Self:
        if self.objective is not None and self.stages.search is None:
            raise ValueError(
                f"objective is {self.objective}, but there is no search; use the pipeline fit, or add stages.search: {{}}"
            )
        if self.objective is None and self.stages.search is not None:
            raise ValueError("stages.search needs an objective: latency, metric or size")
        if self.stages.search is not None and self.stages.finetune is None:
            raise ValueError("stages.search recovers every model that it makes, but finetune is null; configure it")
        if self.stages.search is not None and self.rounds > 1:
            raise ValueError(f"rounds is {self.rounds}, but a search has rungs in place of rounds; leave rounds out")
        return self

    @model_validator(mode="after")
    def _rounds_need_pruning(self) -> Self:
        if self.rounds > 1 and self.stages.prune is None:
            raise ValueError(f"rounds is {self.rounds}, but there is no prune stage to repeat")
        schedule = self.stages.prune.schedule if self.stages.prune else Schedule()
        if self.rounds == 1 and schedule.shape != "stepwise" and schedule != Schedule():
            raise ValueError("stages.prune.schedule says how amounts grow over rounds, but rounds is 1; leave it out")
        return self

    @model_validator(mode="after")
    def _steps_can_follow(self) -> Self:
        prune = self.stages.prune
        fault = order_fault(prune.steps, prune.schedule, self.rounds) if prune else None
        if fault:
            raise ValueError(fault)
        return self

"""What a build is asked for, what of it can't be done, and how to ask for it elsewhere. Light: no torch."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from edgeprune.base.errors import UsageError
from edgeprune.data.table import DataSpec
from edgeprune.models.record import read_pruning
from edgeprune.models.reference import ModelSource
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.runners import EmulatedConfig
from edgeprune.profiles.steps import GradientStep, LayersStep, MasksStep, StructuredStep, VocabularyStep
from edgeprune.profiles.target import Target
from edgeprune.pruning.masks import read_masks
from edgeprune.tasks.registry import IMAGE_TASKS, TAUGHT_ONLY, WHOLE_TEXTS, TaskName

__all__ = ["BuildRequest", "check", "command_on_device"]


@dataclass(frozen=True)
class BuildRequest:
    """Everything a build is asked for, profiles already read."""

    model: str
    data: DataSpec
    pipeline: Pipeline
    target: Target
    pipeline_reference: str
    """The name or path that the pipeline was read from; likewise the target's."""
    target_reference: str
    overrides: tuple[str, ...] = ()
    store: Path = Path(".edgeprune")
    output: Path = Path("dist")
    name: str | None = None
    """Of the package; None: the model's."""
    release: str = "0"
    task: str | None = None
    problem_type: str | None = None
    offline: bool = False
    baseline: Path | None = None
    """A package that the new one is timed against, by turns."""
    max_regression: float = 0.05
    """The share by which the new one may be slower."""


def check(request: BuildRequest, task: TaskName, model: ModelSource) -> None:
    """Raises UsageError for what can't be done to this model for this task."""
    if task in IMAGE_TASKS:
        _check_images(request)
    else:
        _check_workload(request)
    _check_signals(request, task)
    _check_augmentation(request, task)
    _check_layers(request, model)


def command_on_device(request: BuildRequest) -> str:
    """The command that makes the same package on the target itself and measures it there."""
    data = request.data
    words = ["edgeprune", "build", request.model, "--data", data.train, "--target", request.target_reference]
    words += ["--pipeline", request.pipeline_reference]
    options = {
        "--selection-data": data.selection,
        "--test-data": data.test,
        "--text-column": data.text_column,
        "--pair-column": data.pair_column,
        "--label-column": data.label_column,
        "--max-rows": data.max_rows,
        "--task": request.task,
        "--problem-type": request.problem_type,
        "--name": request.name,
        "--baseline": request.baseline,
        "--max-regression": None if request.baseline is None else request.max_regression,
    }
    for option, value in options.items():
        words += [] if value is None else [option, str(value)]
    elsewhere = request.target.runner is None or isinstance(request.target.runner, EmulatedConfig)
    runner = ["target.runner={type: local}"] if elsewhere else []
    for override in [*request.overrides, *runner]:
        words += ["--set", override]
    return shlex.join([*words, "--release", request.release])


def _check_workload(request: BuildRequest) -> None:
    length, limit = request.target.workload.lengths, request.pipeline.stages.prepare.max_length
    if isinstance(length, int) and length > limit:
        raise UsageError(
            f"{request.target.name} times texts of {length} tokens (workload.lengths), but the pipeline cuts every text to "
            f"{limit} (stages.prepare.max_length); make them fit"
        )


def _check_images(request: BuildRequest) -> None:
    """Raises UsageError for what has a meaning for texts only."""
    stages, length = request.pipeline.stages, request.target.workload.lengths
    if "max_length" in stages.prepare.model_fields_set:
        raise UsageError(
            "stages.prepare.max_length cuts texts, but the model reads images; leave it out of the pipeline"
        )
    if isinstance(length, int):
        raise UsageError(
            f"{request.target.name} times texts of {length} tokens (workload.lengths), but the model reads images, which all "
            f"have one size; set target.workload.lengths to data"
        )
    for number, step in enumerate(stages.prune.steps if stages.prune else ()):
        if isinstance(step, VocabularyStep):
            raise UsageError(
                f"stages.prune.steps.{number} prunes a vocabulary, but the model reads images; leave the step out"
            )


def _check_signals(request: BuildRequest, task: TaskName) -> None:
    prune = request.pipeline.stages.prune
    for number, step in enumerate(prune.steps if prune else ()):
        if isinstance(step, StructuredStep | GradientStep) and step.signal == "labels" and task in TAUGHT_ONLY:
            raise UsageError(
                f"stages.prune.steps.{number}.signal is labels, but this task has none; use divergence, which asks how far the "
                f"outputs move"
            )


def _check_augmentation(request: BuildRequest, task: TaskName) -> None:
    finetune = request.pipeline.stages.finetune
    if finetune and finetune.augment and task not in WHOLE_TEXTS:
        raise UsageError(
            f"stages.finetune.augment puts texts together from pieces, which only {' and '.join(sorted(WHOLE_TEXTS))} can "
            f"learn from; set it to 0 for {task}"
        )


def _check_layers(request: BuildRequest, model: ModelSource) -> None:
    """Raises UsageError for a step that names layers the model doesn't have, or would leave it none."""
    record, config = read_pruning(model.folder), model.config
    if record is not None:
        numbers = [layer.index for layer in record.layers]
    else:
        # Where all layers are one, that one is the only group.
        count = config.get("num_hidden_groups") or config.get("num_hidden_layers") or config.get("n_layers") or 0
        numbers = list(range(count))
    prune, left = request.pipeline.stages.prune, set(numbers)
    for number, step in enumerate(prune.steps if prune and numbers else ()):
        where = f"stages.prune.steps.{number}"
        if isinstance(step, LayersStep):
            if "num_hidden_groups" in config:
                raise UsageError(f"{where} drops layers, but all layers of this model are one; leave the step out")
            _check_removal(step, where, numbers, left)
            left -= set(step.drop or ())
        elif isinstance(step, MasksStep) and step.file.is_file():  # else the stage says that it can't be read
            read_masks(step.file, len(numbers))
        for name in ("keep_heads", "keep_ffn", "sparsity"):
            values = getattr(step, name, None)
            if isinstance(values, tuple) and len(values) != len(numbers):
                raise UsageError(f"{where}.{name} lists {len(values)} values, the model has {len(numbers)} layers")


def _check_removal(step: LayersStep, where: str, numbers: list[int], left: set[int]) -> None:
    if step.drop is not None and not set(step.drop) <= set(numbers):
        raise UsageError(f"{where}.drop names layers of {sorted(step.drop)}, the model has {numbers}")
    if step.drop is not None and left <= set(step.drop):
        raise UsageError(f"{where}.drop names every layer that is left; a model needs at least one")
    if step.remove is not None and step.remove >= len(numbers):
        raise UsageError(
            f"{where}.remove is {step.remove}, the model has {len(numbers)} layers; one at least must stay"
        )

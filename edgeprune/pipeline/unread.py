"""Leave out pipeline keys that nothing reads for a model and its task, so that no artifact's key depends on them.

Light: no torch.
"""

from collections.abc import Collection, Iterator

from edgeprune.pipeline.cascade_budget import why_no_cascade
from edgeprune.pipeline.checks import why_not_narrower
from edgeprune.pipeline.subject import Subject
from edgeprune.profiles.pipeline import CascadeConfig, DistillConfig, Pipeline
from edgeprune.profiles.target import Target
from edgeprune.profiles.training import PrepareConfig, TrainingConfig
from edgeprune.tasks.registry import TAUGHT_ONLY, TaskName
from edgeprune.tasks.spec import ProblemType

__all__ = ["unread_keys", "without_unread"]


def unread_keys(pipeline: Pipeline, subject: Subject, target: Target) -> Iterator[tuple[str, str]]:
    """Yield each key of a pipeline that differs from its default and is not read, with the reason."""
    stages, task = pipeline.stages, subject.task
    if subject.has_head:
        for name in _changed(stages.prepare, PrepareConfig(), TrainingConfig.model_fields):
            yield (
                f"stages.prepare.{name}",
                "the checkpoint has what the task needs, so nothing is trained before pruning",
            )
    if subject.data.spec.selection is not None and _changed(stages.prepare, PrepareConfig(), ["selection_share"]):
        yield "stages.prepare.selection_share", "--selection-data has the rows of the selection split"
    if stages.cascade is not None:
        yield from _of_cascade(stages.cascade, task, subject.problem_type, target)
    if stages.search is not None and len(stages.search.keep_hidden) > 1:
        fixed = why_not_narrower(task, subject.model)
        if fixed is not None:
            yield "stages.search.keep_hidden", fixed
    if stages.finetune is not None:
        yield from _of_distill(stages.finetune.distill, task, subject.problem_type)


def _of_distill(distill: DistillConfig, task: TaskName, problem_type: ProblemType | None) -> Iterator[tuple[str, str]]:
    taught_only, usual = task in TAUGHT_ONLY, DistillConfig()
    if taught_only or problem_type == "regression":
        for name in _changed(distill, usual, ["temperature"]):
            yield (
                f"stages.finetune.distill.{name}",
                "the outputs are no probabilities, which a temperature would soften",
            )
    if taught_only:
        for name in _changed(distill, usual, ["labels"]):
            yield f"stages.finetune.distill.{name}", f"{task} learns from the dense model alone, not from labels"


def _of_cascade(
    cascade: CascadeConfig, task: TaskName, problem_type: ProblemType | None, target: Target
) -> Iterator[tuple[str, str]]:
    """Yield the whole cascade where it can't answer, or else the limit that another one replaces."""
    usual, has_budget = CascadeConfig(), target.budget.metric_drop is not None
    if reason := why_no_cascade(task, problem_type, target):
        yield "stages.cascade", reason
    elif has_budget and cascade.drop != usual.drop:
        yield "stages.cascade.drop", f"{target.name} sets budget.metric_drop, of which stages.cascade.share is taken"
    elif not has_budget and cascade.share != usual.share:
        yield "stages.cascade.share", f"{target.name} sets no budget.metric_drop, so stages.cascade.drop is the limit"


def without_unread(pipeline: Pipeline, keys: Collection[str]) -> Pipeline:
    """Give a pipeline in which some keys have their defaults again."""
    content = pipeline.model_dump()
    for key in keys:
        *path, last = key.split(".")
        section = content
        for part in path:
            section = section[part]
        del section[last]
    return Pipeline.model_validate(content)


def _changed(config: PrepareConfig | DistillConfig, usual: object, names: Collection[str]) -> list[str]:
    return [name for name in names if getattr(config, name) != getattr(usual, name)]

"""Leave out pipeline keys that nothing reads for a model and its task, so that no artifact's key depends on them.

Light: no torch.
"""

from collections.abc import Collection, Iterator

from edgeprune.profiles.pipeline import DistillConfig, Pipeline, PrepareConfig, TrainingConfig
from edgeprune.tasks.registry import TAUGHT_ONLY, TaskName
from edgeprune.tasks.spec import ProblemType

__all__ = ["unread_keys", "without_unread"]


def unread_keys(
    pipeline: Pipeline,
    task: TaskName,
    problem_type: ProblemType | None,
    *,
    has_head: bool,
    has_selection: bool,
    fixed_hidden: str | None,
) -> Iterator[tuple[str, str]]:
    """Yield each key of a pipeline that differs from its default and is not read, with the reason.

    Args:
        pipeline: The pipeline that was asked for.
        task: The build's task.
        problem_type: The kind of a classification; None: it isn't known yet, or the task has none.
        has_head: Whether the checkpoint has the task's head, so that no head is trained.
        has_selection: Whether a file has the rows of the selection split.
        fixed_hidden: Why the model's hidden size can't be pruned; None: it can.
    """
    stages, taught_only = pipeline.stages, task in TAUGHT_ONLY
    if has_head:
        for name in _changed(stages.prepare, PrepareConfig(), TrainingConfig.model_fields):
            yield (
                f"stages.prepare.{name}",
                "the checkpoint has what the task needs, so nothing is trained before pruning",
            )
    if has_selection and _changed(stages.prepare, PrepareConfig(), ["selection_share"]):
        yield "stages.prepare.selection_share", "--selection-data has the rows of the selection split"
    if fixed_hidden is not None and stages.search is not None and len(stages.search.keep_hidden) > 1:
        yield "stages.search.keep_hidden", fixed_hidden
    if stages.finetune is None:
        return
    distill, usual = stages.finetune.distill, DistillConfig()
    if taught_only or problem_type == "regression":
        for name in _changed(distill, usual, ["temperature"]):
            yield (
                f"stages.finetune.distill.{name}",
                "the outputs are no probabilities, which a temperature would soften",
            )
    if taught_only:
        for name in _changed(distill, usual, ["labels"]):
            yield f"stages.finetune.distill.{name}", f"{task} learns from the dense model alone, not from labels"


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


def _changed(config: TrainingConfig | DistillConfig, usual: object, names: Collection[str]) -> list[str]:
    return [name for name in names if getattr(config, name) != getattr(usual, name)]

"""Find out which task a build is for: the task asked for, or the task that its checkpoint was trained for.

The module is light: it needs no torch.
"""

from collections.abc import Sequence
from typing import Any, get_args

from edgeprune.base.errors import ModelError, UsageError
from edgeprune.models.config_checks import architecture_named
from edgeprune.models.reference import reads_images
from edgeprune.tasks.registry import IMAGE_TASKS, TASKS, TaskName
from edgeprune.tasks.spec import ProblemType

__all__ = ["has_head", "resolve_problem_type", "resolve_task"]


def resolve_task(asked: str | None, config: dict[str, Any]) -> TaskName:
    """Resolve the task asked for, or the task that the checkpoint's architecture is for.

    Args:
        asked: The task's name or synonym, in optimum's words. None: the task is what the checkpoint is for.
        config: The model's config.json.

    Raises:
        UsageError: edgeprune doesn't handle the task, or the task is on texts and the model reads images (or reversed).
        ModelError: No task is asked for, and the architecture doesn't name one.
    """
    images = reads_images(config)
    task = _trained_for(config, images=images) if asked is None else _named(asked)
    if images != (task in IMAGE_TASKS):
        fitting = [name for name in TASKS if images == (name in IMAGE_TASKS)]
        raise UsageError(
            f"the model reads {'images' if images else 'texts'}, but {task} is not for these; choose one of "
            f"{', '.join(fitting)} (--task)"
        )
    return task


def resolve_problem_type(asked: str | None, task: TaskName) -> ProblemType | None:
    """Resolve the problem type asked for; None: no type was asked for.

    Raises:
        UsageError: There is no such type, or the task has none.
    """
    if asked is None:
        return None
    if not TASKS[task].problem_types:
        having = [name for name, entry in TASKS.items() if entry.problem_types]
        raise UsageError(f"--problem-type is for {' and '.join(having)}, but the task here is {task}")
    for known in get_args(ProblemType):
        if asked == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--problem-type {asked!r} is not one of {', '.join(get_args(ProblemType))}")


def has_head(task: TaskName, architectures: Sequence[str] | None) -> bool:
    """Tell whether a checkpoint was trained for the task, by the `architectures` of its config.json."""
    return next(iter(architectures or []), "").endswith(TASKS[task].head)


def _named(asked: str) -> TaskName:
    name = asked
    if name not in TASKS:
        from optimum.exporters.tasks import TasksManager

        name = TasksManager.map_from_synonym(asked)
    for known in TASKS:
        if name == known:
            return known
    raise UsageError(f"the task {asked!r} is not one of {', '.join(TASKS)}")


def _trained_for(config: dict[str, Any], *, images: bool) -> TaskName:
    architecture = architecture_named(config)
    found = [name for name, entry in TASKS.items() if entry.named_by_head and architecture.endswith(entry.head)]
    if not found:
        raise ModelError(
            f"the checkpoint's architecture ({architecture or 'none named'}) doesn't say which task it is for; say it "
            f"with --task ({', '.join(TASKS)})"
        )
    # A bare encoder's class is called Model, whether it reads texts or images.
    return next((name for name in found if images == (name in IMAGE_TASKS)), found[0])

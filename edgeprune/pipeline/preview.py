"""Say what a build would do, before it runs: for which target, from which rows, within which budgets, and for how long.

The data is read and split as the build would split it, so that what is wrong with a column, a label or a split is said now.
"""

from pathlib import Path

from edgeprune.base.events import ignore
from edgeprune.base.strict_yaml import Frozen
from edgeprune.data.table import SplitName
from edgeprune.pipeline.nodes import Node
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.given import read_given
from edgeprune.profiles.target import Budget
from edgeprune.store.store import Store
from edgeprune.tasks.registry import IMAGE_TASKS

__all__ = ["PlannedStage", "Preview", "preview"]


class PlannedStage(Frozen):
    """Say whether a stage would run."""

    stage: str
    round: int
    key: str | None
    """None: it depends on a race that wasn't run yet."""
    in_store: bool
    last_duration_s: float | None
    """Time that the stage took when it was last run into this store, for whatever build; None: it wasn't."""


class Preview(Frozen):
    """Say what a build would do."""

    schema_version: int = 1
    package: str
    """The folder that the package would be written to."""
    pipeline: str
    target: str
    target_description: str
    threads: int
    precision: str
    not_measured: str | None
    """Why the target can't be measured from here; None: it can."""
    task: str
    data: str
    columns: dict[str, str]
    """By role (text, image, pair or label), the column of the training data."""
    rows: dict[SplitName, int]
    budget: Budget
    notes: list[str]
    """What was assumed about the data, and which keys nothing reads."""
    stages: list[PlannedStage]
    searches: bool
    """Whether a search adds stages once the first ones have run."""

    @property
    def expected_s(self) -> float | None:
        """How long it would take if every stage took as long as last time; None: a stage has no last time, or more are added."""
        times = [0.0 if stage.in_store else stage.last_duration_s for stage in self.stages]
        known = [time for time in times if time is not None]
        return sum(known) if len(known) == len(times) and not self.searches else None


def preview(plan: Plan, request: BuildRequest) -> Preview:
    """Read the data of a plan, and say what its build would do. Nothing is written.

    Raises:
        UsageError: The model's tokenizer or the data can't be used.
    """
    from edgeprune.tasks.prepared import select

    subject, target, stages = plan.subject, request.target, plan.pipeline.stages
    nowhere = Path()
    given = read_given(
        Work(
            model=subject.model,
            data=subject.data,
            parents={},
            folder=nowhere,
            partial=nowhere,
            seed=plan.pipeline.seed,
            emit=ignore,
            progress=lambda _done, _total, _unit: None,
        ),
        subject.task,
        problem_type=subject.problem_type,
        max_length=None if subject.task in IMAGE_TASKS else stages.prepare.max_length,
        selection_share=stages.prepare.selection_share,
    )
    for split, table in select(given.tables, given.rows).items():
        given.task.references(table, where=f"the {split} split")  # refuses labels that the model doesn't have
    return Preview(
        package=str(request.output / plan.name.folder),
        pipeline=plan.pipeline.name,
        target=target.name,
        target_description=target.description,
        threads=target.runtime.threads,
        precision=target.precision.mode,
        not_measured=plan.unreachable,
        task=subject.task,
        data=request.options.data,
        columns=subject.data.columns(),
        rows={split: len(rows) for split, (_, rows) in given.rows.items()},
        budget=target.budget,
        notes=[*(note.message for note in given.notes), *plan.notes],
        stages=_stages(plan, Store(request.store)),
        searches=plan.shipped is None,
    )


def _stages(plan: Plan, store: Store) -> list[PlannedStage]:
    last: dict[str, tuple[str, float]] = {}
    for artifact in store.artifacts():
        manifest = artifact.manifest
        last[manifest.stage] = max(last.get(manifest.stage, ("", 0.0)), (manifest.started_at, manifest.duration_s))
    return [
        PlannedStage(
            stage=node.stage.name,
            round=node.stage.round,
            key=node.key,
            in_store=_is_kept(node),
            last_duration_s=last[node.stage.name][1] if node.stage.name in last else None,
        )
        for node in plan.nodes
    ]


def _is_kept(node: Node) -> bool:
    return not node.stage.measures and node.key is not None and node.store.folder(node.stage.name, node.key).is_dir()

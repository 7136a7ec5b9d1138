"""Search for the model that a profile's budgets ask for: make rungs until the objective is decided, and choose one.

The table of latencies comes first, because a budget that no model can keep is refused before anything is trained. Then
the dense model is made and measured in the target's precision, and rung after rung is pruned, recovered and measured.
What decides is what was measured on the selection split. Every rung is an artifact in the store. So a search that was
killed goes on where it was, and a search with other budgets finds the rungs that it shares.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.base.errors import UnreachableBudgetError
from edgeprune.base.events import Emit, Note, RungFinished
from edgeprune.models.record import PruningRecord
from edgeprune.pipeline.cascade_budget import first_stage_bytes
from edgeprune.pipeline.checkpoint_nodes import plain_variant
from edgeprune.pipeline.nodes import Checkpoints
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.run import NodeRunner
from edgeprune.pipeline.rung_rows import Figures, row_of, what_is_left
from edgeprune.pipeline.rungs import RungNodes, Rungs
from edgeprune.pipeline.search_inputs import (
    costs_for,
    medians,
    read_table,
    require_telling_selection,
    whole_record,
)
from edgeprune.profiles.search import Objective
from edgeprune.search.choice import asked_rung, best_rung, faster_than, more_accurate_than
from edgeprune.search.costs import CostTable
from edgeprune.search.frontier import Frontier, RungRow
from edgeprune.search.hidden_costs import HiddenCosts
from edgeprune.search.ladder import Tried, least_that_keeps, most_that_keeps
from edgeprune.search.limits import PREDICTED, held

__all__ = ["Found", "search"]

_CAUTION = 0.03
"""Smallest share by which a prediction is taken to be off."""


@dataclass(frozen=True)
class Found:
    """Hold what a search found: the checkpoint that is shipped, and the report."""

    checkpoints: Checkpoints
    frontier: Frontier
    rung_of: Mapping[str, str]
    """By the id of each node that made or measured a rung, the rung's name."""


@dataclass(frozen=True)
class _Rung:
    """Hold a rung that was made."""

    row: RungRow
    nodes: RungNodes
    figures: Figures
    beyond: bool
    """Whether it lies beyond what the search holds fixed."""
    used: float | None
    """The largest share of a budget that it uses; None: nothing was measured."""
    made_s: float
    """How long its stages took in this build."""
    slower_than_told: float | None
    """How many times as long it takes as the table says, relative to the dense model; None: it isn't known."""


def search(plan: Plan, request: BuildRequest, run: NodeRunner, *, emit: Emit) -> Found:
    """Make rungs until the objective is decided, and choose the one that is shipped.

    Args:
        plan: The plan of a pipeline with a search. Nodes are added to it.
        request: What is asked for.
        run: Runs a node, and remembers its result.
        emit: A function that is handed an event for every rung.

    Raises:
        UnreachableBudgetError: No model of this family can be as fast as a budget asks.
        DataError: The selection split can't tell models apart.
        UsageError: No rung is as `--at` or `--at-drop` asks.
    """
    dense = run.done["prepare"].artifact
    require_telling_selection(dense, plan.subject.data)
    whole = whole_record(plan)
    table = read_table(plan, run.done["table"].artifact) if "table" in run.done else None
    costs = costs_for(plan, request, table)
    if costs.unit == "multiply-adds":
        emit(Note("the target can't be measured from here, so multiply-adds stand in for times in the search"))
    variant = table.variant if table else plain_variant(plan.pipeline, request.target)
    rungs = Rungs(plan.collected, plan.subject, plan.pipeline, request.target, plan.runner, variant, costs)
    if len(costs.by_size) < len(rungs.config.keep_hidden):
        sizes = ", ".join(map(str, costs.by_size))
        emit(
            Note(f"stages.search.keep_hidden: in multiples of {rungs.config.align}, the only hidden sizes are {sizes}")
        )
    driver = _Search(rungs, request, run, emit, table, whole, None if table is None else medians(plan, table))
    driver.climb()
    return driver.found()


class _Search:
    """Make rungs one after the other, and choose one.

    Args:
        rungs: Adds the nodes of rungs.
        request: What is asked for.
        run: Runs a node, and remembers its result.
        emit: A function that is handed an event for every rung.
        table: The table of latencies; None: the target can't be measured.
        whole: The record of the dense model.
        told: The table's medians; None: there is no table.
    """

    def __init__(
        self,
        rungs: Rungs,
        request: BuildRequest,
        run: NodeRunner,
        emit: Emit,
        table: CostTable | None,
        whole: PruningRecord,
        told: HiddenCosts | None,
    ) -> None:
        self._rungs = rungs
        self._request = request
        self._run = run
        self._emit = emit
        self._table = table
        self._whole = whole
        self._told = told
        self._made: list[_Rung] = []
        self._rung_of: dict[str, str] = {}

    def climb(self) -> None:
        """Make rungs until the objective is decided."""
        self._make("dense", self._rungs.first(), speedup=1.0)
        start = self._rungs.start()
        while (speedup := self._next()) is not None:
            slower = [one for one in self._made if 1 < one.row.speedup < speedup]
            parent = max(slower, key=lambda one: one.row.speedup).nodes.checkpoint if slower else start
            nodes = self._rungs.below(parent, number=len(self._made), budget=self._budget(speedup))
            try:
                self._make(f"{speedup:g}x", nodes, speedup=speedup)
            except UnreachableBudgetError as error:
                self._emit(Note(f"the search ends before {speedup:g}x: {error}"))
                self._rungs.nodes.keep(self._run.done)
                return

    def found(self) -> Found:
        """Choose the rung that is shipped, and report the search."""
        rows = sorted((one.row for one in self._made), key=lambda row: row.speedup)
        asked, metric = self._request.asked, self._made[0].figures.metric
        choice = best_rung(self._objective, rows) if asked is None else asked_rung(asked, rows, metric.name)
        chosen = next(one for one in self._made if one.row is choice.rung)
        frontier = Frontier(
            objective=self._objective,
            unit=self._rungs.costs.unit,
            prediction_error=max((error for row in rows if (error := _error(row)) is not None), default=None),
            metric_name=metric.name,
            metric_dense=metric.value + (metric.drop or 0.0),
            samples=metric.samples,
            rungs=tuple(rows),
            shipped=choice.rung.name,
            decided_by="objective" if asked is None else "asked",
            reason=choice.reason,
            faster=faster_than(choice.rung, rows, metric.name),
            more_accurate=more_accurate_than(choice.rung, rows, metric.name),
        )
        checkpoint = chosen.nodes.checkpoint
        return Found(Checkpoints(self._rungs.dense, checkpoint, checkpoint.stage.round), frontier, self._rung_of)

    @property
    def _objective(self) -> Objective:
        objective = self._rungs.pipeline.objective
        assert objective is not None  # noqa: S101 (only a pipeline with an objective is searched)
        return objective

    def _next(self) -> float | None:
        """Give the speed-up of the rung that is made next; None: the objective is decided."""
        refine = self._rungs.config.refine
        tried = [Tried(one.row.speedup, one.row.keeps, one.beyond, one.used) for one in self._made]
        if self._objective != "metric":
            return most_that_keeps(self._steps, tried, refine=refine)
        wanted = self._wanted()
        if wanted is not None and self._budget(wanted) < self._rungs.costs.least:
            wanted = None
        return least_that_keeps(self._steps, tried, wanted=wanted, refine=refine)

    @property
    def _steps(self) -> list[float]:
        """The steps of the ladder that a model of this family can reach."""
        return [step for step in self._rungs.config.steps if self._budget(step) >= self._rungs.costs.least]

    def _budget(self, speedup: float) -> float:
        """Compute what a rung may cost. The objective size counts the layers, and leaves the rest as large as it is."""
        costs = self._rungs.costs
        dense, base = costs.of(self._whole), costs.dense.base
        if self._objective == "size":
            return base + (dense - base) / speedup
        return dense / speedup

    def _wanted(self) -> float | None:
        """Compute the speed-up that should keep all latency budgets; None: there is no such budget, or no table.

        A percentile is predicted by what the table says, times what the fastest rung so far took over it: the upper end of
        its interval, because the whole interval must be within a budget. By how much that rung's own prediction was off
        narrows the budget.
        """
        rungs = [one for one in self._made if one.slower_than_told is not None]
        if self._table is None or self._told is None or not rungs:
            return None
        last = max(rungs, key=lambda one: one.row.speedup)
        error = _error(last.row)
        off = self._table.prediction_error if error is None else error
        told_ms, dense_ms = (self._told.of(one) for one in (last.figures.record, self._whole))
        speedups = []
        for name in PREDICTED:
            percentile = name.removeprefix("latency_").removesuffix("_ms")
            limit_ms = getattr(self._request.target.budget, name)
            measured_ms = getattr(last.row, f"{percentile}_ms")
            if limit_ms is not None and measured_ms is not None:
                _, most_ms = getattr(last.row, f"{percentile}_interval_ms") or (None, measured_ms)
                speedups.append(dense_ms * (most_ms / told_ms) * (1 + max(_CAUTION, off)) / limit_ms)
        return max(speedups, default=None)

    def _told_ms(self, figures: Figures) -> float | None:
        """Compute a rung's median by the table alone; None: there is no table, or it is the dense model.

        A machine may be slower as a whole than when the table was measured, so its times are scaled by what the dense model
        took by turns with the rung.
        """
        if self._told is None or not self._made or figures.dense_p50_ms is None:
            return None
        return self._told.of(figures.record) * figures.dense_p50_ms / self._told.of(self._whole)

    @property
    def _first_stage_bytes(self) -> int:
        """How large the first stage of the package will be."""
        from edgeprune.tasks.prepared import read_spec

        return first_stage_bytes(
            self._rungs.pipeline.stages.cascade,
            vocabulary=self._rungs.subject.model.config.get("vocab_size", 0),
            labels=len(read_spec(self._run.done["prepare"].artifact).labels),
        )

    def _make(self, name: str, nodes: RungNodes, *, speedup: float) -> None:
        """Run a rung's nodes, judge the rung, and tell of it."""
        new = [node for node in self._rungs.nodes.all if node.id not in self._run.done]
        self._rung_of |= {node.id: name for node in new}
        done = [self._run(node) for node in new]
        figures = Figures.read(nodes, self._run.done, self._whole, first_stage_bytes=self._first_stage_bytes)
        told_ms = self._told_ms(figures)
        # What the table leaves out grows with the speed-up, so the next slower rung's share of it is counted on.
        slower = [one for one in self._made if one.row.speedup < speedup]
        share = max(slower, key=lambda one: one.row.speedup).slower_than_told if slower else None
        found = held(
            self._objective,
            self._request.target.budget,
            confidence=self._rungs.config.confidence,
            metric=figures.metric,
            size_mb=figures.size_mb,
            latency=figures.latency,
        )
        row = row_of(
            name,
            figures,
            found,
            self._whole,
            hidden_size=self._rungs.costs.hidden_size(figures.record),
            speedup=speedup,
            refined=speedup != 1 and speedup not in self._rungs.config.steps,
            predicted_p50_ms=None if told_ms is None or share is None else told_ms * share,
            duration_s=sum(one.artifact.manifest.duration_s for one in done),
        )
        made_s = sum(one.artifact.manifest.duration_s for one in done if not one.cached)
        slower_than_told = None if row.p50_ms is None else row.p50_ms / (told_ms or row.p50_ms)
        self._made.append(_Rung(row, nodes, figures, found.beyond, found.used, made_s, slower_than_told))
        left = self._most_left()
        paces = [one.made_s for one in self._made if one.made_s and one.row.speedup != 1]
        self._emit(
            RungFinished(
                rung=name,
                predicted_p50_ms=row.predicted_p50_ms,
                p50_ms=row.p50_ms,
                metric_name=figures.metric.name,
                metric=row.metric,
                drop=row.drop,
                left=what_is_left(row, self._whole, hidden_size=self._rungs.costs.dense_size),
                why=row.why,
                rungs_left=left,
                left_s=left * sum(paces) / len(paces) if paces else None,
            )
        )

    def _most_left(self) -> int:
        """Count how many rungs are still to be made, if each is as it should be by what is known."""
        following = self._next()
        if following is None:
            return 0
        known = {one.row.speedup for one in self._made}
        beside = max(0, self._rungs.config.refine - sum(one.row.refined for one in self._made))
        if following not in self._steps:  # the ladder is decided, or a budget is aimed at
            return max(1, beside)
        return sum(step not in known for step in self._steps) + beside


def _error(row: RungRow) -> float | None:
    """Compute by which share of its median a rung's prediction was off; None: it isn't known."""
    if row.p50_ms is None or row.predicted_p50_ms is None:
        return None
    return abs(row.predicted_p50_ms / row.p50_ms - 1)

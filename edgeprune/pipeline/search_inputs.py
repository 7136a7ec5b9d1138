"""Read what a search is given, and refuse what can't be searched: the table of latencies, costs, the selection split."""

from edgeprune.base.errors import DataError, UnreachableBudgetError
from edgeprune.data.source import DataSource
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.rung_rows import sizes_of
from edgeprune.search.costs import COSTS, Costs, CostTable, read_costs
from edgeprune.search.limits import PREDICTED
from edgeprune.store.records import Artifact

__all__ = ["costs_for", "read_table", "require_reachable", "require_telling_selection", "whole_record"]


def require_reachable(plan: Plan, request: BuildRequest, table: Artifact) -> None:
    """Refuse a latency budget that is below what the smallest model takes, before anything is trained for it.

    Raises:
        UnreachableBudgetError: There is such a budget.
    """
    costs = read_table(table, whole_record(plan))
    for name, least_ms in zip(PREDICTED, (costs.p50.least, costs.p90.least), strict=True):
        limit_ms = getattr(request.target.budget, name)
        if limit_ms is not None and limit_ms < least_ms:
            raise UnreachableBudgetError(limit_ms, least=least_ms, unit="ms", name=f"budget.{name}")


def read_table(table: Artifact, whole: PruningRecord) -> CostTable:
    """Read the table of latencies of a model.

    Raises:
        IntegrityError: The table is damaged, or is one of another shape.
    """
    heads, width = (max(counts) for counts in zip(*sizes_of(whole), strict=True))
    return read_costs(table.file(COSTS), layers=len(whole.layers), heads=heads, width=width)


def require_telling_selection(dense: Artifact, data: DataSource) -> None:
    """Refuse a selection split on which no metric tells models apart.

    Raises:
        DataError: All of its rows have one label.
    """
    from edgeprune.tasks.prepared import read_spec, read_tables
    from edgeprune.tasks.registry import task_for

    spec = read_spec(dense)
    table = read_tables(dense, data, ("selection",))["selection"]
    references = task_for(spec).references(table, where="the selection split")
    if references is not None and len({str(one) for one in references}) == 1:
        is_number = spec.labels and str(references[0]).isdigit()
        label = spec.labels[int(references[0])] if is_number else references[0]
        raise DataError(
            f"a search chooses by the selection split, but all of its {len(references)} rows have the label {label!r}, so "
            f"that no metric tells models apart there; give other rows with --selection-data"
        )


def whole_record(plan: Plan) -> PruningRecord:
    """Give the record of the dense model, which has what the given model has."""
    from edgeprune.models.checkpoint import empty_model, load_config

    folder = plan.subject.model.folder
    return read_pruning(folder) or PruningRecord.dense(empty_model(load_config(folder), None), "")


def costs_for(plan: Plan, request: BuildRequest, table: CostTable | None) -> Costs:
    """Give what the search counts: bytes for the objective size, else the table's times, else multiply-adds."""
    from edgeprune.models.architectures import counted_tokens
    from edgeprune.models.checkpoint import load_config
    from edgeprune.search.counted_costs import byte_costs, multiply_add_costs

    assert plan.pipeline.stages.search is not None  # noqa: S101 (a pipeline with an objective has it)
    align, folder = plan.pipeline.stages.search.align, plan.subject.model.folder
    config, record = load_config(folder), read_pruning(folder)
    if plan.pipeline.objective == "size":
        return byte_costs(config, request.target.precision_settings, record, align=align)
    if table is not None:
        return table.p50
    length = request.target.workload.lengths
    tokens = counted_tokens(config, length if isinstance(length, int) else None)
    return multiply_add_costs(config, record, tokens=tokens, align=align)

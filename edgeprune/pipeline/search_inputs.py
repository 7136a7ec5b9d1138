"""Read what a search is given, and refuse what can't be searched: the table of latencies, costs, the selection split."""

from edgeprune.base.errors import DataError, UnreachableBudgetError
from edgeprune.data.source import DataSource
from edgeprune.models.record import PruningRecord, hidden_size_left, read_pruning
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.request import BuildRequest
from edgeprune.profiles.search import SearchConfig
from edgeprune.search.costs import COSTS, Costs, CostTable, read_costs
from edgeprune.search.hidden_costs import HiddenCosts, hidden_sizes, sizes_of
from edgeprune.search.limits import PREDICTED
from edgeprune.store.records import Artifact

__all__ = [
    "costs_for",
    "medians",
    "read_table",
    "require_reachable",
    "require_telling_selection",
    "whole_record",
]


def require_reachable(plan: Plan, request: BuildRequest, table: Artifact) -> None:
    """Refuse a latency budget that is below what the smallest model takes, before anything is trained for it.

    Raises:
        UnreachableBudgetError: There is such a budget.
    """
    for name, least_ms in zip(PREDICTED, read_table(plan, table).least_ms, strict=True):
        limit_ms = getattr(request.target.budget, name)
        if limit_ms is not None and limit_ms < least_ms:
            raise UnreachableBudgetError(limit_ms, least=least_ms, unit="ms", name=f"budget.{name}")


def read_table(plan: Plan, table: Artifact) -> CostTable:
    """Read the table of latencies of a model.

    Raises:
        IntegrityError: The table is damaged, or is one of another shape.
    """
    whole = whole_record(plan)
    heads, width = (max(counts) for counts in zip(*sizes_of(whole), strict=True))
    _, *narrower = _hidden_sizes(plan)
    return read_costs(table.file(COSTS), layers=len(whole.layers), heads=heads, width=width, narrower=narrower)


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


def costs_for(plan: Plan, request: BuildRequest, table: CostTable | None) -> HiddenCosts:
    """Give what the search counts: bytes for the objective size, else the table's times, else multiply-adds."""
    from edgeprune.models.architectures import counted_tokens
    from edgeprune.models.checkpoint import load_config
    from edgeprune.search.counted_costs import byte_costs, multiply_add_costs

    if plan.pipeline.objective != "size" and table is not None:
        return medians(plan, table)
    align, folder = _search(plan).align, plan.subject.model.folder
    config, record = load_config(folder), read_pruning(folder)
    length = request.target.workload.lengths
    tokens = counted_tokens(config, length if isinstance(length, int) else None)

    def counted(record: PruningRecord | None) -> Costs:
        if plan.pipeline.objective == "size":
            return byte_costs(config, request.target.precision_settings, record, align=align)
        return multiply_add_costs(config, record, tokens=tokens, align=align)

    whole, (dense, *narrower) = whole_record(plan), _hidden_sizes(plan)
    dimensions = whole.hidden or tuple(range(dense))
    smaller = {size: whole.model_copy(update={"hidden": dimensions[:size]}) for size in narrower}
    return HiddenCosts({dense: counted(record), **{size: counted(one) for size, one in smaller.items()}})


def medians(plan: Plan, table: CostTable) -> HiddenCosts:
    """Give the table's medians by the hidden size."""
    dense, *_ = _hidden_sizes(plan)
    return HiddenCosts({dense: table.p50, **{one.hidden: one.p50 for one in table.narrower}})


def _hidden_sizes(plan: Plan) -> tuple[int, ...]:
    """List the hidden sizes that rungs may have, from the dense model's down."""
    from edgeprune.models.checkpoint import load_config

    folder, search = plan.subject.model.folder, _search(plan)
    dense = hidden_size_left(read_pruning(folder), load_config(folder).hidden_size)
    return hidden_sizes(dense, search.keep_hidden, align=search.align)


def _search(plan: Plan) -> SearchConfig:
    search = plan.pipeline.stages.search
    assert search is not None  # noqa: S101 (a pipeline with an objective has it)
    return search

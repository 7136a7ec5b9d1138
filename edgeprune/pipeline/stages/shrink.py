"""shrink: cut a checkpoint to a budget, so that it loses as little as its losses say, and solve its projections again.

If the checkpoint may be narrowed, models of each hidden size that keep the budget are tried, and the best one is made.

The stage writes `checkpoint/` and `allocation.json`, an `Allocation`. It reads training rows alone: whatever chooses a
model must not have seen the test split.
"""

from pydantic import JsonValue

from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.losses import LOSSES
from edgeprune.pipeline.stages.prune_context import WEIGHTS, PruneContext, own_weights
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.loss_table import LossTable
from edgeprune.search.allocation import allocate_each
from edgeprune.search.hidden_costs import HiddenCosts
from edgeprune.store.records import StageMetrics

__all__ = ["ALLOCATION", "Shrink"]

ALLOCATION = "allocation.json"


class Shrink(Stage):
    """Cut a checkpoint to a budget.

    Args:
        budget: The most that the model may cost, in the unit of `costs`.
        costs: What layers cost by their sizes, at each hidden size that the checkpoint may be narrowed to.
        reconstruct: How projections are solved again.
        round_number: The round, from 1.
    """

    name = "shrink"
    version = 1
    libraries = ("torch", "transformers", "tokenizers")
    roles = ("dense", "checkpoint", "losses")
    produces = (WEIGHTS, "checkpoint/pruning.json", ALLOCATION)

    def __init__(self, budget: float, *, costs: HiddenCosts, reconstruct: ReconstructStep, round_number: int) -> None:
        self.round = round_number
        self._budget = budget
        self._costs = costs
        self._reconstruct = reconstruct

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "budget": self._budget,
            **self._costs.fingerprint(),
            "unit": self._costs.unit,
            "reconstruct": self._reconstruct.model_dump(mode="json"),
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.models.checkpoint import count_parameters, save_checkpoint
        from edgeprune.models.width import hidden_size_of
        from edgeprune.pruning.reconstruct import prune_reconstruct
        from edgeprune.search.trial import cut_to, nearest

        text = work.parents["losses"].file(LOSSES).read_text(encoding="utf-8")
        losses = LossTable.model_validate_json(text)
        context = PruneContext(work)
        pruned = context.pruned
        each = allocate_each(self._costs, losses, self._budget, hidden=hidden_size_of(pruned.model))
        found = nearest(each, losses, pruned, context, step=self._reconstruct)
        cut_to(found, losses, pruned)
        own_weights(pruned.model)
        prune_reconstruct(self._reconstruct, pruned, context)
        save_checkpoint(pruned.model, work.folder / "checkpoint", record=pruned.record, reader=pruned.reader)
        (work.folder / ALLOCATION).write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return StageMetrics(
            parameters=count_parameters(pruned.model),
            model_bytes=(work.folder / WEIGHTS).stat().st_size,
            scores={"predicted_cost": found.cost, "loss": found.loss},
        )

"""losses: estimate what each layer of a checkpoint loses at each size, for a search that cuts it next.

The stage writes `losses.json`, a `LossTable`. It reads training rows alone.
"""

from pydantic import JsonValue

from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.prune_context import PruneContext
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.store.records import StageMetrics

__all__ = ["LOSSES", "Losses"]

LOSSES = "losses.json"


class Losses(Stage):
    """Estimate the losses of all sizes of all layers.

    Args:
        samples: How many training rows they are estimated on.
        align: FFN widths are multiples of this.
        reconstruct: The step that follows when the checkpoint is cut; its `ridge` solves projections here too.
        dimensions: Whether the hidden dimensions are ordered by importance, for a search that may narrow the model.
        round_number: The round of the checkpoint; 0 is the dense model.
    """

    name = "losses"
    version = 1
    libraries = ("torch", "transformers", "tokenizers")
    roles = ("dense", "checkpoint")
    produces = (LOSSES,)

    def __init__(
        self,
        *,
        samples: int,
        align: int,
        reconstruct: ReconstructStep,
        dimensions: bool = False,
        round_number: int,
    ) -> None:
        self.round = round_number
        self._samples = samples
        self._align = align
        self._ridge = reconstruct.ridge
        self._dimensions = dimensions

    def fingerprint(self) -> dict[str, JsonValue]:
        narrowing: dict[str, JsonValue] = {"dimensions": True} if self._dimensions else {}
        return {"samples": self._samples, "align": self._align, "ridge": self._ridge, **narrowing}

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.pruning.losses import estimate_losses
        from edgeprune.pruning.stream import ordered_dimensions

        context = PruneContext(work)
        found = estimate_losses(context.pruned, context, samples=self._samples, align=self._align, ridge=self._ridge)
        if self._dimensions:
            dimensions = ordered_dimensions(context.pruned, context, samples=self._samples)
            found = found.model_copy(update={"dimensions": dimensions})
        (work.folder / LOSSES).write_text(found.model_dump_json() + "\n", encoding="utf-8")
        return StageMetrics(scores={"rows": found.samples})

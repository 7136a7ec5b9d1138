"""losses: estimate what each layer of a checkpoint loses at each size, and what smaller hidden sizes lose, for a search.

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
        hidden_sizes: The hidden sizes below the dense model's that the search may choose.
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
        hidden_sizes: tuple[int, ...] = (),
        round_number: int,
    ) -> None:
        self.round = round_number
        self._samples = samples
        self._align = align
        self._ridge = reconstruct.ridge
        self._hidden_sizes = hidden_sizes

    def fingerprint(self) -> dict[str, JsonValue]:
        narrowing: dict[str, JsonValue] = {"hidden_sizes": list(self._hidden_sizes)} if self._hidden_sizes else {}
        return {"samples": self._samples, "align": self._align, "ridge": self._ridge, **narrowing}

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.pruning.losses import estimate_losses

        context = PruneContext(work)
        found = estimate_losses(
            context.pruned,
            context,
            samples=self._samples,
            align=self._align,
            ridge=self._ridge,
            hidden_sizes=self._hidden_sizes,
        )
        (work.folder / LOSSES).write_text(found.model_dump_json() + "\n", encoding="utf-8")
        return StageMetrics(scores={"rows": found.samples})

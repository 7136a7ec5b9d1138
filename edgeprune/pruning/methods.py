"""Do the steps of a pipeline: the closed table of pruning methods."""

from edgeprune.profiles.steps import (
    FactorEmbeddingsStep,
    GradientStep,
    LayersStep,
    MagnitudeStep,
    MasksStep,
    NMStep,
    ReconstructStep,
    Step,
    StructuredStep,
    VocabularyStep,
)
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.factor_embeddings import factor_embeddings
from edgeprune.pruning.layers import prune_layers
from edgeprune.pruning.reconstruct import prune_reconstruct
from edgeprune.pruning.sparse import prune_gradient, prune_magnitude, prune_n_m
from edgeprune.pruning.structured import prune_masks, prune_structured
from edgeprune.pruning.vocabulary import prune_vocabulary

__all__ = ["apply_step"]


def apply_step(step: Step, number: int, pruned: Pruned, context: Context) -> None:
    """Do one step of a pipeline.

    Args:
        step: The step, with the amounts of this round.
        number: The step's number in its pipeline, from 0; its scores are kept under this number.
        pruned: The model, which is changed in place.
        context: The task and the data.
    """
    match step:
        case StructuredStep():
            prune_structured(step, number, pruned, context)
        case MasksStep():
            prune_masks(step, pruned, context)
        case LayersStep():
            prune_layers(step, pruned, context)
        case MagnitudeStep():
            prune_magnitude(step, pruned, context)
        case GradientStep():
            prune_gradient(step, pruned, context)
        case NMStep():
            prune_n_m(step, pruned)
        case VocabularyStep():
            prune_vocabulary(step, pruned, context)
        case FactorEmbeddingsStep():
            factor_embeddings(step, pruned, context)
        case ReconstructStep():
            prune_reconstruct(step, pruned, context)

"""Check what a step says of layers against the layers that there are. Light: planning and pruning both ask here."""

from collections.abc import Collection, Sequence

from edgeprune.base.errors import UsageError
from edgeprune.profiles.steps import LayersStep

__all__ = ["check_dropped", "check_one_a_layer"]


def check_dropped(step: LayersStep, where: str, dense: Sequence[int], left: Collection[int]) -> None:
    """Refuse a step that names layers the model doesn't have, or that would leave it none.

    Args:
        step: Which layers go, or how many.
        where: The step's path in the pipeline, for the message.
        dense: The numbers of the dense model's layers.
        left: Those that the steps before have left.

    Raises:
        UsageError: With the key, what it says, and the layers that there are.
    """
    if step.drop is not None:
        if unknown := sorted(set(step.drop) - set(dense)):
            raise UsageError(f"{where}.drop names layers {_listed(unknown)}, the model has {_listed(dense)}")
        if set(left) <= set(step.drop):
            raise UsageError(f"{where}.drop names every layer that is left; a model needs at least one")
    if step.remove is not None and step.remove >= len(dense):
        raise UsageError(f"{where}.remove is {step.remove}, the model has {len(dense)} layers; at least one must stay")


def check_one_a_layer(values: object, where: str, layers: int) -> None:
    """Refuse a list that isn't as long as the dense model has layers; one value for all layers passes.

    Raises:
        UsageError: With the list's path `where` and both lengths.
    """
    if isinstance(values, tuple) and len(values) != layers:
        raise UsageError(f"{where} lists {len(values)} values, the model has {layers} layers")


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))

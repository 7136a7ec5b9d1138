"""Check what a step says about layers against the model's layers. The module is light: planning needs it too."""

from collections.abc import Collection, Sequence

from edgeprune.base.errors import UsageError
from edgeprune.base.wording import listed
from edgeprune.profiles.steps import LayersStep

__all__ = ["check_dropped", "check_one_a_layer"]


def check_dropped(step: LayersStep, where: str, dense: Sequence[int], left: Collection[int]) -> None:
    """Refuse a step that names layers which the model doesn't have, or that would leave no layer.

    Args:
        step: The step, which says which layers go or how many.
        where: The step's path in the pipeline, for the message.
        dense: The numbers of the dense model's layers.
        left: The numbers of the layers that the steps before have left.

    Raises:
        UsageError: The step is refused. The message has the key, its value and the model's layers.
    """
    if step.drop is not None:
        if unknown := sorted(set(step.drop) - set(dense)):
            raise UsageError(f"{where}.drop names layers {listed(unknown)}, but the model has {listed(dense)}")
        if set(left) <= set(step.drop):
            raise UsageError(f"{where}.drop names every layer that is left; a model needs at least one")
    if step.remove is not None and step.remove >= len(dense):
        raise UsageError(
            f"{where}.remove is {step.remove}, but the model has {len(dense)} layers and at least one must stay"
        )


def check_one_a_layer(values: object, where: str, layers: int) -> None:
    """Refuse a list that doesn't have one value for each layer of the dense model. One value for all layers passes.

    Raises:
        UsageError: The list is refused. The message has the list's path `where` and both lengths.
    """
    if isinstance(values, tuple) and len(values) != layers:
        raise UsageError(f"{where} should list a value for each of the model's {layers} layers, got {len(values)}")

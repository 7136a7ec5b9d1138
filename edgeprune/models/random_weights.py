"""Make models of a checkpoint's family at any size, with random weights: for what depends on sizes alone, such as time."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from edgeprune.models.checkpoint import empty_model
from edgeprune.models.record import PruningRecord

__all__ = ["random_model"]

_SPREAD = 0.02


def random_model(config: PreTrainedConfig, record: PruningRecord, auto_class: Any, **kwargs: Any) -> PreTrainedModel:
    """Make a model with random weights, in fp32 and evaluation mode.

    Weights are small and those of norms are near 1, so that no product meets an infinite or a denormal number.

    Args:
        config: The dense model's config.
        record: The sizes of the model.
        auto_class: transformers' auto class for the task, or a model class.
        **kwargs: Arguments for the class, e.g. `attn_implementation="eager"`.
    """
    model = empty_model(config, record, auto_class, **kwargs)
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        for name, empty in list(module.named_parameters(recurse=False)):
            values = _SPREAD * torch.randn(empty.shape, generator=generator)
            scale = name == "weight" and values.ndim == 1
            setattr(module, name, nn.Parameter(values + 1 if scale else values))
    model.tie_weights()
    return model.eval()

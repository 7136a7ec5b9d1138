"""Load a dense checkpoint, and account for every weight: those that it lacks, and those that the model has no place for.

transformers initialises what is missing and drops what is left over. Here a difference in the encoder is refused, and one
in the head is told to the caller, who knows what the head is for.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from edgeprune.base.errors import ModelError
from edgeprune.base.wording import listed
from edgeprune.models.architectures import architecture_of

__all__ = ["Dense", "class_named", "load_dense", "model_errors", "some_of"]

_ANSWERS = re.compile(r"^(classifier|qa_outputs)(\.|$)")
"""What gives a task its answers: classes for several tasks call it the same, and mean other things by it."""


@dataclass(frozen=True)
class Dense:
    """Hold a model, and what its checkpoint had too little and too much."""

    model: PreTrainedModel
    missing: frozenset[str]
    """Names of the weights that are newly initialised."""
    unused: tuple[str, ...]
    """Names of the checkpoint's weights that the model has no place for: a head of another class."""
    renewed: tuple[str, ...]
    """Names of those of `missing` that the checkpoint has, but that were made for another task."""


def load_dense(
    folder: Path, auto_class: Any, config: PreTrainedConfig, *, renew_answers: bool = False, **kwargs: Any
) -> Dense:
    """Load a dense checkpoint in fp32.

    Args:
        folder: The folder with safetensors.
        auto_class: transformers' auto class for the task, or a model class.
        config: The checkpoint's.
        renew_answers: Whether the layers that give the answers were trained for another task: they are made anew.
        **kwargs: Arguments for the class.

    Raises:
        ModelError: The weights can't be read, or those of the encoder are not what the class takes.
    """
    with model_errors():
        model, info = auto_class.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # refused below, with the names and the sizes
            **kwargs,
        )
    mismatched = {name: (tuple(found), tuple(expected)) for name, found, expected in info["mismatched_keys"]}
    missing = frozenset(info["missing_keys"]) - mismatched.keys()
    unused = tuple(sorted(info["unexpected_keys"]))
    _require_encoder(folder, model, missing, unused)
    for name, (found, expected) in sorted(mismatched.items()):
        if not (renew_answers and _ANSWERS.match(name)):
            raise ModelError(
                f"{folder}: {name} has shape {found} in the weights, but {expected} by config.json; the files don't belong "
                f"together"
            )
    renewed = tuple(sorted(set(_renew(model)) - missing)) if renew_answers else ()
    return Dense(model, missing | frozenset(renewed), unused, renewed)


def class_named(name: str) -> type[PreTrainedModel] | None:
    """Return the model class of transformers that has this name; None: there is none."""
    found = getattr(transformers, name, None)
    return found if isinstance(found, type) and issubclass(found, PreTrainedModel) else None


@contextmanager
def model_errors() -> Iterator[None]:
    """Turn the errors of a model class inside into a ModelError: it checks its config with exceptions of any kind."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise ModelError(
            f"transformers can't make the model that config.json describes ({type(error).__name__}: {said[:200]}); correct "
            f"config.json, or fetch it again"
        ) from error


def some_of(names: frozenset[str] | tuple[str, ...]) -> str:
    """Name the first three, and say how many more there are."""
    return listed(sorted(names), 3)


def _require_encoder(folder: Path, model: PreTrainedModel, missing: frozenset[str], unused: tuple[str, ...]) -> None:
    architecture = architecture_of(model.config)
    prefix = f"{model.base_model_prefix}."
    # Some families were published with other names for their layers than their modules have.
    parts = {"encoder", architecture.layers.split(".")[0], *(name for name, _ in model.base_model.named_children())}

    def in_encoder(name: str) -> bool:
        part = name.removeprefix(prefix).split(".")[0]
        if architecture.pooler is not None and part == architecture.pooler:
            return False
        return name.startswith(prefix) or part in parts

    lost = sorted(name.removeprefix(prefix) for name in missing if in_encoder(name))
    if lost:
        instead = f" (it has {some_of(unused)} instead)" if unused else ""
        raise ModelError(
            f"{folder} lacks {len(lost)} of the encoder's weights, {lost[0]} among them{instead}; it is not a whole "
            f"{type(model.base_model).__name__}"
        )
    extra = [name for name in unused if in_encoder(name)]
    if extra:
        raise ModelError(
            f"{folder} has {len(extra)} weights in its encoder that transformers' {type(model.base_model).__name__} has no "
            f"place for, {extra[0]} among them; without them the answers would be others; give a model of the class itself"
        )


def _renew(model: PreTrainedModel) -> Iterator[str]:
    """Initialise the layers that give the answers, as every family does its head's; yield the names of their weights."""
    for name, module in model.named_modules():
        if _ANSWERS.match(name) and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=model.config.initializer_range)
            yield f"{name}.weight"
            if module.bias is not None:
                nn.init.zeros_(module.bias)
                yield f"{name}.bias"

"""Offer the two functions of the Python interface, with the same meaning as the commands."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from edgeprune.base.errors import ModelError
from edgeprune.base.events import Emit, ignore
from edgeprune.pipeline.build import build as run_build
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.report import BuildReport
from edgeprune.pipeline.request import read_request

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["build", "load"]

P = ParamSpec("P")
Given = TypeVar("Given")
Returned = TypeVar("Returned")


def _keywords_of(options: Callable[P, Given]) -> Callable[[Callable[[Given], Returned]], Callable[P, Returned]]:
    """Give a function of one object the parameters that the object is made from, for callers, editors and type checkers."""

    def decorated(function: Callable[[Given], Returned]) -> Callable[P, Returned]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Returned:
            return function(options(*args, **kwargs))

        taken = inspect.signature(options)
        call.__signature__ = taken.replace(  # type: ignore[attr-defined] # inspect reads it
            return_annotation=inspect.signature(function).return_annotation
        )
        return call

    return decorated


@dataclass(frozen=True, kw_only=True)
class _Call(BuildOptions):
    emit: Emit = ignore
    """Is handed every event."""


@_keywords_of(_Call)
def build(call: _Call) -> BuildReport:
    """Package a model for a target; what is in the store is taken from there.

    The keywords are the fields of `edgeprune.pipeline.options.BuildOptions`, which are the flags of `edgeprune build` as
    well, and `emit`, a function that is handed every event.

    Examples:
        >>> import edgeprune
        >>> report = edgeprune.build(
        ...     "./my-model", data="reviews.jsonl", task="text-classification", pipeline="tiny.yaml", target="board.yaml"
        ... )
        >>> report.exit_code, report.package.path
        (0, 'dist/my-model-0-here')

    Returns:
        What was built and measured. A missed budget is in `verdict` and `exit_code`; it doesn't raise.

    Raises:
        EdgepruneError: The build could not be finished; its `exit_code` says of what kind the fault is.
    """
    request = read_request(call)
    return run_build(make_plan(request), request, emit=call.emit)


def load(path: str | Path) -> "PreTrainedModel":
    """Load a checkpoint, dense or pruned, as an ordinary PreTrainedModel in fp32 and evaluation mode.

    Args:
        path: A folder with config.json and model.safetensors, or an artifact of prepare, prune or finetune.

    Raises:
        ModelError: There is no checkpoint, or its files don't fit together.

    Examples:
        >>> import edgeprune
        >>> model = edgeprune.load("./my-model")
        >>> model.config.model_type, model.training
        ('bert', False)
    """
    from edgeprune.models.checkpoint import load_any

    folder = Path(path)
    if (folder / "checkpoint").is_dir():
        folder /= "checkpoint"
    if (folder / "model.onnx").exists():
        raise ModelError(f"{path} holds an ONNX graph; load its checkpoint: the prepare, prune or finetune artifact")
    return load_any(folder)

"""Offer the functions of the Python interface. `build` means the same as the command `edgeprune build`."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from edgeprune.base.errors import ModelError
from edgeprune.base.events import Emit, ignore
from edgeprune.ondevice.package_files import GRAPHS
from edgeprune.pipeline.build import build as run_build
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import read_request
from edgeprune.report.records import BuildReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgeprune.pipeline.package_model import PackageModel

__all__ = ["build", "load", "load_onnx"]

P = ParamSpec("P")
Given = TypeVar("Given")
Returned = TypeVar("Returned")


def _keywords_of(options: Callable[P, Given]) -> Callable[[Callable[[Given], Returned]], Callable[P, Returned]]:
    """Replace the parameter of a function by the keywords that its object is made from.

    Callers, editors and type checkers then see the keywords.
    """

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
    """A function that is handed every event."""


@_keywords_of(_Call)
def build(call: _Call) -> BuildReport:
    """Package a model for a target. Artifacts that are in the store already are used again.

    The keywords are the fields of `edgeprune.pipeline.options.BuildOptions`, which are also the flags of `edgeprune
    build`, and `emit`, a function that is handed every event.

    Examples:
        >>> import edgeprune
        >>> report = edgeprune.build(
        ...     "./my-model", data="reviews.jsonl", task="text-classification", pipeline="tiny.yaml", target="board.yaml"
        ... )
        >>> report.exit_code, report.package.path
        (0, 'dist/my-model-0-here')

    Returns:
        The report of what was built and measured. A missed budget raises no error; it is in `verdict` and `exit_code`.

    Raises:
        EdgepruneError: The build could not be finished. The error's `exit_code` says which kind of fault it is.
    """
    request = read_request(call)
    return run_build(make_plan(request), request, emit=call.emit)


def load(path: str | Path) -> "PreTrainedModel":
    """Load a dense or pruned checkpoint as an ordinary PreTrainedModel, in fp32 and in evaluation mode.

    Args:
        path: A folder with config.json and model.safetensors, or the folder of a prepare, prune or finetune artifact.

    Warns:
        UserWarning: The class that config.json names has no place for some of the weights.

    Raises:
        ModelError: The folder has no checkpoint, or the checkpoint's files don't fit together.

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
    if any((folder / name).exists() for name in ("model.onnx", *GRAPHS)):
        raise ModelError(
            f"{path} holds an ONNX graph, not a checkpoint; load the folder of a prepare, prune or finetune artifact"
        )
    return load_any(folder)


def load_onnx(path: str | Path, *, threads: int | None = None, provider: str | None = None) -> "PackageModel":
    """Load a package, to be called with texts or images in this process.

    The session has the options with which the package won its race. None of the package's own code is run.

    Args:
        path: A package's folder or its .tar.gz.
        threads: Threads of ONNX Runtime; None: as many as the package was made for.
        provider: ONNX Runtime's execution provider; None: the one that the package was made for.

    Raises:
        UsageError: There is no package at `path`, or the installed ONNX Runtime or tokenizers is too old for it.
        IntegrityError: The package's files can't be used.

    Examples:
        >>> import edgeprune
        >>> model = edgeprune.load_onnx("dist/my-model-0-here")
        >>> answers = model(["a very good film .", "the plot was dull ."], batch_size=2)
        >>> [sorted(answer) for answer in answers]
        [['label', 'score', 'scores'], ['label', 'score', 'scores']]
        >>> model.predict_proba("a very good film .").shape
        (1, 2)
    """
    from edgeprune.pipeline.package_model import open_package_model

    return open_package_model(Path(path), threads=threads, provider=provider)

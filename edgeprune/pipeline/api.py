"""The two functions of the Python interface, with the same meaning as the commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.base.errors import ModelError
from edgeprune.base.events import Emit, ignore
from edgeprune.data.table import DataSpec
from edgeprune.devices.match import host_target, this_machine
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.publish import build as run_build
from edgeprune.pipeline.report import BuildReport
from edgeprune.pipeline.request import BuildRequest
from edgeprune.profiles.shipped import load_pipeline, load_target
from edgeprune.store.store import default_store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["build", "load", "make_request"]


def make_request(
    model: str,
    *,
    data: str | DataSpec,
    target: str = "host",
    pipeline: str = "structured",
    name: str | None = None,
    release: str = "0",
    task: str | None = None,
    problem_type: str | None = None,
    set_: Sequence[str] = (),
    store: str | Path | None = None,
    output: str | Path = "dist",
    offline: bool = False,
    baseline: str | Path | None = None,
    max_regression: float = 0.05,
) -> BuildRequest:
    """The arguments of `build`, profiles read and overridden.

    Raises:
        ProfileError: A pipeline or target that is not valid.
    """
    return BuildRequest(
        model=model,
        data=DataSpec(train=data) if isinstance(data, str) else data,
        pipeline=load_pipeline(pipeline, set_),
        target=host_target(this_machine(), set_) if target == "host" else load_target(target, set_),
        pipeline_reference=pipeline,
        target_reference=target,
        overrides=tuple(set_),
        store=Path(store) if store is not None else default_store(),
        output=Path(output),
        name=name,
        release=release,
        task=task,
        problem_type=problem_type,
        offline=offline,
        baseline=None if baseline is None else Path(baseline),
        max_regression=max_regression,
    )


def build(
    model: str,
    *,
    data: str | DataSpec,
    target: str = "host",
    pipeline: str = "structured",
    name: str | None = None,
    release: str = "0",
    task: str | None = None,
    problem_type: str | None = None,
    set_: Sequence[str] = (),
    store: str | Path | None = None,
    output: str | Path = "dist",
    offline: bool = False,
    baseline: str | Path | None = None,
    max_regression: float = 0.05,
    emit: Emit = ignore,
) -> BuildReport:
    """Package a model for a target; what is in the store is taken from there.

    Args:
        model: A local folder, a hub id with @revision, or package:NAME/FOLDER.
        data: A data file, a dataset name, or a `DataSpec` with columns and given splits.
        target: A shipped target's name, a path, or `host`: the best shipped match for this machine.
        pipeline: A shipped pipeline's name, or a path.
        name: Of the package; None: the model's.
        release: The package's version.
        task: One of optimum's task names; None: from the checkpoint's architecture.
        problem_type: Of a text classification; None: from the checkpoint, or from the labels.
        set_: Overrides, `stages.finetune.epochs=1` or `target.budget.size_mb=30`.
        store: Where artifacts are kept; None: EDGEPRUNE_STORE, or .edgeprune.
        output: Where the package goes.
        offline: Never ask the network for the model or the data.
        baseline: A package that the new one is timed against, by turns; None: none.
        max_regression: The share by which the new one may be slower.
        emit: Is handed every event.

    Returns:
        What was built and measured. A missed budget is in `verdict` and `exit_code`, it doesn't raise.

    Raises:
        EdgepruneError: The build could not be finished; its `exit_code` says of what kind the fault is.
    """
    request = make_request(
        model,
        data=data,
        target=target,
        pipeline=pipeline,
        name=name,
        release=release,
        task=task,
        problem_type=problem_type,
        set_=set_,
        store=store,
        output=output,
        offline=offline,
        baseline=baseline,
        max_regression=max_regression,
    )
    return run_build(make_plan(request), request, emit=emit)


def load(path: str | Path) -> "PreTrainedModel":
    """A checkpoint, dense or pruned, as an ordinary PreTrainedModel in fp32 and evaluation mode.

    Args:
        path: A folder with config.json and model.safetensors, or an artifact of prepare, prune or finetune.

    Raises:
        ModelError: There is no checkpoint, or its files don't fit together.
    """
    from edgeprune.models.checkpoint import load_any

    folder = Path(path)
    if (folder / "checkpoint").is_dir():
        folder /= "checkpoint"
    if (folder / "model.onnx").exists():
        raise ModelError(f"{path} holds an ONNX graph; load its checkpoint: the prepare, prune or finetune artifact")
    return load_any(folder)

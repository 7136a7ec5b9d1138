"""How much each head and neuron of a model matters: read where pruning kept its scores, else computed.

Computing runs the stages prepare and prune of a pipeline that removes nothing, through the store: the same code as a
build's, and the second time from there.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.base.errors import UsageError, storage_errors
from edgeprune.base.events import Emit, ignore
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.base.strict_yaml import validate
from edgeprune.data.table import DataSpec
from edgeprune.models.architectures import longest_text
from edgeprune.models.checkpoint import empty_model, load_any, load_config, load_tokenizer
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.models.reference import resolve_model
from edgeprune.ondevice.agent import device_info
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.run import run_node
from edgeprune.profiles.pipeline import Pipeline, PrepareConfig
from edgeprune.profiles.target import Target
from edgeprune.pruning.importance import Scores, open_scores
from edgeprune.pruning.pictures import ImportanceMap, importance_map, write_attention, write_importance
from edgeprune.store.checkpoints import checkpoint_folder
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["draw_attention", "draw_importance"]

_SCORES = "scores.safetensors"
_NOWHERE: "dict[str, JsonValue]" = {
    "schema_version": 1,
    "name": "none",
    "description": "Nothing is quantized or timed",
    "runtime": {"threads": 1},
    "precision": {"mode": "fp32"},
    "runner": None,
}


def draw_importance(
    reference: str,
    data: DataSpec | None,
    *,
    criterion: str | None,
    task: str | None,
    store: Store,
    output: Path,
    offline: bool = False,
    emit: Emit = ignore,
) -> tuple[Path, Path]:
    """Write `importance.png` and `importance.html` of a model.

    Args:
        reference: A model reference, an artifact's folder in the store, or a package's folder.
        data: What to compute scores on; None: take those that an artifact or a package was pruned by.
        criterion: Of the computed scores; None: fisher.
        task: One of optimum's task names; None: from the checkpoint's architecture.
        store: Where artifacts are found and kept.
        output: The folder to write to.
        offline: Never ask the network for the model or the data.
        emit: Is handed every event.

    Raises:
        UsageError: There are neither scores nor data, no such criterion, or matplotlib isn't installed.
    """
    if data is None:
        if criterion is not None:
            raise UsageError("--criterion says how scores are computed; give --data to compute them on")
        found = _saved(Path(reference), store)
        if found is None:
            raise UsageError(f"{reference} carries no scores; give --data to compute them on")
    else:
        found = _computed(_request(reference, data, criterion or "fisher", task, store, offline=offline), emit)
    with storage_errors(output):
        return write_importance(found, f"Importance in {_short(reference)}", output)


def draw_attention(reference: str, text: str, *, store: Store, output: Path, offline: bool = False) -> Path:
    """Write `attention.html`: every head's attention over the tokens of `text`.

    Raises:
        UsageError: The model reads images, or bertviz isn't installed.
    """
    folder = _folder(reference, store, offline=offline)
    with quiet_libraries():
        config = load_config(folder)
        longest = longest_text(config)
        if longest is None:
            raise UsageError(f"{reference} reads images; attention is drawn over the tokens of a text")
        model = load_any(folder, attn_implementation="eager").base_model
        record = read_pruning(folder) or PruningRecord.dense(model, "")
        dense = PruningRecord.dense(empty_model(config, None), "")
        with storage_errors(output):
            return write_attention(model, load_tokenizer(folder), text, record, dense, longest, output)


def _arch() -> str:
    """The architecture a target may have that is nearest to this machine's; nothing here depends on it."""
    return "aarch64" if device_info()["arch"] == "aarch64" else "x86_64"


def _folder(reference: str, store: Store, *, offline: bool) -> Path:
    """The checkpoint of a model reference, an artifact or a package."""
    return checkpoint_folder(Path(reference), store) or resolve_model(reference, offline=offline).folder


def _short(reference: str) -> str:
    """An artifact's stage and the beginning of its key; anything else as it is."""
    path = Path(reference)
    if not (path / "manifest.json").is_file():
        return reference
    manifest = Store.open(path).manifest
    return f"{manifest.stage} {manifest.key[:12]}"


def _request(
    reference: str, data: DataSpec, criterion: str, task: str | None, store: Store, *, offline: bool
) -> BuildRequest:
    """A pipeline that scores and removes nothing."""
    folder = _folder(reference, store, offline=offline)
    longest = longest_text(load_config(folder))
    content: dict[str, JsonValue] = {
        "schema_version": 1,
        "name": "importance",
        "description": "Score heads and neurons, remove none",
        "stages": {
            "prepare": {} if longest is None else {"max_length": min(PrepareConfig().max_length, longest)},
            "prune": {"steps": [{"method": "structured", "importance": criterion}]},
        },
    }
    return BuildRequest(
        model=str(folder),
        data=data,
        pipeline=validate(Pipeline, content, source="--criterion", kind="choice"),
        target=validate(
            Target, {**_NOWHERE, "device": {"arch": _arch()}}, source="this machine", kind="target profile"
        ),
        pipeline_reference="importance",
        target_reference="host",
        store=store.root,
        name="importance",
        task=task,
        offline=offline,
    )


def _saved(path: Path, store: Store) -> ImportanceMap | None:
    pruned = _prune_artifact(path, store)
    if pruned is None:
        return None
    scores = open_scores(pruned.file(_SCORES)).scores
    return _map(list(scores.values()), pruned.file("checkpoint")) if scores else None


def _computed(request: BuildRequest, emit: Emit) -> ImportanceMap:
    plan = make_plan(request)
    store = Store(request.store)
    store.ensure_writable()
    artifacts: dict[str, Artifact] = {}
    for node in plan.nodes:
        if node.stage.name in ("prepare", "prune"):
            artifacts[node.id], _ = run_node(node, plan, store, artifacts, seed=request.pipeline.seed, emit=emit)
    pruned = artifacts["prune-1"]
    return _map([open_scores(pruned.file(_SCORES)).scores[0]], pruned.file("checkpoint"))


def _map(steps: list[Scores], checkpoint: Path) -> ImportanceMap:
    record = read_pruning(checkpoint)
    dense = PruningRecord.dense(empty_model(load_config(checkpoint), None), "")
    removed = record is not None and record.layers != dense.layers
    return importance_map(steps, dense, record if removed else None)


def _prune_artifact(path: Path, store: Store) -> Artifact | None:
    """The prune artifact that an artifact or a package is, or was made from."""
    checkpoint = checkpoint_folder(path, store)
    artifact = None if checkpoint is None else Store.open(checkpoint.parent)
    if artifact is not None and artifact.manifest.stage == "finetune":
        pruned = artifact.path.parents[1] / "prune" / artifact.manifest.parents["checkpoint"]
        artifact = Store.open(pruned) if pruned.is_dir() else None  # else nothing was pruned before it
    return artifact if artifact is not None and artifact.manifest.stage == "prune" else None

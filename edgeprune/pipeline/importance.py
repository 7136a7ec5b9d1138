"""Draw how much each head and each neuron of a model matters.

Scores that pruning kept are read; other scores are computed. To compute scores, the stages prepare and prune of a
pipeline that removes nothing are run. So the code is the same as in a build, and the second time the scores come from
the store.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.base.errors import UsageError, storage_errors
from edgeprune.base.events import Emit, ignore
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.base.strict_yaml import validate
from edgeprune.data.table import DataSpec
from edgeprune.models.architectures import longest_text
from edgeprune.models.checkpoint import empty_model, load_any, load_config
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.models.sizes import checkpoint_of
from edgeprune.models.text_reader import load_text_reader
from edgeprune.pipeline.checks import check_pipeline
from edgeprune.pipeline.plan import plan_checkpoints
from edgeprune.pipeline.run import run_nodes
from edgeprune.pipeline.subject import Subject, find_subject
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.training import PrepareConfig
from edgeprune.pruning.importance import Scores, open_scores
from edgeprune.pruning.pictures import ImportanceMap, importance_map, write_attention, write_importance
from edgeprune.store.checkpoints import checkpoint_artifact
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["draw_attention", "draw_importance"]

_SCORES = "scores.safetensors"


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
        data: The rows that scores are computed on; None: the scores are read by which the artifact or package was
            pruned.
        criterion: The criterion of computed scores; None: fisher.
        task: One of optimum's task names; None: the checkpoint's architecture says the task.
        store: Where artifacts are found and kept.
        output: The folder to write to.
        offline: Whether the network is never asked for the model or the data.
        emit: A function that is handed every event.

    Returns:
        The paths of the two files.

    Raises:
        UsageError: There are neither scores nor data, or the criterion doesn't exist.
    """
    if data is None:
        if criterion is not None:
            raise UsageError("--criterion says how scores are computed; give --data to compute them on")
        found = _saved(Path(reference), store)
        if found is None:
            raise UsageError(f"{reference} carries no scores; give --data to compute them on")
    else:
        folder = checkpoint_of(reference, store, offline=offline)
        subject = find_subject(str(folder), data, task=task, offline=offline)
        found = _computed(subject, _scoring_only(folder, criterion or "fisher"), store, emit)
    with storage_errors(output):
        return write_importance(found, f"Importance in {_short(reference)}", output)


def draw_attention(reference: str, text: str, *, store: Store, output: Path, offline: bool = False) -> Path:
    """Write `attention.html`, which shows where every head attends in a text.

    Args:
        reference: A model reference, an artifact's folder in the store, or a package's folder.
        text: The text.
        store: Where artifacts are found.
        output: The folder to write to.
        offline: Whether the network is never asked for the model.

    Returns:
        The path of the file.

    Raises:
        UsageError: The model reads images, or bertviz isn't installed.
    """
    folder = checkpoint_of(reference, store, offline=offline)
    with quiet_libraries():
        config = load_config(folder)
        longest = longest_text(config)
        if longest is None:
            raise UsageError(f"{reference} reads images; attention is drawn over the tokens of a text")
        model = load_any(folder, attn_implementation="eager").base_model
        record = read_pruning(folder) or PruningRecord.dense(model, "")
        reader = load_text_reader(folder, longest)
        reader.fit_to(config, tokens=None if record.vocabulary is None else len(record.vocabulary))
        dense = PruningRecord.dense(empty_model(config, None), "")
        with storage_errors(output):
            return write_attention(model, reader, text, record, dense, output)


def _short(reference: str) -> str:
    """Shorten an artifact's folder to its stage and the beginning of its key. Give any other reference unchanged."""
    path = Path(reference)
    if not (path / "manifest.json").is_file():
        return reference
    manifest = Store.open(path).manifest
    return f"{manifest.stage} {manifest.key[:12]}"


def _scoring_only(folder: Path, criterion: str) -> Pipeline:
    """Make a pipeline that scores heads and neurons and removes nothing."""
    longest = longest_text(load_config(folder))
    prepare: dict[str, JsonValue] = {"epochs": 2}
    if longest is not None:
        prepare["max_length"] = min(PrepareConfig().max_length, longest)
    content: dict[str, JsonValue] = {
        "schema_version": 1,
        "name": "importance",
        "description": "Score heads and neurons, remove none",
        "stages": {
            "prepare": prepare,
            "prune": {"steps": [{"method": "structured", "importance": criterion}]},
        },
    }
    return validate(Pipeline, content, source="--criterion", kind="choice")


def _saved(path: Path, store: Store) -> ImportanceMap | None:
    pruned = _prune_artifact(path, store)
    if pruned is None:
        return None
    scores = open_scores(pruned.file(_SCORES)).scores
    return _map(list(scores.values()), pruned.file("checkpoint")) if scores else None


def _computed(subject: Subject, pipeline: Pipeline, store: Store, emit: Emit) -> ImportanceMap:
    check_pipeline(pipeline, subject.task, subject.model)
    store.ensure_writable()
    with store.in_use():
        *_, (_, last) = run_nodes(plan_checkpoints(subject, pipeline, store), subject, store, emit=emit)
        pruned = last.artifact
        return _map([open_scores(pruned.file(_SCORES)).scores[0]], pruned.file("checkpoint"))


def _map(steps: list[Scores], checkpoint: Path) -> ImportanceMap:
    record = read_pruning(checkpoint)
    dense = PruningRecord.dense(empty_model(load_config(checkpoint), None), "")
    removed = record is not None and record.layers != dense.layers
    return importance_map(steps, dense, record if removed else None)


def _prune_artifact(path: Path, store: Store) -> Artifact | None:
    """Find the prune artifact that lies in a folder, or that the artifact or package there was made from.

    None if nothing was pruned.
    """
    artifact = checkpoint_artifact(path, store)
    if artifact is not None and artifact.manifest.stage == "finetune":
        artifact = Store.holding(artifact.path).by_key(artifact.manifest.parents["checkpoint"])
    return artifact if artifact is not None and artifact.manifest.stage == "prune" else None

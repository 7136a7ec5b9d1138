"""Run one node of a plan: find its artifact in the store, or make it there whole.

Every stage runs under its key's lock, into a draft folder that is renamed when it is complete. Two builds of one thing at
once share the work: the second waits, then finds the artifact.
"""

import contextlib
import datetime as dt
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from edgeprune.base.errors import IntegrityError, storage_errors
from edgeprune.base.events import Emit, Event, Note, Progress, StageFinished, StageStarted, StageWaiting, ignore
from edgeprune.base.memory import peak_memory_mb, release_memory, reset_peak
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.base.threads import torch_threads
from edgeprune.pipeline.plan import Node, Plan
from edgeprune.pipeline.stages.base import Work
from edgeprune.store.environment import environment, numeric_mode
from edgeprune.store.files import file_records
from edgeprune.store.records import Artifact, Manifest
from edgeprune.store.store import MEASURING, Store

__all__ = ["measure_node", "run_node"]


def run_node(
    node: Node, plan: Plan, store: Store, artifacts: Mapping[str, Artifact], *, seed: int, emit: Emit = ignore
) -> tuple[Artifact, bool]:
    """The node's artifact, and whether it was in the store already.

    Args:
        node: What to make.
        plan: The plan that it belongs to.
        store: Where artifacts are found and kept.
        artifacts: Those made so far, by node id; the node's parents are among them.
        seed: The pipeline's.
        emit: Is handed every event.
    """
    stage, key = node.stage, _key(node)
    waiting = StageWaiting(stage.name, stage.round, key)
    with storage_errors(store.root), store.lock(stage.name, key, lambda: emit(waiting)):
        artifact = _find(store, stage.name, key, emit)
        cached = artifact is not None
        if artifact is None:
            emit(StageStarted(stage.name, stage.round, key))
            draft, place = store.draft(stage.name, key), store.folder(stage.name, key)
            artifact = _run(node, plan, store, artifacts, draft, place, emit, seed)
    emit(StageFinished(stage.name, stage.round, key, cached, artifact.manifest.duration_s))
    return artifact, cached


def measure_node(
    node: Node, plan: Plan, store: Store, artifacts: Mapping[str, Artifact], *, seed: int, since: float, emit: Emit
) -> Artifact:
    """A new measurement, or one that another build of the same thing finished after `since` (seconds since 1970)."""
    stage, key = node.stage, _key(node)
    waiting = StageWaiting(stage.name, stage.round, key)
    # One measurement of this store at a time, whatever it measures: two would disturb each other.
    with storage_errors(store.root), store.lock(stage.name, MEASURING, lambda: emit(waiting)):
        run = _fresh_run(store.folder(stage.name, key), since)
        shared = run is not None
        if run is None:
            emit(StageStarted(stage.name, stage.round, key))
            run_id = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
            draft, place = store.draft_run(key, run_id), store.folder(stage.name, key) / run_id
            run = _run(node, plan, store, artifacts, draft, place, emit, seed)
    emit(StageFinished(stage.name, stage.round, key, shared, run.manifest.duration_s))
    return run


def _fresh_run(folder: Path, since: float) -> Artifact | None:
    for manifest in sorted(folder.glob("[!.]*/manifest.json"), reverse=True):
        if manifest.stat().st_mtime >= since:
            return Store.open(manifest.parent)
    return None


def _key(node: Node) -> str:
    key = node.key
    assert key is not None  # noqa: S101 (nodes run after those they depend on)
    return key


def _find(store: Store, stage: str, key: str, emit: Emit) -> Artifact | None:
    try:
        return store.find(stage, key)
    except IntegrityError as error:
        emit(Note(f"{error} (doing so now)"))
        store.remove(store.folder(stage, key))
        return None


def _run(
    node: Node,
    plan: Plan,
    store: Store,
    artifacts: Mapping[str, Artifact],
    draft: Path,
    place: Path,
    emit: Emit,
    seed: int,
) -> Artifact:
    """Run a stage into its draft and commit it; a failed stage leaves nothing."""
    stage, key = node.stage, _key(node)
    outside = sys.stdout

    def tell(event: Event) -> None:
        with contextlib.redirect_stdout(outside):  # inside, libraries print to nowhere; who listens may print
            emit(event)

    work = Work(
        model=plan.model,
        data=plan.data,
        parents={role: artifacts[parent.id] for role, parent in node.parents.items()},
        folder=draft,
        partial=store.partial(key),
        seed=seed,
        emit=tell,
        progress=lambda done, total, unit: tell(Progress(stage.name, stage.round, done, total, unit)),
    )
    release_memory()
    reset_peak()
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
    try:
        with quiet_libraries(), torch_threads(numeric_mode("fp32").threads):
            metrics = stage(work)
        manifest = Manifest(
            stage=stage.name,
            key=key,
            parents={role: _key(parent) for role, parent in node.parents.items()},
            config=stage.fingerprint(),
            files=file_records(draft),
            metrics=metrics,
            environment=environment(stage.libraries),
            seed=seed,
            started_at=started.isoformat(timespec="seconds"),
            duration_s=round(time.perf_counter() - clock, 3),
            peak_memory_mb=peak_memory_mb(),
        )
        return store.commit(draft, place, manifest)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise

"""Run the nodes of a plan: find each artifact in the store, or make it there, whole or not at all.

Every stage runs under its key's lock and writes into a draft folder, which is renamed when it is complete. Two builds
that need the same artifact at the same time share the work: the second build waits, then finds the artifact.
"""

import contextlib
import datetime as dt
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.base.errors import IntegrityError, storage_errors
from edgeprune.base.events import Emit, Event, Note, Progress, StageFinished, StageStarted, StageWaiting, ignore
from edgeprune.base.memory import peak_memory_mb, release_memory, reset_peak
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.base.threads import torch_threads
from edgeprune.pipeline.nodes import Node
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.subject import Subject
from edgeprune.store.environment import environment, numeric_mode
from edgeprune.store.files import file_records
from edgeprune.store.manifests import MANIFEST
from edgeprune.store.records import Artifact, Manifest
from edgeprune.store.store import MEASURING, Store

__all__ = ["Done", "NodeRunner", "run_nodes"]


@dataclass(frozen=True)
class Done:
    """Hold the result of a node."""

    artifact: Artifact
    cached: bool
    """Whether the artifact was in the store already, or another build made it meanwhile."""


def run_nodes(
    nodes: Iterable[Node], subject: Subject, store: Store, *, emit: Emit = ignore
) -> Iterator[tuple[Node, Done]]:
    """Run nodes in their order. Yield each node with its result as soon as it is done.

    Args:
        nodes: The nodes, each one after its parents.
        subject: The model and the data of all nodes.
        store: Where artifacts are found and kept.
        emit: A function that is handed every event.
    """
    runner = NodeRunner(subject, store, emit)
    for node in nodes:
        yield node, runner(node)


class NodeRunner:
    """Run one node after another, and remember their results.

    Args:
        subject: The model and the data of all nodes.
        store: Where artifacts are found and kept.
        emit: A function that is handed every event.
    """

    def __init__(self, subject: Subject, store: Store, emit: Emit) -> None:
        self.done: dict[str, Done] = {}
        """The results so far, by the node's id."""
        self._subject = subject
        self._store = store
        self._emit = emit
        self._since = time.time()

    def __call__(self, node: Node) -> Done:
        """Run a node, unless it was run already. Its parents must have been run before."""
        if node.id not in self.done:
            artifacts = {node_id: one.artifact for node_id, one in self.done.items()}
            run = _Run(node, self._subject, self._store, artifacts, self._emit)
            self.done[node.id] = run.measured(self._since) if node.stage.measures else run.found_or_made()
        return self.done[node.id]


@dataclass(frozen=True)
class _Run:
    """Run one node: find its artifact in the store, or make it."""

    node: Node
    subject: Subject
    store: Store
    artifacts: Mapping[str, Artifact]
    """The artifacts of earlier nodes, by the node's id. The parents of this node are among them."""
    emit: Emit

    @property
    def key(self) -> str:
        return _key(self.node)

    def found_or_made(self) -> Done:
        """Take the artifact from the store, or make it there."""
        stage, store = self.node.stage, self.store
        with self._locked(stage.name, self.key):
            artifact = _find(store, stage.name, self.key, self.emit)
            cached = artifact is not None
            if artifact is None:
                draft, place = store.draft(stage.name, self.key), store.folder(stage.name, self.key)
                artifact = self._made(draft, place)
        return self._finished(artifact, cached=cached)

    def measured(self, since: float) -> Done:
        """Measure anew, or take what another build of the same artifact measured after `since` (seconds since 1970)."""
        stage, store = self.node.stage, self.store
        # Only one measurement runs at a time in this store, because two would disturb each other.
        with self._locked("benchmark", MEASURING):
            run = _fresh_run(store, stage.name, self.key, since)
            shared = run is not None
            if run is None:
                run_id = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
                draft, place = (
                    store.draft_run(stage.name, self.key, run_id),
                    store.folder(stage.name, self.key) / run_id,
                )
                run = self._made(draft, place)
        return self._finished(run, cached=shared)

    @contextlib.contextmanager
    def _locked(self, name: str, key: str) -> Iterator[None]:
        """Hold a lock of the store. If another build holds the lock, say so once and wait."""
        stage = self.node.stage
        waiting = StageWaiting(stage.name, stage.round, self.key)
        with storage_errors(self.store.root), self.store.lock(name, key, lambda: self.emit(waiting)):
            yield

    def _finished(self, artifact: Artifact, *, cached: bool) -> Done:
        stage = self.node.stage
        self.emit(StageFinished(stage.name, stage.round, self.key, cached, artifact.manifest.duration_s))
        return Done(artifact, cached)

    def _made(self, draft: Path, place: Path) -> Artifact:
        """Run the stage into its draft folder and commit the draft. A stage that fails leaves nothing."""
        node, stage = self.node, self.node.stage
        self.emit(StageStarted(stage.name, stage.round, self.key))
        work = self._work(draft)
        release_memory()
        reset_peak()
        started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
        try:
            with quiet_libraries(), torch_threads(numeric_mode("fp32").threads):
                metrics = stage(work)
            manifest = Manifest(
                stage=stage.name,
                key=self.key,
                parents={role: _key(parent) for role, parent in node.parents.items()},
                config=stage.fingerprint(),
                files=file_records(draft),
                metrics=metrics,
                environment=environment(stage.libraries),
                seed=node.seed,
                started_at=started.isoformat(timespec="seconds"),
                duration_s=round(time.perf_counter() - clock, 3),
                peak_memory_mb=peak_memory_mb(),
            )
            return self.store.commit(draft, place, manifest)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _work(self, draft: Path) -> Work:
        stage, outside = self.node.stage, sys.stdout

        def tell(event: Event) -> None:
            with contextlib.redirect_stdout(outside):  # a stage's libraries print to nowhere, but `emit` may print
                self.emit(event)

        return Work(
            model=self.subject.model,
            data=self.subject.data,
            unlabelled=self.subject.unlabelled,
            parents={role: self.artifacts[parent.id] for role, parent in self.node.parents.items()},
            folder=draft,
            partial=self.store.partial(self.key),
            seed=self.node.seed,
            emit=tell,
            progress=lambda done, total, unit: tell(Progress(stage.name, stage.round, done, total, unit)),
        )


def _fresh_run(store: Store, stage: str, key: str, since: float) -> Artifact | None:
    for manifest in sorted(store.folder(stage, key).glob(f"[!.]*/{MANIFEST}"), reverse=True):
        if manifest.stat().st_mtime >= since:
            with contextlib.suppress(IntegrityError):  # a damaged one is measured again
                return store.checked(manifest.parent, stage, key)
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

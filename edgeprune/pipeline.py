"""A build: which stages, in which order, under which keys; what is in the store is taken from there.

    plan = make_plan(request)          # light: no torch
    report = build(plan, request, emit=print)

Every stage runs under its key's lock, into a draft folder that is renamed when it is whole. Two builds of one thing at
once share the work: the second waits, then finds the artifact.
"""

import datetime as dt
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.agent import device_info
from edgeprune.artifacts import Artifact, Manifest, Store, file_digest, file_records, sync_tree, total_bytes, write_text
from edgeprune.budget import exit_code, judge, overall
from edgeprune.data import DataSource, DataSpec
from edgeprune.errors import EdgepruneError, IntegrityError, UsageError, storage_error
from edgeprune.events import Emit, Note, Progress, StageFinished, StageStarted, StageWaiting, ignore
from edgeprune.memory import peak_memory_mb, release_memory, reset_peak
from edgeprune.models.reference import ModelSource, resolve_model
from edgeprune.numeric import environment, numeric_mode
from edgeprune.precision import resolve_precision
from edgeprune.profiles import Pipeline, Target, mismatches
from edgeprune.results import BuildReport, PackageRow, StageRow
from edgeprune.runners.local import LocalRunner
from edgeprune.silence import quiet_libraries
from edgeprune.stage import Stage, Work
from edgeprune.stages.benchmark import Benchmark, read_latency
from edgeprune.stages.export import Export
from edgeprune.stages.finetune import Finetune
from edgeprune.stages.package import Package, PackageName
from edgeprune.stages.prepare import Prepare
from edgeprune.stages.prune import Prune
from edgeprune.stages.quantize import Quantize
from edgeprune.tasks import ProblemType, TaskName, resolve_task

__all__ = ["BuildRequest", "Node", "Plan", "build", "make_plan"]

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")


@dataclass(frozen=True)
class BuildRequest:
    """Everything a build is asked for, profiles already read."""

    model: str
    data: DataSpec
    pipeline: Pipeline
    target: Target
    store: Path = Path(".edgeprune")
    output: Path = Path("dist")
    name: str | None = None
    """Of the package; None: the model's."""
    release: str = "0"
    task: str | None = None
    problem_type: ProblemType | None = None
    offline: bool = False


@dataclass(frozen=True)
class Node:
    """One stage of a plan, and the artifacts it reads (role to node)."""

    id: str
    stage: Stage
    parents: Mapping[str, "Node"]
    key: str


@dataclass(frozen=True)
class Plan:
    """The nodes of a build in their order, and what they all read."""

    model: ModelSource
    data: DataSource
    task: TaskName
    name: PackageName
    nodes: list[Node]
    benchmark: Node | None
    """None: the target can't be measured from here."""
    unreachable: str | None
    """Why not."""


@dataclass
class _Built:
    """Artifacts by node id, and what was taken from the store."""

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    cached: dict[str, bool] = field(default_factory=dict)


def make_plan(request: BuildRequest) -> Plan:
    """Resolve model, data and task, and compute every key.

    Raises:
        UsageError: Anything in the request can't be used.
    """
    model = resolve_model(request.model, offline=request.offline)
    task = resolve_task(request.task, model.config)
    if request.problem_type is not None and task != "text-classification":
        raise UsageError(f"--problem-type is for text-classification, the task here is {task}")
    data = DataSource(request.data, labelled=task == "text-classification", offline=request.offline)
    name = PackageName(name=request.name or model.name, release=request.release, target=request.target.name)
    for kind, value in (("--name", name.name), ("--release", name.release)):
        if not _NAME.match(value):
            raise UsageError(f"{kind} {value!r} should consist of letters, digits and . _ + - (it names a folder)")

    stages, target, seed = request.pipeline.stages, request.target, request.pipeline.seed
    nodes: list[Node] = []

    def add(node_id: str, stage: Stage, **parents: Node) -> Node:
        named = {role.replace("_", "-"): node for role, node in parents.items()}
        node = Node(node_id, stage, named, stage.key({role: node.key for role, node in named.items()}, seed))
        nodes.append(node)
        return node

    dense = add(
        "prepare",
        Prepare(
            stages.prepare,
            task=task,
            problem_type=request.problem_type,
            model_digest=model.digest,
            data_digest=data.digest,
            numeric=numeric_mode(stages.prepare.precision),
        ),
    )
    final, last_round = dense, 0
    for number in range(1, request.pipeline.rounds + 1):
        if stages.prune is not None:
            stage: Stage = Prune(stages.prune, round_number=number, rounds=request.pipeline.rounds)
            final, last_round = add(f"prune-{number}", stage, dense=dense, checkpoint=final), number
        if stages.finetune is not None:
            stage = Finetune(stages.finetune, numeric=numeric_mode(stages.finetune.precision), round_number=number)
            final, last_round = add(f"finetune-{number}", stage, dense=dense, checkpoint=final), number
    dense_onnx = add("export-0", Export(stages.export, round_number=0), dense=dense, checkpoint=dense)
    final_onnx = dense_onnx
    if final is not dense:
        final_onnx = add(
            f"export-{last_round}", Export(stages.export, round_number=last_round), dense=dense, checkpoint=final
        )
    settings = resolve_precision(
        target.precision.mode,
        arch=target.device.arch,
        isa=target.device.isa,
        weight_type=target.precision.weight_type,
        reduce_range=target.precision.reduce_range,
        per_channel=target.precision.per_channel,
    )
    result = add(f"quantize-{last_round}", Quantize(settings, round_number=last_round), dense=dense, onnx=final_onnx)
    lineage = {node.id: node for node in nodes if node is not dense_onnx or final_onnx is dense_onnx}
    package = Package(stages.package, name=name, settings=settings, runtime=target.runtime)
    package.round = last_round
    add("package", package, dense=dense, model=result, **lineage)

    unreachable = _unreachable(target)
    benchmark = None
    if unreachable is None:
        stage = Benchmark(stages.benchmark, runtime=target.runtime, workload=target.workload, runner=LocalRunner())
        stage.round = last_round
        benchmark = add("benchmark", stage, dense=dense, dense_fp32=dense_onnx, final=result)
    return Plan(model, data, task, name, nodes, benchmark, unreachable)


def build(plan: Plan, request: BuildRequest, *, emit: Emit = ignore) -> BuildReport:
    """Run a request's plan, taking from the store what is there, and publish the package.

    Raises:
        EdgepruneError: With the exit code it stands for. A missed budget is no error: the report says so.
    """
    started = time.time()
    store = Store(request.store)
    store.ensure_writable()
    _check_output(request.output, plan.name.folder)
    built = _Built()
    for node in plan.nodes:
        if node is plan.benchmark:
            built.artifacts[node.id] = _measure(node, plan, store, built, emit, request.pipeline.seed, started)
            built.cached[node.id] = False
        else:
            _make(node, plan, store, built, emit, request.pipeline.seed)
    if plan.unreachable is not None:
        emit(Note(f"not measured: {plan.unreachable}; on the device: edgeprune build … --target {request.target.name}"))
    return _publish(request, plan, built)


def _unreachable(target: Target) -> str | None:
    if target.runner is None:
        return f"{target.name} has no runner (runner: null)"
    reasons = mismatches(target, device_info())
    return f"this machine is not a {target.name}: it {'; it '.join(reasons)}" if reasons else None


def _work(node: Node, plan: Plan, store: Store, built: _Built, folder: Path, emit: Emit, seed: int) -> Work:
    stage = node.stage

    def progress(done: int, total: int, unit: str) -> None:
        emit(Progress(stage.name, stage.round, done, total, unit))

    return Work(
        model=plan.model,
        data=plan.data,
        parents={role: built.artifacts[parent.id] for role, parent in node.parents.items()},
        folder=folder,
        partial=store.partial(node.key),
        seed=seed,
        emit=emit,
        progress=progress,
    )


def _make(node: Node, plan: Plan, store: Store, built: _Built, emit: Emit, seed: int) -> None:
    """Find the node's artifact in the store, or make it there."""
    stage = node.stage
    waiting = StageWaiting(stage.name, stage.round, node.key)
    with _storage_errors(store), store.lock(stage.name, node.key, lambda: emit(waiting)):
        artifact = _find(store, node, emit)
        built.cached[node.id] = artifact is not None
        if artifact is None:
            emit(StageStarted(stage.name, stage.round, node.key))
            draft = store.draft(stage.name, node.key)
            artifact = _run(node, plan, store, built, draft, store.folder(stage.name, node.key), emit, seed)
        built.artifacts[node.id] = artifact
    emit(StageFinished(stage.name, stage.round, node.key, built.cached[node.id], artifact.manifest.duration_s))


def _find(store: Store, node: Node, emit: Emit) -> Artifact | None:
    try:
        return store.find(node.stage.name, node.key)
    except IntegrityError as error:
        emit(Note(f"{error} (doing so now)"))
        store.remove(store.folder(node.stage.name, node.key))
        return None


def _run(
    node: Node, plan: Plan, store: Store, built: _Built, draft: Path, place: Path, emit: Emit, seed: int
) -> Artifact:
    """Run a stage into its draft and commit it; a failed stage leaves nothing."""
    release_memory()
    reset_peak()
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()
    try:
        with quiet_libraries():
            metrics = node.stage(_work(node, plan, store, built, draft, emit, seed))
        manifest = Manifest(
            stage=node.stage.name,
            key=node.key,
            parents={role: parent.key for role, parent in node.parents.items()},
            config=node.stage.fingerprint(),
            files=file_records(draft),
            metrics=metrics,
            environment=environment(node.stage.libraries),
            seed=seed,
            started_at=started.isoformat(timespec="seconds"),
            duration_s=round(time.perf_counter() - clock, 3),
            peak_memory_mb=peak_memory_mb(),
        )
        return store.commit(draft, place, manifest)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _measure(
    node: Node, plan: Plan, store: Store, built: _Built, emit: Emit, seed: int, build_started: float
) -> Artifact:
    """A new measurement, or one that another build of the same thing finished since this build began."""
    stage = node.stage
    waiting = StageWaiting(stage.name, stage.round, node.key)
    with _storage_errors(store), store.lock(stage.name, node.key, lambda: emit(waiting)):
        for manifest in sorted(store.folder(stage.name, node.key).glob("[!.]*/manifest.json"), reverse=True):
            if manifest.stat().st_mtime >= build_started:
                run = store.open(manifest.parent)
                emit(StageFinished(stage.name, stage.round, node.key, True, run.manifest.duration_s))
                return run
        emit(StageStarted(stage.name, stage.round, node.key))
        run_id = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        place = store.folder(stage.name, node.key) / run_id
        run = _run(node, plan, store, built, store.draft_run(node.key, run_id), place, emit, seed)
    emit(StageFinished(stage.name, stage.round, node.key, False, run.manifest.duration_s))
    return run


class _storage_errors:  # noqa: N801 (used as a with-statement's verb)
    """Inside, a failed write anywhere in a library becomes a StorageError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, EdgepruneError) or not isinstance(error, Exception):
            return
        found = storage_error(error, self._store.root)
        if found is not None:
            raise found from error


def _check_output(output: Path, name: str) -> None:
    """Refuse to replace what edgeprune didn't write."""
    folder = output / name
    if folder.exists() and not (folder / "SHA256SUMS").is_file():
        raise UsageError(f"{folder} is there and is not a package of edgeprune's; move it, or choose another --output")


def _publish(request: BuildRequest, plan: Plan, built: _Built) -> BuildReport:
    """Copy the package out of the store, write build.json and the benchmark beside it."""
    package = built.artifacts["package"]
    final = package.manifest.metrics
    assert final.metric is not None  # noqa: S101 (the package stage always carries its model's metric)
    latency = [] if plan.benchmark is None else read_latency(built.artifacts[plan.benchmark.id])
    name = plan.name.folder
    size_bytes = total_bytes([package.file(name)])
    shipped = next((row for row in latency if row.artifact == "final"), None)
    rows = judge(request.target.budget, size_mb=size_bytes / 1e6, metric=final.metric, latency=shipped)
    output = request.output
    report = BuildReport(
        name=plan.name.name,
        release=plan.name.release,
        target=request.target.name,
        pipeline=request.pipeline.name,
        task=plan.task,
        verdict=overall(rows),
        exit_code=exit_code(rows),
        package=PackageRow(
            path=str(output / name),
            archive=str(output / f"{name}.tar.gz"),
            size_bytes=size_bytes,
            sha256=file_digest(package.file(f"{name}.tar.gz")),
        ),
        stages=[_stage_row(node, built) for node in plan.nodes],
        linear=built.artifacts["prepare"].manifest.metrics.linear,
        latency=latency,
        budget=rows,
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
        _replace_folder(package.file(name), output / name)
        _replace_file(package.file(f"{name}.tar.gz"), output / f"{name}.tar.gz")
        write_text(output / f"{name}.build.json", report.model_dump_json(indent=2) + "\n")
        if plan.benchmark is not None:
            samples = built.artifacts[plan.benchmark.id].file("samples.jsonl")
            _replace_file(samples, output / f"{name}.benchmark.jsonl")
    except OSError as error:
        raise (storage_error(error, output) or error) from error
    return report


def _stage_row(node: Node, built: _Built) -> StageRow:
    manifest = built.artifacts[node.id].manifest
    return StageRow(
        stage=manifest.stage,
        round=node.stage.round,
        key=node.key,
        cached=built.cached[node.id],
        duration_s=manifest.duration_s,
        peak_memory_mb=manifest.peak_memory_mb,
        parameters=manifest.metrics.parameters,
        size_bytes=manifest.metrics.model_bytes,
        metric=manifest.metrics.metric,
    )


def _replace_file(source: Path, destination: Path) -> None:
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(destination)


def _replace_folder(source: Path, destination: Path) -> None:
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    old = destination.with_name(f".{destination.name}.{os.getpid()}.old")
    shutil.copytree(source, temporary)
    sync_tree(temporary)
    if destination.exists():
        destination.rename(old)
    temporary.rename(destination)
    shutil.rmtree(old, ignore_errors=True)

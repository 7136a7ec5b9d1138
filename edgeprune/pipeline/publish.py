"""A build: run a plan's nodes in their order, judge the budgets, publish the package.

    request = make_request("./my-model", data="reviews.jsonl", target="cpu-x86-avx2")
    report = build(make_plan(request), request, emit=print)

The package is copied out of the store into the output folder, `build.json` and the benchmark's samples beside it.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from edgeprune.base.errors import StorageError, TargetError, UsageError, storage_error
from edgeprune.base.events import Emit, Note, ignore
from edgeprune.benchmark.compare import benchmark
from edgeprune.benchmark.records import LatencyRow
from edgeprune.benchmark.statistics import process_ratio
from edgeprune.benchmark.verdicts import BudgetRow, exit_code, judge, overall
from edgeprune.devices.protocol import ProbeRequest
from edgeprune.pipeline.plan import Node, Plan
from edgeprune.pipeline.report import BuildReport, MobileRow, PackageRow, StageRow
from edgeprune.pipeline.request import BuildRequest, command_on_device
from edgeprune.pipeline.run import measure_node, run_node
from edgeprune.pipeline.stages.benchmark import read_device, read_latency, read_samples
from edgeprune.pipeline.stages.emulate import EmulationRow, read_emulation
from edgeprune.pipeline.stages.mobile import OPERATORS, ORT_MODEL
from edgeprune.pipeline.stages.prune import Prune
from edgeprune.pipeline.stages.race import read_race
from edgeprune.profiles.pipeline import BLOCK
from edgeprune.profiles.runners import LocalConfig
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import read_variant
from edgeprune.store.files import artifact_key, sync_tree, total_bytes, write_text
from edgeprune.store.package import check_digests, description, opened
from edgeprune.store.records import Artifact, Manifest, StageMetrics, recall_of
from edgeprune.store.store import Store

__all__ = ["build"]


def build(plan: Plan, request: BuildRequest, *, emit: Emit = ignore) -> BuildReport:
    """Run a request's plan, taking from the store what is there, and publish the package.

    Raises:
        EdgepruneError: With the exit code it stands for. A missed budget is no error: the report says so.
    """
    with contextlib.nullcontext() if plan.runner is None else contextlib.closing(plan.runner):
        return _build(plan, request, emit)


def _build(plan: Plan, request: BuildRequest, emit: Emit) -> BuildReport:
    since = time.time()
    store = Store(request.store)
    store.ensure_writable()
    _check_output(request.output, plan.name.folder)
    _check_device(plan, request)
    if request.baseline is not None:
        _check_baseline(request.baseline, plan.task)
    artifacts: dict[str, Artifact] = {}
    cached: dict[str, bool] = {}
    seed = request.pipeline.seed
    for node in plan.nodes:
        if node is plan.benchmark:
            artifacts[node.id] = measure_node(node, plan, store, artifacts, seed=seed, since=since, emit=emit)
            cached[node.id] = False
        else:
            artifacts[node.id], cached[node.id] = run_node(node, plan, store, artifacts, seed=seed, emit=emit)
            if node.id == "prepare":
                _check_labels(request.target, artifacts[node.id].manifest.metrics)
    if plan.unreachable is not None:
        emulation = _emulation(artifacts)
        found = f"verified under emulation ({emulation.core}), not timed" if emulation else None
        emit(Note(f"{found or f'not measured: {plan.unreachable}'}; on the device: {command_on_device(request)}"))
    latency = [] if plan.benchmark is None else read_latency(artifacts[plan.benchmark.id])
    notes = [note for artifact in artifacts.values() for note in artifact.manifest.metrics.notes]
    if no_gain := _no_gain(plan, artifacts):
        emit(Note(no_gain))
        notes.append(no_gain)
    return _publish(request, plan, artifacts, cached, latency, _regression(request, plan, artifacts, emit), notes)


def _check_output(output: Path, name: str) -> None:
    """Raises StorageError where nothing could be written, UsageError rather than replace what edgeprune didn't write."""
    above = next(folder for folder in [output, *output.absolute().parents] if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise StorageError(
            f"could not write to {output}: {above} is no folder that may be written; choose another --output"
        )
    folder = output / name
    if folder.exists() and not (folder / "SHA256SUMS").is_file():
        raise UsageError(f"{folder} is there and is not a package of edgeprune's; move it, or choose another --output")


def _check_device(plan: Plan, request: BuildRequest) -> None:
    """Raises TargetError before anything is trained for a device that can't be measured; a plan looked at this machine."""
    if plan.runner is None or isinstance(request.target.runner, LocalConfig):
        return
    try:
        plan.runner.run(ProbeRequest(provider=request.target.runtime.provider), {})
    except TargetError as error:
        raise TargetError(f"{error}; or package without measuring: --set target.runner=null") from error


def _check_baseline(baseline: Path, task: str) -> None:
    """Raises what is wrong with it before anything is trained."""
    with opened(baseline) as folder:
        check_digests(folder, str(baseline))
        other = description(folder)["task"]
    if other != task:
        raise UsageError(f"{baseline} is for {other}, this build for {task}; give a baseline of the same task")


def _regression(request: BuildRequest, plan: Plan, artifacts: Mapping[str, Artifact], emit: Emit) -> list[BudgetRow]:
    """The new package against the baseline; nothing where there is none."""
    if request.baseline is None:
        return []
    if plan.runner is None:
        limit = 1 + request.max_regression
        return [BudgetRow(name="regression", limit=limit, value=None, interval=None, verdict="not_measured")]
    package = artifacts["package"].file(plan.name.folder)
    request.output.mkdir(parents=True, exist_ok=True)
    found = benchmark(
        [package, request.baseline],
        request.target,
        plan.runner,
        config=request.pipeline.stages.benchmark,
        max_regression=request.max_regression,
        samples=request.output / f"{plan.name.folder}.regression.jsonl",
        emit=emit,
    )
    return found.budget


def _check_labels(target: Target, dense: StageMetrics) -> None:
    """Raises UsageError for a floor of a label whose recall isn't measured."""
    known = dense.metric.others if dense.metric else {}
    for label in target.budget.min_recall:
        if recall_of(label) not in known:
            prefix = recall_of("")
            labels = ", ".join(name.removeprefix(prefix) for name in known if name.startswith(prefix))
            raise UsageError(
                f"{target.name} sets budget.min_recall of {label!r}, which isn't measured here; "
                f"{f'labels of the test rows are {labels}' if labels else 'it is of single-label classification'}"
            )


def _publish(
    request: BuildRequest,
    plan: Plan,
    artifacts: Mapping[str, Artifact],
    cached: Mapping[str, bool],
    latency: list[LatencyRow],
    regression: list[BudgetRow],
    notes: list[str],
) -> BuildReport:
    """Copy the package out of the store, write build.json and what else lies beside it."""
    package = artifacts["package"]
    final = package.manifest.metrics
    assert final.metric is not None  # noqa: S101 (the package stage always carries its model's metric)
    name = plan.name.folder
    size_bytes = total_bytes([package.file(name)])
    shipped = next((row for row in latency if row.artifact == "final"), None)
    variant = read_variant(artifacts[plan.shipped.id])
    rows = judge(request.target.budget, size_mb=size_bytes / 1e6, metric=final.metric, latency=shipped) + regression
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
            archive_bytes=package.file(f"{name}.tar.gz").stat().st_size,
            size_bytes=size_bytes,
            sha256=package.digest(f"{name}.tar.gz"),
        ),
        mobile=_mobile_row(output / name, artifacts.get("mobile")),
        emulation=_emulation(artifacts),
        stages=[_stage_row(node, artifacts[node.id].manifest, cached=cached[node.id]) for node in plan.nodes],
        linear=artifacts["prepare"].manifest.metrics.linear,
        device=None if plan.benchmark is None else read_device(artifacts[plan.benchmark.id]),
        variant=variant,
        session_calls=variant.session.calls if variant and variant.session else {},
        race=[
            row for artifact in artifacts.values() if artifact.manifest.stage == "race" for row in read_race(artifact)
        ],
        latency=latency,
        budget=rows,
        notes=notes,
    )
    try:
        # Two builds of one thing at once publish one after the other.
        with Store(request.store).lock("publish", artifact_key([str(output.resolve()), name]), lambda: None):
            output.mkdir(parents=True, exist_ok=True)
            for left in (f".{name}.new", f".{name}.old.new"):
                shutil.rmtree(output / left, ignore_errors=True)
            _replace_folder(package.file(name), output / name)
            _replace_file(package.file(f"{name}.tar.gz"), output / f"{name}.tar.gz")
            write_text(output / f"{name}.build.json", report.model_dump_json(indent=2) + "\n")
            for beside, made in _beside(output / name, plan, artifacts).items():
                if made is None:
                    beside.unlink(missing_ok=True)
                else:
                    _replace_file(made, beside)
    except OSError as error:
        raise (storage_error(error, output) or error) from error
    return report


def _beside(package: Path, plan: Plan, artifacts: Mapping[str, Artifact]) -> dict[Path, Path | None]:
    """What lies beside a package: where, and the file it is; None: this build has none, and an older one's goes."""
    benchmark = None if plan.benchmark is None else artifacts[plan.benchmark.id]
    mobile = artifacts.get("mobile")
    found = {
        "benchmark.jsonl": (benchmark, "samples.jsonl"),
        "ort": (mobile, ORT_MODEL),
        "ort.config": (mobile, OPERATORS),
    }
    return {
        package.with_name(f"{package.name}.{suffix}"): None if artifact is None else artifact.file(name)
        for suffix, (artifact, name) in found.items()
    }


def _emulation(artifacts: Mapping[str, Artifact]) -> EmulationRow | None:
    artifact = artifacts.get("emulate")
    return None if artifact is None else read_emulation(artifact)


def _mobile_row(package: Path, artifact: Artifact | None) -> MobileRow | None:
    if artifact is None:
        return None
    return MobileRow(
        path=f"{package}.ort",
        operators=f"{package}.ort.config",
        size_bytes=artifact.manifest.metrics.model_bytes or 0,
        sha256=artifact.digest(ORT_MODEL),
        max_error=artifact.manifest.metrics.scores["parity_max_error"],
    )


def _no_gain(plan: Plan, artifacts: Mapping[str, Artifact]) -> str | None:
    """A sentence where removing units bought no latency against the dense model in the same precision that can be told."""
    removes = any(isinstance(node.stage, Prune) and node.stage.removes_units for node in plan.nodes)
    samples = {} if plan.benchmark is None else read_samples(artifacts[plan.benchmark.id])
    if not removes or not {"dense", "final"} <= samples.keys():
        return None
    ratio, interval = process_ratio(samples["final"], samples["dense"], block=BLOCK)
    if (interval[1] if interval else ratio) < 1:
        return None
    within = "[{:.2f}, {:.2f}]".format(*interval) if interval else "no interval"
    return (
        f"pruning bought no latency here that can be told: the result takes {ratio:.2f} times ({within}) as long as the dense "
        f"model in the same precision"
    )


def _stage_row(node: Node, manifest: Manifest, *, cached: bool) -> StageRow:
    return StageRow(
        stage=manifest.stage,
        round=node.stage.round,
        key=manifest.key,
        cached=cached,
        duration_s=manifest.duration_s,
        peak_memory_mb=manifest.peak_memory_mb,
        parameters=manifest.metrics.parameters,
        size_bytes=manifest.metrics.model_bytes,
        metric=manifest.metrics.metric,
    )


def _replace_file(source: Path, destination: Path) -> None:
    """Put a copy of `source` in the place of `destination`, whole or not at all."""
    new = destination.with_name(f".{destination.name}.new")
    try:
        shutil.copyfile(source, new)
        new.replace(destination)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _replace_folder(source: Path, destination: Path) -> None:
    """The same for a folder; for a moment there is neither the old nor the new one."""
    new = destination.with_name(f".{destination.name}.new")
    old = destination.with_name(f".{destination.name}.old.new")
    try:
        shutil.copytree(source, new)
        sync_tree(new)
        if destination.exists():
            destination.rename(old)
        new.rename(destination)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""Judge a build by its budgets, tell what pruning gained, and make the report."""

from collections.abc import Mapping
from pathlib import Path

from edgeprune.base.events import Emit, Note, ignore
from edgeprune.base.metric_words import change_words
from edgeprune.benchmark.records import LatencyRow
from edgeprune.benchmark.samples import read_samples
from edgeprune.benchmark.statistics import process_ratio
from edgeprune.benchmark.verdicts import BudgetRow, exit_code, judge, overall
from edgeprune.pipeline.fit import Found
from edgeprune.pipeline.nodes import Node, ancestors
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.report_facts import checkpoint_of, gather_facts
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.run import Done
from edgeprune.pipeline.stages.benchmark import read_device, read_latency
from edgeprune.pipeline.stages.cascade import read_cascade
from edgeprune.pipeline.stages.emulate import read_emulation
from edgeprune.pipeline.stages.examples import CHECKED
from edgeprune.pipeline.stages.mobile import ORT_MODEL
from edgeprune.pipeline.stages.prune import Prune
from edgeprune.pipeline.stages.race import read_race
from edgeprune.pipeline.stages.regression import read_regression
from edgeprune.pipeline.stages.shrink import Shrink
from edgeprune.pipeline.stages.text_graph import TEXT_MODEL
from edgeprune.profiles.pipeline import BLOCK
from edgeprune.profiles.training import PrepareConfig
from edgeprune.profiles.variant import read_variant
from edgeprune.report.records import (
    BuildReport,
    ExampleRow,
    MobileRow,
    PackageRow,
    PageRow,
    StageRow,
    TextGraphRow,
)
from edgeprune.report.words import change_interval, metric_title
from edgeprune.store.files import total_bytes
from edgeprune.store.records import Artifact, Metric

__all__ = ["make_report"]


def make_report(
    request: BuildRequest, plan: Plan, done: Mapping[str, Done], found: Found | None, *, emit: Emit = ignore
) -> BuildReport:
    """Make the report of a build.

    Args:
        request: What was asked for.
        plan: The build's plan.
        done: The result of every node, by the node's id.
        found: What a search found; None: there was no search.
        emit: A function that is handed a note if pruning gained no latency, or if its result is better than the dense model.
    """
    artifacts = {node_id: one.artifact for node_id, one in done.items()}
    benchmark, emulate, package = artifacts.get("benchmark"), artifacts.get("emulate"), artifacts["package"]
    name, path = plan.name.folder, request.output / plan.name.folder
    size_bytes = total_bytes([package.file(name)])
    latency = [] if benchmark is None else read_latency(benchmark)
    assert plan.shipped is not None  # noqa: S101 (a search has chosen by now)
    shipped = artifacts[plan.shipped.id]
    variant = read_variant(shipped)
    budget = _budget_rows(request, package, size_bytes, latency, artifacts.get("regression"))
    facts = gather_facts(
        artifacts["prepare"],
        checkpoint_of(plan.shipped, artifacts),
        shipped,
        plan.subject.data,
        texts=request.options.report,
    )
    rung_of = {} if found is None else found.rung_of
    notes = _notes(plan, artifacts, rung_of)
    metric = _shipped_metric(package)
    for remark in (
        _no_gain(plan, done),
        _above_dense(metric, None if plan.subject.has_head else plan.pipeline.stages.prepare),
    ):
        if remark is not None:
            emit(Note(remark))
            notes.append(remark)
    return BuildReport(
        name=plan.name.name,
        release=plan.name.release,
        target=request.target.name,
        pipeline=request.pipeline.name,
        task=plan.subject.task,
        verdict=overall(budget),
        exit_code=exit_code(budget),
        package=PackageRow(
            path=str(path),
            archive=f"{path}.tar.gz",
            archive_bytes=package.file(f"{name}.tar.gz").stat().st_size,
            size_bytes=size_bytes,
            sha256=package.digest(f"{name}.tar.gz"),
            try_with=facts.try_with,
        ),
        mobile=_mobile_row(path, artifacts.get("mobile")),
        text_graph=_text_graph_row(path, artifacts.get("text-graph")),
        page=_page_row(path, artifacts.get("page")),
        examples=tuple(
            ExampleRow(language=language, path=f"{path}.examples/{language}", checked=CHECKED[language])
            for language in request.pipeline.stages.package.examples
        ),
        emulation=None if emulate is None else read_emulation(emulate),
        stages=[_stage_row(node, done[node.id], rung_of.get(node.id)) for node in plan.nodes],
        linear=artifacts["prepare"].manifest.metrics.linear,
        device=None if benchmark is None else read_device(benchmark),
        variant=variant,
        session_calls=variant.session.calls if variant and variant.session else {},
        race=[row for one in artifacts.values() if one.manifest.stage == "race" for row in read_race(one)],
        latency=latency,
        cascade=next((read_cascade(one) for one in artifacts.values() if one.manifest.stage == "cascade"), None),
        frontier=found and found.frontier,
        budget=budget,
        notes=list(dict.fromkeys(notes)),
        layers=facts.layers,
        hidden_size=facts.hidden_size,
        dense_hidden_size=facts.dense_hidden_size,
        embedding_rank=facts.embedding_rank,
        parts=facts.parts,
        changed=facts.changed,
    )


def _notes(plan: Plan, artifacts: Mapping[str, Artifact], rung_of: Mapping[str, str]) -> list[str]:
    """List what stages remarked, but for rungs of a search that the package isn't made from."""
    package = next(node for node in plan.nodes if node.id == "package")
    ours = {node.id for node in ancestors(package, plan.nodes)}
    told = [one for node_id, one in artifacts.items() if node_id in ours or node_id not in rung_of]
    return [note for one in told for note in one.manifest.metrics.notes]


def _budget_rows(
    request: BuildRequest, package: Artifact, size_bytes: int, latency: list[LatencyRow], regression: Artifact | None
) -> list[BudgetRow]:
    """Judge the profile's budgets and, if there is a baseline, the limit against it."""
    metric = _shipped_metric(package)
    shipped = next((row for row in latency if row.artifact == "final"), None)
    rows = judge(request.target.budget, size_mb=size_bytes / 1e6, metric=metric, latency=shipped)
    if regression is not None:
        return rows + read_regression(regression)
    if request.baseline is not None:
        limit = 1 + request.max_regression
        rows.append(BudgetRow(name="regression", limit=limit, value=None, interval=None, verdict="not_measured"))
    return rows


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


def _text_graph_row(package: Path, artifact: Artifact | None) -> TextGraphRow | None:
    if artifact is None:
        return None
    metrics = artifact.manifest.metrics
    return TextGraphRow(
        path=f"{package}.text.onnx",
        size_bytes=metrics.model_bytes or 0,
        sha256=artifact.digest(TEXT_MODEL),
        max_error=metrics.scores["parity_max_error"],
        texts=int(metrics.scores["texts"]),
    )


def _page_row(package: Path, artifact: Artifact | None) -> PageRow | None:
    if artifact is None:
        return None
    return PageRow(path=f"{package}.page", size_bytes=artifact.manifest.metrics.model_bytes or 0)


def _no_gain(plan: Plan, done: Mapping[str, Done]) -> str | None:
    """Say that removing units gained no measurable latency against the dense model in the same precision.

    None if it gained some, if no units were removed, or if the two weren't timed.
    """
    removes = any(
        (isinstance(node.stage, Prune) and node.stage.removes_units) or isinstance(node.stage, Shrink)
        for node in plan.nodes
    )
    samples = read_samples(done["benchmark"].artifact.file("samples.jsonl")) if "benchmark" in done else {}
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


def _shipped_metric(package: Artifact) -> Metric:
    metric = package.manifest.metrics.metric
    assert metric is not None  # noqa: S101 (the package stage always carries its model's metric)
    return metric


def _above_dense(metric: Metric, prepare: PrepareConfig | None) -> str | None:
    """Say that the result is better than the dense model by more than noise; None if it isn't.

    Args:
        metric: The result's metric on the test split.
        prepare: How the build trained the dense model; None: it didn't.
    """
    if metric.drop is None or metric.drop_interval is None or metric.drop_interval[1] >= 0:
        return None
    change = f"{change_words(metric.name, -metric.drop)} {change_interval(metric.name, metric.drop_interval)}"
    if prepare is None:
        longer = "train it longer before it is pruned"
    elif prepare.epochs == "auto":
        longer = "raise stages.prepare.patience, or name other rates in stages.prepare.learning_rate"
    else:
        longer = "set stages.prepare.epochs to auto, or raise it"
    return (
        f"the result's {metric_title(metric.name)} is {change} against the dense model's, which is more than noise: the dense "
        f"model is probably not trained to its best, and flatters what is compared with it; {longer}"
    )


def _stage_row(node: Node, done: Done, rung: str | None) -> StageRow:
    manifest = done.artifact.manifest
    return StageRow(
        stage=manifest.stage,
        round=node.stage.round,
        rung=rung,
        key=manifest.key,
        cached=done.cached,
        duration_s=manifest.duration_s,
        peak_memory_mb=manifest.peak_memory_mb,
        parameters=manifest.metrics.parameters,
        size_bytes=manifest.metrics.model_bytes,
        metric=manifest.metrics.metric,
    )

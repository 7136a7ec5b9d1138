"""Build a package: check what can fail early, run the plan's nodes, judge the budgets, and publish the package.

request = read_request(BuildOptions("./my-model", data="reviews.jsonl", target="cpu-x86-avx2"))
report = build(make_plan(request), request, emit=print)
"""

import contextlib
from collections.abc import Mapping

from edgeprune.base.errors import TargetError, UsageError
from edgeprune.base.events import Emit, Note, ignore
from edgeprune.benchmark.samples import read_samples
from edgeprune.devices.protocol import ProbeRequest
from edgeprune.pipeline.describe import describe
from edgeprune.pipeline.fit import search
from edgeprune.pipeline.judge import make_report
from edgeprune.pipeline.plan import Plan, with_package
from edgeprune.pipeline.publish import check_output, publish
from edgeprune.pipeline.request import BuildRequest, command_on_device
from edgeprune.pipeline.run import Done, NodeRunner
from edgeprune.pipeline.search_inputs import require_reachable
from edgeprune.pipeline.stages.package import package_folder
from edgeprune.profiles.runners import LocalConfig
from edgeprune.profiles.target import Target
from edgeprune.report.records import BuildReport
from edgeprune.store.records import StageMetrics, recall_of
from edgeprune.store.store import Store

__all__ = ["build"]


def build(plan: Plan, request: BuildRequest, *, emit: Emit = ignore) -> BuildReport:
    """Run a request's plan and publish the package. Artifacts that are in the store already are used again.

    Args:
        plan: The plan that was made of the request.
        request: What is asked for.
        emit: A function that is handed every event.

    Returns:
        The report. It also says which budgets were missed; a missed budget raises no error.

    Raises:
        EdgepruneError: The build could not be finished.
    """
    store = Store(request.store)
    store.ensure_writable()
    with store.in_use():
        with contextlib.nullcontext() if plan.runner is None else contextlib.closing(plan.runner):
            check_output(request.output, plan.name.folder)
            _check_device(plan, request)
            for note in plan.notes:
                emit(Note(note))
            run = NodeRunner(plan.subject, store, emit)
            _run_known(plan, request, run)
            found = None
            if plan.shipped is None:
                found = search(plan, request, run, emit=emit)
                plan = with_package(plan, request, found.checkpoints)
                _run_known(plan, request, run)
        report = make_report(request, plan, run.done, found, emit=emit)
        if plan.unreachable is not None:
            emulated = report.emulation and f"verified under emulation ({report.emulation.core}), not timed"
            emit(
                Note(f"{emulated or f'not measured: {plan.unreachable}'}; on the device: {command_on_device(request)}")
            )
        page = _page(report, run.done) if request.options.report else None
        card = _card(report, run.done["package"])
        described = describe(request, plan, run.done)
        publish(report, request, plan, run.done, described=described, page=page, card=card)
    return report


def _run_known(plan: Plan, request: BuildRequest, run: NodeRunner) -> None:
    """Run the nodes that are known so far and weren't run yet. Refuse what the first of them show to be impossible."""
    for node in [node for node in plan.nodes if node.id not in run.done]:
        artifact = run(node).artifact
        if node.id == "table":
            require_reachable(plan, request, artifact)
        elif node.id == "prepare":
            _check_labels(request.target, artifact.manifest.metrics)


def _page(report: BuildReport, done: Mapping[str, Done]) -> str:
    """Write the page about the build. What draws its pictures is imported for that alone."""
    from edgeprune.report.page import MeasuredBuild, render_page

    measured = done.get("benchmark")
    samples = {} if measured is None else read_samples(measured.artifact.file("samples.jsonl"))
    return render_page([MeasuredBuild(report, samples)])


def _card(report: BuildReport, package: Done) -> str:
    """Write the package's model card with what was measured. huggingface-hub is imported for that alone."""
    from edgeprune.report.measured_card import measured_card

    return measured_card((package_folder(package.artifact) / "README.md").read_text(encoding="utf-8"), report)


def _check_device(plan: Plan, request: BuildRequest) -> None:
    """Reach the device before anything is trained for it. This machine was checked when the plan was made.

    Raises:
        TargetError: The device can't be reached or measured.
    """
    if plan.runner is None or isinstance(request.target.runner, LocalConfig):
        return
    try:
        plan.runner.run(ProbeRequest(provider=request.target.runtime.provider), {})
    except TargetError as error:
        raise TargetError(f"{error}; or package without measuring: --set target.runner=null") from error


def _check_labels(target: Target, dense: StageMetrics) -> None:
    """Refuse a smallest recall for a label whose recall isn't measured.

    Raises:
        UsageError: The target sets such a recall. The message names the labels whose recall is measured.
    """
    known = dense.metric.others if dense.metric else {}
    for label in target.budget.min_recall:
        if recall_of(label) not in known:
            prefix = recall_of("")
            labels = ", ".join(name.removeprefix(prefix) for name in known if name.startswith(prefix))
            raise UsageError(
                f"{target.name} sets budget.min_recall of {label!r}, which isn't measured here; "
                f"{f'labels of the test rows are {labels}' if labels else 'only single-label classification has it'}"
            )

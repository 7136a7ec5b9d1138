"""Plan a build: decide which stages run, in which order, and under which keys. Light: no torch.

    plan = make_plan(read_request(BuildOptions("./my-model", data="reviews.jsonl")))
    [node.key for node in plan.nodes]

Stages that make checkpoints come first (prepare, then prune and finetune in rounds). Stages that make graphs follow
(export, race, quantize), then the package, and then the stages that check and measure. If a search makes the
checkpoints, the plan ends with the stages that come before its first rung, and `with_package` adds the others when the
search has chosen.
"""

import shutil
from dataclasses import dataclass, replace

from edgeprune.devices import Runner
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.match import measured_on
from edgeprune.devices.runner import runner_of, why_unreachable
from edgeprune.devices.web_modules import WebModules
from edgeprune.pipeline.cascade_budget import encoder_budget, promise_than_dense, promise_than_encoder
from edgeprune.pipeline.checkpoint_nodes import add_export, add_rounds, plain_variant, rewrite_rules
from edgeprune.pipeline.checks import (
    check_baseline,
    check_masked_head,
    check_page,
    check_pipeline,
    check_search,
    check_teachers,
    check_unlabelled,
    check_workload,
)
from edgeprune.pipeline.example_languages import check_examples
from edgeprune.pipeline.graph_tokenizer import check_graph_tokenizer
from edgeprune.pipeline.naming import checked_name, name_after
from edgeprune.pipeline.nodes import Checkpoints, Node, Nodes, ancestors
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.rungs import add_before_rungs
from edgeprune.pipeline.stages.answers import Answers
from edgeprune.pipeline.stages.benchmark import Benchmark
from edgeprune.pipeline.stages.card_data import HubNames
from edgeprune.pipeline.stages.cascade import DENSE_ANSWERS, Cascade
from edgeprune.pipeline.stages.emulate import Emulate
from edgeprune.pipeline.stages.examples import Examples
from edgeprune.pipeline.stages.mobile import Mobile
from edgeprune.pipeline.stages.package import Package, PackageName
from edgeprune.pipeline.stages.page import Page
from edgeprune.pipeline.stages.quantize import Quantize
from edgeprune.pipeline.stages.race import Race
from edgeprune.pipeline.stages.regression import Regression
from edgeprune.pipeline.stages.text_graph import TextGraph
from edgeprune.pipeline.subject import Subject, find_subject
from edgeprune.pipeline.unread import unread_keys, without_unread
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.runners import BrowserConfig, EmulatedConfig
from edgeprune.profiles.target import Target
from edgeprune.store.store import Store

__all__ = ["Plan", "make_plan", "plan_checkpoints", "with_package"]


@dataclass(frozen=True)
class Plan:
    """Hold the nodes of a build in their order, and what all of them use."""

    subject: Subject
    name: PackageName
    pipeline: Pipeline
    """The pipeline without the keys that nothing reads."""
    collected: Nodes
    """The nodes that are known so far; a search adds to them."""
    shipped: Node | None
    """The node whose graph is packaged. None: a search hasn't chosen it yet."""
    runner: Runner | None
    """The runner of all nodes that measure. It isn't connected yet. None: the target can't be measured."""
    unreachable: str | None
    """Why the target can't be measured from here; None: it can."""
    notes: list[str]
    """A sentence for each pipeline key that the user set and that nothing reads."""

    @property
    def nodes(self) -> list[Node]:
        """The nodes that are known so far, in their order."""
        return self.collected.all


@dataclass(frozen=True)
class _Graphs:
    timed: dict[str, Node]
    """The nodes of the graphs that are timed, by the name that the benchmark gives them. The last one is shipped."""
    exported: Node
    """The fp32 graph from which the shipped graph is made."""
    race: Node | None

    @property
    def shipped(self) -> Node:
        return self.timed["final"]


def make_plan(request: BuildRequest) -> Plan:
    """Resolve the model, the data and the task of a request, and put the stages in their order.

    Raises:
        UsageError: Something in the request can't be used.
        IntegrityError: The baseline's files are not what they were when it was made, or it isn't signed as asked for.
        TargetError: The target is this machine, but its onnxruntime lacks the provider.
    """
    options, target = request.options, request.target
    subject = find_subject(
        options.model,
        request.data,
        unlabelled=request.unlabelled,
        task=options.task,
        problem_type=options.problem_type,
        offline=options.offline,
    )
    check_pipeline(request.pipeline, subject.task, subject.model)
    check_teachers(request.pipeline, subject)
    check_masked_head(request.pipeline, subject.model)
    check_unlabelled(request.pipeline, subject)
    check_workload(target, request.pipeline, subject.task)
    check_examples(request.pipeline, subject)
    check_graph_tokenizer(request.pipeline, subject)
    pipeline, notes = _read_keys(request, subject)
    name = PackageName(
        name=name_after(subject.model.name) if options.name is None else checked_name("--name", options.name),
        release=checked_name("--release", options.release),
        target=target.name,
    )
    if request.baseline is not None:
        check_baseline(request.baseline, subject.task, signed_with=request.baseline_key)
    unreachable = why_unreachable(target)
    check_search(request.pipeline, target, subject.model, is_measured=unreachable is None)
    runner = None if unreachable is not None else runner_of(target)

    nodes = Nodes(Store(request.store), pipeline.seed)
    plan = Plan(subject, name, pipeline, nodes, None, runner, unreachable, notes)
    if pipeline.objective is not None:
        add_before_rungs(nodes, subject, pipeline, target, runner)
        return plan
    return with_package(plan, request, add_rounds(nodes, subject, pipeline))


def with_package(plan: Plan, request: BuildRequest, checkpoints: Checkpoints) -> Plan:
    """Add the stages that make a package of a checkpoint, and those that check and measure it."""
    nodes, runner = plan.collected, plan.runner
    graphs = _add_graphs(plan, checkpoints, request)
    package = _add_package(nodes, checkpoints, graphs, request, plan)
    _add_besides(nodes, checkpoints, graphs, package, request, plan.name)
    if plan.pipeline.stages.package.page:
        _add_page(nodes, package, plan.subject, request.target)
    if runner is not None:
        _add_measurements(nodes, checkpoints, graphs, package, request, runner)
    return replace(plan, shipped=graphs.shipped)


def plan_checkpoints(subject: Subject, pipeline: Pipeline, store: Store) -> list[Node]:
    """Plan only the stages that make checkpoints. The last node makes the final checkpoint."""
    nodes = Nodes(store, pipeline.seed)
    add_rounds(nodes, subject, pipeline)
    return nodes.all


def _read_keys(request: BuildRequest, subject: Subject) -> tuple[Pipeline, list[str]]:
    """Give the pipeline without keys that nothing reads, and a sentence for each such key that the user set."""
    unread = dict(unread_keys(request.pipeline, subject, request.target))
    overridden = {override.partition("=")[0] for override in request.options.set_}
    by_user = [key for key in unread if request.has_own_pipeline or any(_reaches(one, key) for one in overridden)]
    notes = [f"{key} is not read: {unread[key]}" for key in by_user]
    return without_unread(request.pipeline, unread), notes


def _reaches(override: str, key: str) -> bool:
    """Tell whether an override sets a key, a part of what the key holds, or all that the key is in."""
    return f"{override}.".startswith(f"{key}.") or f"{key}.".startswith(f"{override}.")


def _add_graphs(plan: Plan, checkpoints: Checkpoints, request: BuildRequest) -> _Graphs:
    """Add the nodes of the dense and the final graph: export, race if the target can be measured, quantize, cascade."""
    nodes, runner, stages = plan.collected, plan.runner, plan.pipeline.stages
    target, last_round = request.target, checkpoints.last_round
    dense = checkpoints.dense
    rules = rewrite_rules(request.pipeline, target)
    exported_dense = add_export(nodes, request.pipeline, dense, dense)
    exported = exported_dense
    if checkpoints.final is not dense:
        exported = add_export(nodes, request.pipeline, dense, checkpoints.final)
    race = None
    if stages.race is not None and runner is not None:
        stage = Race(
            stages.race,
            target=target,
            rules=rules,
            tolerance=stages.export.tolerance,
            runner=runner,
            place=measured_on(target),
            round_number=last_round,
        )
        race = nodes.add(f"race-{last_round}", stage, {"dense": dense, "onnx": exported})
    raced = {} if race is None else {"race": race}

    def quantize(number: int, onnx: Node, drop_limit: float | None) -> Node:
        plain = plain_variant(request.pipeline, target)
        stage = Quantize(plain, tolerance=stages.export.tolerance, drop_limit=drop_limit, round_number=number)
        parents = {"dense": dense, "checkpoint": onnx.parents["checkpoint"], "onnx": onnx, **raced}
        return nodes.add(f"quantize-{number}", stage, parents)

    timed = {"dense-fp32": exported_dense}
    if runner is not None and exported is not exported_dense:
        # This graph shows what rewrites and precision gain without pruning, so that the gain of pruning can be told.
        timed["dense"] = quantize(0, exported_dense, None)
    encoder = quantize(last_round, exported, encoder_budget(plan.pipeline, target.budget).metric_drop)
    if stages.cascade is None:
        timed["final"] = encoder
        return _Graphs(timed, exported, race)
    timed["encoder"] = encoder
    cascade = Cascade(
        stages.cascade,
        than_encoder=promise_than_encoder(stages.cascade, target.budget),
        than_dense=promise_than_dense(plan.pipeline, target.budget),
        threads=target.runtime.threads,
        unlabelled_digest=plan.subject.unlabelled_digest,
        round_number=last_round,
    )
    of_dense = Answers(of_dense=True, unlabelled_digest=plan.subject.unlabelled_digest)
    parents = {"dense": dense, "model": encoder, DENSE_ANSWERS: nodes.add(DENSE_ANSWERS, of_dense, {"dense": dense})}
    timed["final"] = nodes.add(f"cascade-{last_round}", cascade, parents)
    return _Graphs(timed, exported, race)


def _add_package(nodes: Nodes, checkpoints: Checkpoints, graphs: _Graphs, request: BuildRequest, plan: Plan) -> Node:
    """Add the package. It also reads every ancestor of its graph, for the lineage."""
    lineage = {node.id: node for node in ancestors(graphs.shipped, nodes.all)}
    stage = Package(
        request.pipeline.stages.package,
        name=plan.name,
        hub=HubNames(model=plan.subject.model.repository, dataset=plan.subject.data.repository),
        runtime=request.target.runtime,
        lineage=tuple(lineage),
        round_number=checkpoints.last_round,
    )
    return nodes.add("package", stage, {"dense": checkpoints.dense, "model": graphs.shipped, **lineage})


def _add_besides(
    nodes: Nodes, checkpoints: Checkpoints, graphs: _Graphs, package: Node, request: BuildRequest, name: PackageName
) -> None:
    """Add what is asked for besides the package: other forms of its graph, examples, the check on an emulated core."""
    target, last_round = request.target, checkpoints.last_round
    if target.ort_format:
        mobile = Mobile(threads=target.runtime.threads, round_number=last_round)
        nodes.add("mobile", mobile, {"onnx": graphs.exported, "model": graphs.shipped})
    if request.pipeline.stages.package.tokenizer == "graph":
        text_graph = TextGraph(threads=target.runtime.threads, round_number=last_round)
        nodes.add("text-graph", text_graph, {"dense": checkpoints.dense, "model": graphs.shipped})
    if languages := request.pipeline.stages.package.examples:
        examples = Examples(languages, package=name.folder, round_number=last_round)
        nodes.add("examples", examples, {"package": package})
    if isinstance(target.runner, EmulatedConfig) and (emulated := EmulatedRunner(target.runner)).lacking is None:
        rows = request.pipeline.stages.package.goldens
        emulate = Emulate(target.runner.core, emulated, rows=rows, round_number=last_round)
        nodes.add("emulate", emulate, {"dense": checkpoints.dense, "model": graphs.shipped})


def _add_page(nodes: Nodes, package: Node, subject: Subject, target: Target) -> None:
    """Add the page. It is tried in the Chromium that the target names."""
    runner = target.runner if isinstance(target.runner, BrowserConfig) else BrowserConfig(type="browser")
    modules = WebModules(runner.node_modules)
    check_page(target, subject, modules)
    page = Page(modules, chromium=shutil.which(runner.chromium), round_number=package.stage.round)
    nodes.add("page", page, {"package": package})


def _add_measurements(
    nodes: Nodes, checkpoints: Checkpoints, graphs: _Graphs, package: Node, request: BuildRequest, runner: Runner
) -> None:
    """Add the benchmark of the graphs and, if there is a baseline, the benchmark of the package against it."""
    config, target, place = request.pipeline.stages.benchmark, request.target, measured_on(request.target)
    answering = {"package": package} if target.times_answers else {}
    benchmark = Benchmark(
        config,
        names=tuple(graphs.timed),
        target=target,
        runner=runner,
        place=place,
        round_number=checkpoints.last_round,
    )
    nodes.add("benchmark", benchmark, {"baseline": checkpoints.dense, **graphs.timed, **answering})
    if request.baseline is not None:
        regression = Regression(
            config,
            baseline=request.baseline,
            max_regression=request.max_regression,
            target=target,
            runner=runner,
            place=place,
            round_number=checkpoints.last_round,
        )
        nodes.add("regression", regression, {"package": package})

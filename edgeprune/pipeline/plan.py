"""What a build will do: which stages, in which order, under which keys. Light: no torch.

plan = make_plan(request)
[node.key for node in plan.nodes]
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from edgeprune.base.errors import UsageError
from edgeprune.data.source import DataSource
from edgeprune.devices import Runner
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.runner import runner_of, why_unreachable
from edgeprune.models.reference import ModelSource, resolve_model
from edgeprune.ondevice.agent import device_info
from edgeprune.pipeline.request import BuildRequest, check
from edgeprune.pipeline.stages.base import Stage
from edgeprune.pipeline.stages.benchmark import Benchmark
from edgeprune.pipeline.stages.emulate import Emulate
from edgeprune.pipeline.stages.export import Export
from edgeprune.pipeline.stages.finetune import Finetune
from edgeprune.pipeline.stages.mobile import Mobile
from edgeprune.pipeline.stages.package import Package, PackageName
from edgeprune.pipeline.stages.prepare import Prepare
from edgeprune.pipeline.stages.prune import Prune
from edgeprune.pipeline.stages.quantize import Quantize
from edgeprune.pipeline.stages.race import Race
from edgeprune.profiles.precision import PrecisionSettings, resolve_precision
from edgeprune.profiles.runners import EmulatedConfig, LocalConfig
from edgeprune.profiles.variant import PLAIN, Variant
from edgeprune.store.environment import numeric_mode
from edgeprune.store.store import Store
from edgeprune.tasks.registry import COLUMNS, TaskName
from edgeprune.tasks.resolve import resolve_problem_type, resolve_task

__all__ = ["Node", "Plan", "make_plan"]

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")


@dataclass(frozen=True)
class Node:
    """One stage of a plan, and the artifacts it reads (role to node)."""

    id: str
    stage: Stage
    parents: Mapping[str, "Node"]
    store: Store
    seed: int

    @property
    def key(self) -> str | None:
        """The artifact's content address; None as long as it depends on a verdict that isn't there."""
        parents: dict[str, str] = {}
        for role, node in self.parents.items():
            identity = node.identity
            if identity is None:
                return None
            parents[role] = identity
        return self.stage.key(parents, self.seed)

    @property
    def identity(self) -> str | None:
        """What the keys of this artifact's readers are made of: its key, or the digest of its stage's verdict."""
        key, verdict = self.key, self.stage.verdict
        if key is None or verdict is None:
            return key
        folder = self.store.folder(self.stage.name, key)
        return self.store.open(folder).digest(verdict) if folder.is_dir() else None


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
    runner: Runner | None
    """Reaches the target for all the nodes that measure; not connected yet. None: the target can't be measured."""

    @property
    def shipped(self) -> Node:
        """The node whose graph is packaged."""
        return next(node for node in self.nodes if node.id == "package").parents["model"]


def make_plan(request: BuildRequest) -> Plan:
    """Resolve model, data and task, and put the stages in their order.

    Raises:
        UsageError: Anything in the request can't be used.
    """
    model = resolve_model(request.model, offline=request.offline)
    task = resolve_task(request.task, model.config)
    problem_type = resolve_problem_type(request.problem_type, task)
    check(request, task, model)
    data = DataSource(request.data, columns=COLUMNS[task], offline=request.offline)
    name = PackageName(name=request.name or model.name, release=request.release, target=request.target.name)
    for kind, value in (("--name", name.name), ("--release", name.release)):
        if not _NAME.match(value):
            raise UsageError(f"{kind} {value!r} should consist of letters, digits and . _ + - (it names a folder)")

    unreachable = why_unreachable(request.target)
    runner = None if unreachable is not None else runner_of(request.target)
    planner = _Planner(request, Store(request.store), runner)
    prepare = Prepare(
        request.pipeline.stages.prepare,
        task=task,
        problem_type=problem_type,
        model_digest=model.digest,
        data_digest=data.digest,
        numeric=numeric_mode(request.pipeline.stages.prepare.precision),
    )
    benchmark = planner.plan(prepare, name)
    return Plan(model, data, task, name, planner.nodes, benchmark, unreachable, runner)


class _Planner:
    """Puts a build's nodes in their order.

    Args:
        request: What the build is asked for.
        store: Where its artifacts are.
        runner: How the target is reached; None: it can't be measured.
    """

    def __init__(self, request: BuildRequest, store: Store, runner: Runner | None) -> None:
        self.nodes: list[Node] = []
        self._pipeline = request.pipeline
        self._stages = request.pipeline.stages
        self._target = request.target
        self._store = store
        self._runner = runner

    def plan(self, prepare: Prepare, name: PackageName) -> Node | None:
        """Add every node; the benchmark's, where the target can be measured."""
        dense = self._add("prepare", prepare)
        final, last_round = self._rounds(dense)
        dense_onnx = self._export(0, dense, dense)
        final_onnx = dense_onnx if final is dense else self._export(last_round, dense, final)
        lineage = {node.id: node for node in self.nodes if node is not dense_onnx or final_onnx is dense_onnx}
        raced = self._race(last_round, dense, final_onnx)
        timed = {"dense-fp32": dense_onnx}
        if self._runner is not None and final_onnx is not dense_onnx:
            # What the graph and the precision alone buy, so that what pruning buys can be told.
            timed["dense"] = self._quantize(0, dense, dense_onnx, raced, drop_limit=None)
        drop_limit = self._target.budget.metric_drop
        result = timed["final"] = self._quantize(last_round, dense, final_onnx, raced, drop_limit=drop_limit)
        lineage |= {node.id: node for node in (*raced.values(), result)}
        package = Package(self._stages.package, name=name, runtime=self._target.runtime)
        package.round = last_round
        packaged = self._add("package", package, dense=dense, model=result, **lineage)
        if self._target.ort_format:
            mobile = Mobile(threads=self._target.runtime.threads)
            mobile.round = last_round
            self._add("mobile", mobile, onnx=final_onnx, model=result)
        self._emulate(last_round, dense, result)
        packages = {"package": packaged} if self._target.times_answers else {}
        return self._benchmark(last_round, dense, timed, packages)

    def _add(self, node_id: str, stage: Stage, **parents: Node) -> Node:
        named = {role.replace("_", "-"): node for role, node in parents.items()}
        node = Node(node_id, stage, named, self._store, self._pipeline.seed)
        self.nodes.append(node)
        return node

    def _rounds(self, dense: Node) -> tuple[Node, int]:
        """Pruning and recovery; the last checkpoint's node, and its round."""
        prune, finetune = self._stages.prune, self._stages.finetune
        final, last_round = dense, 0
        for number in range(1, self._pipeline.rounds + 1):
            if prune is not None:
                stage: Stage = Prune(prune, round_number=number, rounds=self._pipeline.rounds)
                final, last_round = self._add(f"prune-{number}", stage, dense=dense, checkpoint=final), number
            if finetune is not None:
                stage = Finetune(finetune, numeric=numeric_mode(finetune.precision), round_number=number)
                final, last_round = self._add(f"finetune-{number}", stage, dense=dense, checkpoint=final), number
        return final, last_round

    def _export(self, number: int, dense: Node, checkpoint: Node) -> Node:
        stage = Export(self._stages.export, round_number=number)
        return self._add(f"export-{number}", stage, dense=dense, checkpoint=checkpoint)

    @property
    def _settings(self) -> PrecisionSettings:
        precision, device = self._target.precision, self._target.device
        return resolve_precision(
            precision.mode,
            arch=device.arch,
            isa=device.isa,
            weight_type=precision.weight_type,
            reduce_range=precision.reduce_range,
            per_channel=precision.per_channel,
            embeddings=precision.embeddings,
        )

    @property
    def _place(self) -> list[JsonValue]:
        """What a measurement holds for: this CPU, or what a profile says of another machine."""
        if isinstance(self._target.runner, LocalConfig):
            device = device_info()
            return [device["arch"], list(device["isa"]), device["cpu"]]
        return [self._target.model_dump(mode="json")[name] for name in ("device", "runner")]

    def _race(self, number: int, dense: Node, onnx: Node) -> dict[str, Node]:
        """The race by its role; none where the pipeline has none, or the target can't be measured."""
        if self._stages.race is None or self._runner is None:
            return {}
        size_mb = self._target.budget.size_mb
        stage = Race(
            self._stages.race,
            settings=self._settings,
            runtime=self._target.runtime,
            workload=self._target.workload,
            size_limit_bytes=None if size_mb is None else size_mb * 1e6,
            tolerance=self._stages.export.tolerance,
            runner=self._runner,
            place=self._place,
            round_number=number,
        )
        return {"race": self._add(f"race-{number}", stage, dense=dense, onnx=onnx)}

    def _quantize(
        self, number: int, dense: Node, onnx: Node, raced: dict[str, Node], *, drop_limit: float | None
    ) -> Node:
        plain = Variant(rewrites=PLAIN, precision=self._settings)
        tolerance = self._stages.export.tolerance
        stage = Quantize(plain, tolerance=tolerance, drop_limit=drop_limit, round_number=number)
        return self._add(f"quantize-{number}", stage, dense=dense, onnx=onnx, **raced)

    def _emulate(self, number: int, dense: Node, model: Node) -> None:
        """The check on an emulated core, where the profile names one and it is set up here."""
        config = self._target.runner
        if not isinstance(config, EmulatedConfig) or (runner := EmulatedRunner(config)).lacking is not None:
            return
        stage = Emulate(config.core, runner, rows=self._stages.package.goldens)
        stage.round = number
        self._add("emulate", stage, dense=dense, model=model)

    def _benchmark(self, number: int, dense: Node, timed: dict[str, Node], packages: dict[str, Node]) -> Node | None:
        if self._runner is None:
            return None
        stage = Benchmark(
            self._stages.benchmark,
            names=tuple(timed),
            budget=self._target.budget,
            runtime=self._target.runtime,
            workload=self._target.workload,
            runner=self._runner,
            place=self._place,
        )
        stage.round = number
        return self._add("benchmark", stage, baseline=dense, **timed, **packages)

"""Add the nodes of a search: what comes before the first rung, and what makes and measures each rung. Light: no torch.

A rung is pruned from the checkpoint of a slower rung, distilled from the dense model, exported, quantized in the variant
that the table of latencies was made with, and timed by turns with the dense model in the same precision.
"""

from dataclasses import dataclass

from edgeprune.devices import Runner
from edgeprune.devices.match import measured_on
from edgeprune.pipeline.checkpoint_nodes import (
    add_dense,
    add_export,
    add_finetune,
    add_prune,
    add_substitutes,
    add_teachers,
    rewrite_rules,
)
from edgeprune.pipeline.nodes import Node, Nodes
from edgeprune.pipeline.stages.benchmark import MeasureRung
from edgeprune.pipeline.stages.losses import Losses
from edgeprune.pipeline.stages.quantize import Quantize
from edgeprune.pipeline.stages.shrink import Shrink
from edgeprune.pipeline.stages.table import Table
from edgeprune.pipeline.subject import Subject
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.search import SearchConfig
from edgeprune.profiles.steps import FactorEmbeddingsStep, ReconstructStep
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import Variant
from edgeprune.search.hidden_costs import HiddenCosts

__all__ = ["RungNodes", "Rungs", "add_before_rungs"]

_RECONSTRUCT = ReconstructStep(method="reconstruct")
"""How a rung's projections are solved again, and how losses are estimated after the same repair."""


@dataclass(frozen=True)
class RungNodes:
    """Name the nodes of one rung."""

    checkpoint: Node
    graph: Node
    measured: Node | None
    """None: the target can't be measured."""


def add_before_rungs(nodes: Nodes, subject: Subject, pipeline: Pipeline, target: Target, runner: Runner | None) -> None:
    """Add the table of latencies, if the target can be measured, and the dense checkpoint with its export."""
    if runner is not None:
        stages = pipeline.stages
        assert stages.search is not None  # noqa: S101 (only a pipeline with an objective has rungs)
        steps = stages.prune.steps if stages.prune else ()
        ranks = [step.rank for step in steps if isinstance(step, FactorEmbeddingsStep)]
        table = Table(
            stages.race,
            align=stages.search.align,
            keep_hidden=stages.search.keep_hidden,
            export=stages.export,
            task=subject.task,
            pair=subject.data.spec.pair_column is not None,
            problem_type=subject.problem_type,
            max_length=stages.prepare.max_length,
            selection_share=stages.prepare.selection_share,
            model_digest=subject.model.structure_digest,
            data_digest=subject.data.digest,
            target=target,
            rules=rewrite_rules(pipeline, target),
            runner=runner,
            place=measured_on(target),
            embedding_rank=min(ranks) if ranks else None,
        )
        nodes.add("table", table, {})
    dense = add_dense(nodes, subject, pipeline)
    add_teachers(nodes, subject, pipeline, dense)
    add_substitutes(nodes, subject, pipeline, dense)
    add_export(nodes, pipeline, dense, dense)


@dataclass(frozen=True)
class Rungs:
    """Add the nodes of rungs.

    Args:
        nodes: Where the nodes are added. Those of `add_before_rungs` are there.
        subject: The model and the data.
        pipeline: The pipeline, with a search.
        target: The target's profile.
        runner: How the target is reached; None: it can't be measured.
        variant: The variant of every rung's graph.
        costs: What layers cost by their sizes, at each hidden size that a rung may have.
    """

    nodes: Nodes
    subject: Subject
    pipeline: Pipeline
    target: Target
    runner: Runner | None
    variant: Variant
    costs: HiddenCosts

    @property
    def config(self) -> SearchConfig:
        """The pipeline's settings of the search."""
        search = self.pipeline.stages.search
        assert search is not None  # noqa: S101 (a pipeline with an objective has it)
        return search

    @property
    def dense(self) -> Node:
        """The node of the dense checkpoint."""
        return self._named("prepare")

    def first(self) -> RungNodes:
        """Add the nodes of the dense model as a rung."""
        return self._made(self.dense)

    def start(self) -> Node:
        """Add the node of the checkpoint that the first rung is pruned from: what the prune stage makes, if there is one."""
        return add_prune(self.nodes, self.subject, self.pipeline, self.dense, self.dense, round_number=1)

    def losses(self, parent: Node) -> Node:
        """Add the node that estimates the losses of a checkpoint's layers by their sizes."""
        number = parent.stage.round
        stage = Losses(
            samples=self.config.samples,
            align=self.config.align,
            reconstruct=_RECONSTRUCT,
            dimensions=bool(self.costs.narrower),
            round_number=number,
        )
        return self.nodes.add(f"losses-{parent.id}", stage, {"dense": self.dense, "checkpoint": parent})

    def below(self, parent: Node, *, number: int, budget: float) -> RungNodes:
        """Add the nodes of a rung that is pruned from a checkpoint.

        Args:
            parent: The node of the checkpoint.
            number: The number of the rung, from 1, in the order in which rungs are made.
            budget: The most that the rung may cost, in the unit of the costs.
        """
        shrink = Shrink(budget, costs=self.costs, reconstruct=_RECONSTRUCT, round_number=number)
        roles = {"dense": self.dense, "checkpoint": parent, "losses": self.losses(parent)}
        table = {"table": self._named("table")} if self.costs.unit == "ms" else {}
        shrunk = self.nodes.add(f"shrink-{number}", shrink, {**roles, **table})
        tuned = add_finetune(self.nodes, self.subject, self.pipeline, self.dense, shrunk, round_number=number)
        return self._made(tuned)

    def _made(self, checkpoint: Node) -> RungNodes:
        dense, number = self.dense, checkpoint.stage.round
        exported = add_export(self.nodes, self.pipeline, dense, checkpoint)
        quantize = Quantize(
            self.variant,
            tolerance=self.pipeline.stages.export.tolerance,
            drop_limit=None,
            judged_on="selection",
            round_number=number,
        )
        graph = self.nodes.add(
            f"rung-quantize-{number}", quantize, {"dense": dense, "onnx": exported, "checkpoint": checkpoint}
        )
        if self.runner is None:
            return RungNodes(checkpoint, graph, None)
        timed = {"rung": graph} if number == 0 else {"dense": self._named("rung-quantize-0"), "rung": graph}
        stage = MeasureRung(
            self.pipeline.stages.benchmark,
            names=tuple(timed),
            target=self.target,
            runner=self.runner,
            place=measured_on(self.target),
            round_number=number,
        )
        return RungNodes(checkpoint, graph, self.nodes.add(f"rung-{number}", stage, {"baseline": dense, **timed}))

    def _named(self, node_id: str) -> Node:
        return next(node for node in self.nodes.all if node.id == node_id)

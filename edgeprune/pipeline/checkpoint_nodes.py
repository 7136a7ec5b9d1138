"""Add the nodes that make checkpoints and export them, and say which graphs are made of them. Light: no torch."""

from edgeprune.pipeline.nodes import Checkpoints, Node, Nodes
from edgeprune.pipeline.stages.answers import TEACHER, Answers
from edgeprune.pipeline.stages.export import Export
from edgeprune.pipeline.stages.finetune import Finetune
from edgeprune.pipeline.stages.prepare import Prepare
from edgeprune.pipeline.stages.prune import Prune
from edgeprune.pipeline.stages.substitutes import FindSubstitutes
from edgeprune.pipeline.stages.teach import Teach
from edgeprune.pipeline.subject import Subject
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import RewriteRules, Variant
from edgeprune.store.environment import numeric_mode
from edgeprune.tasks.registry import IMAGE_TASKS, WHOLE_TEXTS

__all__ = [
    "add_dense",
    "add_export",
    "add_finetune",
    "add_prune",
    "add_rounds",
    "add_substitutes",
    "add_teachers",
    "plain_variant",
    "rewrite_rules",
]


_SEEDS = 2**32
"""How many seeds there are."""


def add_dense(nodes: Nodes, subject: Subject, pipeline: Pipeline) -> Node:
    """Add the node that makes the dense checkpoint."""
    config = pipeline.stages.prepare
    prepare = Prepare(
        config,
        task=subject.task,
        problem_type=subject.problem_type,
        has_head=subject.has_head,
        model_digest=subject.model.digest,
        data_digest=subject.data.digest,
        numeric=numeric_mode(config.precision),
    )
    return nodes.add("prepare", prepare, {})


def add_teachers(nodes: Nodes, subject: Subject, pipeline: Pipeline, dense: Node) -> dict[str, Node]:
    """Add the nodes of what teaches beside the dense model, and give those that a finetune reads, by role.

    Where the texts stay what they are, it reads the teachers' answers, among them the dense model's own if nothing else
    of it is learned. Else it reads the dense models of other seeds themselves.
    """
    config, finetune = pipeline.stages.prepare, pipeline.stages.finetune
    if finetune is None:
        return {}
    teachers = {}
    for number in range(1, finetune.distill.teachers):
        stage = Teach(
            config,
            task=subject.task,
            problem_type=subject.problem_type,
            model_digest=subject.model.digest,
            data_digest=subject.data.digest,
            numeric=numeric_mode(config.precision),
            split_seed=nodes.seed,
        )
        role = f"{TEACHER}{number}"
        teachers[role] = nodes.add(role, stage, {}, seed=(nodes.seed + number) % _SEEDS)
    of_dense = finetune.distill.logits > 0 and finetune.distill.hidden == 0
    is_altered = finetune.augment > 0 or finetune.replace is not None
    if is_altered or subject.task not in WHOLE_TEXTS | IMAGE_TASKS or not (teachers or of_dense):
        return teachers
    answers = Answers(of_dense=of_dense, unlabelled_digest=subject.unlabelled_digest)
    return {"answers": nodes.add("answers", answers, {"dense": dense, **teachers})}


def add_substitutes(nodes: Nodes, subject: Subject, pipeline: Pipeline, dense: Node) -> dict[str, Node]:
    """Add the node that finds words in context, if a finetune replaces words by them, and give it by its role."""
    finetune = pipeline.stages.finetune
    if finetune is None or finetune.replace is None or finetune.replace.by != "context":
        return {}
    stage = FindSubstitutes(model_digest=subject.model.digest, unlabelled_digest=subject.unlabelled_digest)
    return {"substitutes": nodes.add("substitutes", stage, {"dense": dense})}


def add_prune(
    nodes: Nodes, subject: Subject, pipeline: Pipeline, dense: Node, checkpoint: Node, *, round_number: int
) -> Node:
    """Add the node that prunes a checkpoint; without a prune stage the checkpoint stays as it is."""
    config = pipeline.stages.prune
    if config is None:
        return checkpoint
    stage = Prune(
        config,
        unlabelled_digest=subject.unlabelled_digest,
        round_number=round_number,
        rounds=pipeline.rounds,
    )
    return nodes.add(f"prune-{round_number}", stage, {"dense": dense, "checkpoint": checkpoint})


def add_finetune(
    nodes: Nodes, subject: Subject, pipeline: Pipeline, dense: Node, checkpoint: Node, *, round_number: int
) -> Node:
    """Add the node that recovers a checkpoint; without a finetune stage the checkpoint stays as it is."""
    config = pipeline.stages.finetune
    if config is None:
        return checkpoint
    stage = Finetune(
        config,
        unlabelled_digest=subject.unlabelled_digest,
        numeric=numeric_mode(config.precision),
        round_number=round_number,
    )
    besides = add_teachers(nodes, subject, pipeline, dense) | add_substitutes(nodes, subject, pipeline, dense)
    return nodes.add(f"finetune-{round_number}", stage, {"dense": dense, "checkpoint": checkpoint, **besides})


def add_rounds(nodes: Nodes, subject: Subject, pipeline: Pipeline) -> Checkpoints:
    """Add the nodes of the dense checkpoint and of all rounds."""
    dense = final = add_dense(nodes, subject, pipeline)
    for number in range(1, pipeline.rounds + 1):
        final = add_prune(nodes, subject, pipeline, dense, final, round_number=number)
        final = add_finetune(nodes, subject, pipeline, dense, final, round_number=number)
    return Checkpoints(dense, final, last_round=final.stage.round)


def add_export(nodes: Nodes, pipeline: Pipeline, dense: Node, checkpoint: Node) -> Node:
    """Add the node that exports a checkpoint."""
    number = checkpoint.stage.round
    stage = Export(pipeline.stages.export, round_number=number)
    return nodes.add(f"export-{number}", stage, {"dense": dense, "checkpoint": checkpoint})


def rewrite_rules(pipeline: Pipeline, target: Target) -> RewriteRules:
    """Give the rules for the rewrites of every graph of a build."""
    return RewriteRules.of(
        pipeline.stages.package.layout, provider=target.runtime.provider, batch_size=target.workload.batch_size
    )


def plain_variant(pipeline: Pipeline, target: Target) -> Variant:
    """Give the variant of a graph that isn't raced."""
    return Variant(rewrites=rewrite_rules(pipeline, target).plain, precision=target.precision_settings)

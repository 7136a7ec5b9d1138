"""Say where a cascade applies, and divide the metric's budget between the encoder and the first stage. Light: no torch."""

from edgeprune.cascade.records import PromiseRow
from edgeprune.profiles.pipeline import CascadeConfig, Pipeline
from edgeprune.profiles.target import Budget, Target
from edgeprune.tasks.registry import TaskName
from edgeprune.tasks.spec import ProblemType

__all__ = ["encoder_budget", "first_stage_bytes", "promise_than_dense", "promise_than_encoder", "why_no_cascade"]


def why_no_cascade(task: TaskName, problem_type: ProblemType | None, target: Target) -> str | None:
    """Say why a first stage would answer nothing in a build; None: it may answer.

    Args:
        task: The build's task.
        problem_type: The kind of a classification; None: the data decides it, or the task has none.
        target: The target, whose runtime and workload are read.
    """
    if task != "text-classification":
        return f"a first stage answers text-classification alone, and this build is for {task}"
    if problem_type not in (None, "single_label_classification"):
        return f"a first stage answers one label for each text, and this build is for {problem_type}"
    if target.runtime.provider != "CPUExecutionProvider":
        return f"a first stage saves time on the CPU, and {target.name} runs on {target.runtime.provider}"
    if target.budget.metric_drop is not None and target.budget.metric_drop <= 0:
        return f"{target.name} lets the metric lose nothing (budget.metric_drop), so there is nothing to give to a first stage"
    if target.workload.batch_size > 1:
        return (
            f"a first stage answers one text at a time, and {target.name} asks for batches of "
            f"{target.workload.batch_size} (workload.batch_size), which the encoder answers"
        )
    return None


def promise_than_encoder(config: CascadeConfig, budget: Budget) -> PromiseRow:
    """Say what a first stage may lose against the encoder alone."""
    limit = config.drop if budget.metric_drop is None else config.share * budget.metric_drop
    return PromiseRow(limit=limit, confidence=config.confidence)


def promise_than_dense(pipeline: Pipeline, budget: Budget) -> PromiseRow | None:
    """Say what encoder and first stage may lose together: in a search, what the encoder alone may lose; else None."""
    search = pipeline.stages.search
    if search is None or budget.metric_drop is None:
        return None
    return PromiseRow(limit=budget.metric_drop, confidence=search.confidence)


def first_stage_bytes(config: CascadeConfig | None, *, vocabulary: int, labels: int) -> int:
    """Count the bytes of a first stage's table; 0 without a cascade.

    Args:
        config: The pipeline's `stages.cascade`.
        vocabulary: Number of tokens.
        labels: Number of labels, which have a byte in each row.
    """
    return 0 if config is None else (vocabulary + (1 << config.pair_bits)) * labels


def encoder_budget(pipeline: Pipeline, budget: Budget) -> Budget:
    """Give the budgets that the encoder has to keep: with a cascade, the metric's without the first stage's share.

    In a search it is all of it. A faster encoder lowers every percentile, so the first stage gets what is left.
    """
    config, drop = pipeline.stages.cascade, budget.metric_drop
    if config is None or drop is None or pipeline.stages.search is not None:
        return budget
    return budget.model_copy(update={"metric_drop": (1 - config.share) * drop})

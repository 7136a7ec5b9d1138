"""Refuse a pipeline, a workload or a baseline that doesn't fit the model and the task, before anything runs.

Light: no torch, but where a page's tokenizer or a masked-language head is checked.
"""

from pathlib import Path

from edgeprune.base.errors import UsageError
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.devices.web_modules import RUNTIME, TOKENIZERS, WebModules
from edgeprune.models.record import hidden_size_left, read_pruning
from edgeprune.models.reference import ModelSource
from edgeprune.pipeline.stages.page import PAGE_TASKS
from edgeprune.pipeline.subject import Subject
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.steps import (
    FactorEmbeddingsStep,
    GradientStep,
    LayersStep,
    MagnitudeStep,
    MasksStep,
    NMStep,
    StructuredStep,
    VocabularyStep,
)
from edgeprune.profiles.target import Target
from edgeprune.pruning.layer_checks import check_dropped, check_one_a_layer
from edgeprune.pruning.masks import read_masks
from edgeprune.release.keys import read_key
from edgeprune.release.signing import check_signature, find_signature
from edgeprune.search.limits import lacking_budget
from edgeprune.store.package import check_digests, description, opened
from edgeprune.tasks.registry import IMAGE_TASKS, NEEDS_LABELS, TAUGHT_ONLY, WHOLE_TEXTS, TaskName

__all__ = [
    "check_baseline",
    "check_masked_head",
    "check_page",
    "check_pipeline",
    "check_search",
    "check_teachers",
    "check_unlabelled",
    "check_workload",
    "require_single_texts",
    "why_not_narrower",
]

_OF_TOKENS: tuple[TaskName, ...] = ("text-classification", "feature-extraction")
"""Tasks whose answer needs nothing of the text but its tokens."""


def check_pipeline(pipeline: Pipeline, task: TaskName, model: ModelSource) -> None:
    """Refuse stages and steps that have no meaning for a model and its task.

    Raises:
        UsageError: There is such a stage or step. The message says its path in the pipeline, what it asks for, and what
            to change.
    """
    if task in IMAGE_TASKS:
        _check_images(pipeline)
    _check_signals(pipeline, task)
    _check_hidden(pipeline, task, model)
    _check_factored(pipeline, task, model)
    _check_augmentation(pipeline, task)
    _check_layers(pipeline, model)


def check_teachers(pipeline: Pipeline, subject: Subject) -> None:
    """Refuse several teachers where no dense model is trained, so that every seed would give the same one.

    Raises:
        UsageError: The pipeline asks for several.
    """
    finetune = pipeline.stages.finetune
    if finetune is not None and finetune.distill.teachers > 1 and subject.has_head:
        raise UsageError(
            f"stages.finetune.distill.teachers is {finetune.distill.teachers}, but this model has all that {subject.task} "
            f"needs and isn't trained before pruning: all teachers would be the same model; set it to 1"
        )


def check_masked_head(pipeline: Pipeline, model: ModelSource) -> None:
    """Refuse to replace words in context where the given checkpoint can't predict masked words.

    The names of its weights are compared with those of a model class, which imports torch.

    Raises:
        UsageError: The pipeline asks for such words, and the checkpoint can't predict them.
    """
    finetune = pipeline.stages.finetune
    if finetune is None or finetune.replace is None or finetune.replace.by != "context":
        return
    from edgeprune.models.masked_head import why_no_masked_head

    with quiet_libraries():
        reason = why_no_masked_head(model.folder)
    if reason is not None:
        raise UsageError(
            f"stages.finetune.replace.by is context, which needs a checkpoint with a masked-language head, but {reason}; give "
            f"the checkpoint that it was fine-tuned from, with its head, or set by to embedding"
        )


def check_workload(target: Target, pipeline: Pipeline, task: TaskName) -> None:
    """Refuse a workload that can't be timed: a length in tokens for images, or one above the pipeline's `max_length`.

    Raises:
        UsageError: The workload has such a length. The message says what to change.
    """
    length, limit = target.workload.lengths, pipeline.stages.prepare.max_length
    if isinstance(length, int) and task in IMAGE_TASKS:
        raise UsageError(
            f"{target.name} times texts of {length} tokens (workload.lengths), but the model reads images, which all "
            f"have one size; set target.workload.lengths to data"
        )
    if isinstance(length, int) and length > limit:
        raise UsageError(
            f"{target.name} times texts of {length} tokens (workload.lengths), but the pipeline cuts every text to "
            f"{limit} (stages.prepare.max_length); raise the latter or lower the former"
        )


def check_unlabelled(pipeline: Pipeline, subject: Subject) -> None:
    """Read the rows without labels, and refuse them where no model would learn from them.

    Raises:
        UsageError: The pipeline or the task can't learn from such rows. The message says what to change.
        DataError: The rows can't be read.
    """
    if subject.unlabelled is None:
        return
    finetune = pipeline.stages.finetune
    if finetune is None:
        raise UsageError(
            f"--unlabelled has rows for the finetune of a pruned model, and the pipeline {pipeline.name} has none; leave "
            f"--unlabelled out, or use a pipeline with a finetune, such as structured"
        )
    if not finetune.distill.logits + finetune.distill.hidden:
        raise UsageError(
            "--unlabelled needs the dense model's answers, but stages.finetune.distill.logits and .hidden are 0; raise one"
        )
    if subject.task in NEEDS_LABELS:
        raise UsageError(
            f"--unlabelled has rows without labels, but the labels of {subject.task} say which of the model's outputs are "
            f"read; leave it out"
        )
    subject.unlabelled.load()


def check_search(pipeline: Pipeline, target: Target, model: ModelSource, *, is_measured: bool) -> None:
    """Refuse a search for a target without the budget that its objective needs, or of a model that can't be searched.

    Args:
        pipeline: The pipeline; without an objective there is nothing to check.
        target: The target, with its budgets.
        model: The model.
        is_measured: Whether the target can be measured from here.

    Raises:
        UsageError: There is no such budget, or the search's models would have to be what this model's layers can't be.
    """
    if pipeline.objective is None:
        return
    lacking = lacking_budget(pipeline.objective, target.budget, is_measured=is_measured)
    if lacking is not None:
        raise UsageError(
            f"objective is {pipeline.objective}, for which {target.name} needs {lacking}; give it in the profile, or with "
            f"--set target.budget.…"
        )
    _require_searchable(pipeline, model)


def require_single_texts(subject: Subject, *, what: str, instead: str) -> None:
    """Refuse tasks whose answer needs more than the tokens of one text.

    Args:
        subject: The model and the data.
        what: What can't answer them; the message begins with it.
        instead: What to do.

    Raises:
        UsageError: The task is another one, or the rows are pairs of texts.
    """
    if subject.task not in _OF_TOKENS:
        raise UsageError(
            f"{what}, which is for {' and '.join(_OF_TOKENS)}, but this build is for {subject.task}; {instead}"
        )
    if subject.data.spec.pair_column is not None:
        raise UsageError(f"{what}, which takes one text, but --pair-column names a second one; {instead}")


def why_not_narrower(task: TaskName, model: ModelSource) -> str | None:
    """Say why the hidden size of a model can't be pruned; None: it can."""
    if task in TAUGHT_ONLY:
        return (
            f"the answers of {task} are the hidden states themselves: they would have fewer dimensions than the dense model's, "
            f"with which they are compared"
        )
    groups = model.config.get("conv_groups", 1) if model.config.get("conv_kernel_size") else 1
    if groups > 1:
        return f"a convolution of this model reads the hidden states in {groups} groups (conv_groups), which can't be narrowed"
    return None


def check_page(target: Target, subject: Subject, modules: WebModules) -> None:
    """Refuse a page that can't be made: for another task, precision or kind of tokenizer, or without npm's packages.

    The tokenizer is loaded, which imports torch.

    Raises:
        UsageError: The page can't be made. The message says what to change or to install.
    """
    if subject.task not in PAGE_TASKS:
        raise UsageError(
            f"stages.package.page shows labels, and {subject.task} has none that a page could show; set it to false"
        )
    if target.precision.mode == "fp16":
        raise UsageError(
            "stages.package.page computes on the CPU, which has no fp16 in a browser; set it to false, or "
            "target.precision.mode to fp32 or int8-dynamic"
        )
    if lacking := modules.lacking(RUNTIME, TOKENIZERS):
        raise UsageError(f"stages.package.page copies packages of npm, but {lacking}")
    from edgeprune.models.checkpoint import load_tokenizer

    if load_tokenizer(subject.model.folder).split_special_tokens:
        raise UsageError(
            "stages.package.page: the page's tokenizer reads special tokens in a text as what they are, but this model's "
            "tokenizer splits them (split_special_tokens); set stages.package.page to false"
        )


def check_baseline(baseline: Path, task: TaskName, *, signed_with: Path | None = None) -> None:
    """Refuse a baseline that isn't a whole package for the same task, or isn't signed as it must be.

    Args:
        baseline: The package's folder or .tar.gz.
        task: The build's task.
        signed_with: A public key or certificates, against which the signature is checked; None: it needs none.

    Raises:
        UsageError: There is no package at this path, the package is for another task, or the key can't be used.
        IntegrityError: The package's files are not what they were when it was made, or it is not signed by the key.
    """
    key = None if signed_with is None else read_key(signed_with)
    with opened(baseline) as folder:
        check_digests(folder, str(baseline))
        if key is not None:
            check_signature(folder, find_signature(baseline, folder), key, shown=str(baseline))
        other = description(folder)["task"]
    if other != task:
        raise UsageError(f"{baseline} is for {other}, but this build is for {task}; give a baseline for the same task")


def _check_images(pipeline: Pipeline) -> None:
    """Raise UsageError for settings that only texts have."""
    stages = pipeline.stages
    if "max_length" in stages.prepare.model_fields_set:
        raise UsageError(
            "stages.prepare.max_length cuts texts, but the model reads images; leave it out of the pipeline"
        )
    for number, step in enumerate(stages.prune.steps if stages.prune else ()):
        if isinstance(step, VocabularyStep | FactorEmbeddingsStep):
            what = "prunes a vocabulary" if isinstance(step, VocabularyStep) else "factors a token embedding"
            raise UsageError(f"stages.prune.steps.{number} {what}, but the model reads images; leave the step out")


def _check_signals(pipeline: Pipeline, task: TaskName) -> None:
    prune = pipeline.stages.prune
    for number, step in enumerate(prune.steps if prune else ()):
        if isinstance(step, StructuredStep | GradientStep) and step.signal == "labels" and task in TAUGHT_ONLY:
            raise UsageError(
                f"stages.prune.steps.{number}.signal is labels, but this task has none; use divergence, which measures "
                f"how far the outputs move"
            )


def _check_hidden(pipeline: Pipeline, task: TaskName, model: ModelSource) -> None:
    """Raise UsageError for a narrower stream where the answers are its own states, or a convolution reads it in groups."""
    prune, reason = pipeline.stages.prune, why_not_narrower(task, model)
    for number, step in enumerate(prune.steps if prune else ()):
        if isinstance(step, StructuredStep) and step.keep_hidden < 1 and reason is not None:
            raise UsageError(
                f"stages.prune.steps.{number}.keep_hidden is {step.keep_hidden:g}, but {reason}; leave it out, and prune "
                f"heads, neurons or layers"
            )


def _check_factored(pipeline: Pipeline, task: TaskName, model: ModelSource) -> None:
    """Raise UsageError for a token embedding that can't be factored: a decoder reads it, or it has no more columns."""
    prune, record, config = pipeline.stages.prune, read_pruning(model.folder), model.config
    hidden = hidden_size_left(record, config.get("hidden_size") or config.get("dim") or 0)
    whole = config.get("embedding_size") or hidden
    for number, step in enumerate(prune.steps if prune else ()):
        if not isinstance(step, FactorEmbeddingsStep):
            continue
        if task == "fill-mask":
            raise UsageError(
                f"stages.prune.steps.{number} factors the token embedding, but fill-mask scores every token with that same "
                f"embedding; leave the step out, or prune the vocabulary"
            )
        columns = record.embedding_rank if record and record.embedding_rank else whole
        if columns and step.rank >= columns:
            raise UsageError(
                f"stages.prune.steps.{number}.rank is {step.rank}, but the token embedding's table has {columns} columns; "
                f"lower the rank, or leave the step out"
            )


def _check_augmentation(pipeline: Pipeline, task: TaskName) -> None:
    finetune, able = pipeline.stages.finetune, " and ".join(sorted(WHOLE_TEXTS))
    if finetune is None or task in WHOLE_TEXTS:
        return
    if finetune.augment:
        raise UsageError(
            f"stages.finetune.augment puts texts together from pieces, and only {able} can learn from such texts; set it "
            f"to 0 for {task}"
        )
    if finetune.replace is not None:
        raise UsageError(
            f"stages.finetune.replace puts other words into texts, and only {able} can learn from such texts; set it to "
            f"null for {task}"
        )


def _check_layers(pipeline: Pipeline, model: ModelSource) -> None:
    """Raise UsageError for a step that names layers which the model doesn't have, or that would leave no layer."""
    record, config = read_pruning(model.folder), model.config
    if record is not None:
        numbers = [layer.index for layer in record.layers]
    else:
        # Where all layers share their weights, the group of these layers counts as one layer.
        count = config.get("num_hidden_groups") or config.get("num_hidden_layers") or config.get("n_layers") or 0
        numbers = list(range(count))
    prune, left = pipeline.stages.prune, set(numbers)
    for number, step in enumerate(prune.steps if prune and numbers else ()):
        where = f"stages.prune.steps.{number}"
        if isinstance(step, LayersStep):
            if "num_hidden_groups" in config:
                raise UsageError(
                    f"{where} drops layers, but the layers of this model share their weights; leave the step out"
                )
            check_dropped(step, where, numbers, left)
            left -= set(step.drop or ())
        elif isinstance(step, MasksStep) and step.file.is_file():  # the stage itself reports an unreadable file
            read_masks(step.file, len(numbers))
        for name in ("keep_heads", "keep_ffn", "sparsity"):
            check_one_a_layer(getattr(step, name, None), f"{where}.{name}", len(numbers))


def _require_searchable(pipeline: Pipeline, model: ModelSource) -> None:
    """Raise UsageError for a search whose models would have to be what this model's layers can't be."""
    if "num_hidden_groups" in model.config:
        raise UsageError(
            "stages.search gives every layer its own size, but the layers of this model share their weights; use a pipeline "
            "without a search, such as structured"
        )
    record, prune = read_pruning(model.folder), pipeline.stages.prune
    if record is not None and record.sparse:
        raise UsageError(
            "stages.search solves projections again, which would fill the zeros of this sparse model; give a model without "
            "zeros that must stay, or use a pipeline without a search"
        )
    for number, step in enumerate(prune.steps if prune else ()):
        if isinstance(step, MagnitudeStep | GradientStep | NMStep):
            raise UsageError(
                f"stages.prune.steps.{number} sets single weights to zero, which stages.search would fill again; leave one "
                f"of them out"
            )
        if isinstance(step, StructuredStep) and step.keep_hidden < 1:
            raise UsageError(
                f"stages.prune.steps.{number}.keep_hidden is {step.keep_hidden:g}, but the search itself chooses the hidden size; "
                f"set stages.search.keep_hidden to [1, {step.keep_hidden:g}] instead, or give a model whose hidden size an earlier "
                f"build pruned"
            )

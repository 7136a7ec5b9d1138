"""Write the package's model card: what the package was made from, how good it is, and how it is used."""

import shlex
import textwrap
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.base.bounded_yaml import load_yaml
from edgeprune.base.markdown import literal, printable
from edgeprune.models.reference import ModelSource
from edgeprune.ondevice import agent
from edgeprune.pipeline.stages.base import Work
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import Variant
from edgeprune.store.records import Metric
from edgeprune.tasks.registry import TaskName

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

    from edgeprune.tasks.prepared import Prepared

__all__ = ["licence_of", "model_card"]

_TEMPLATE = Path(agent.__file__).parent / "model_card.md"
_LONGEST_CARD = 1_000_000
_LONGEST_LICENCE = 200
_REQUIRES = {"text": "onnxruntime tokenizers numpy", "image": "onnxruntime pillow numpy"}


def model_card(
    work: Work,
    prepared: "Prepared",
    variant: Variant,
    *,
    checkpoint: Path,
    name: str,
    release: str,
    target: str,
    session: SessionOptions,
    oldest: Mapping[str, str | None],
    goldens: int,
) -> str:
    """Write a package's README.md.

    Args:
        work: What the package stage was given: the source model, and the parents `dense` and `model`, whose figures are
            shown.
        prepared: The task, and the reader of its inputs.
        variant: The variant of the graph that is shipped.
        checkpoint: The folder of the checkpoint that the graph was exported from.
        name: The package's name.
        release: The package's release.
        target: The target's name.
        session: The session options that the graph was made and measured with.
        oldest: The oldest version of each library that can run the package. None: the package doesn't need that library.
        goldens: How many goldens the package holds.
    """
    from huggingface_hub import ModelCard

    dense, final = work.parents["dense"].manifest.metrics, work.parents["model"].manifest.metrics
    assert dense.metric is not None and final.metric is not None  # noqa: S101, PT018 (both stages always measure)
    task, spec, reader = prepared.task, prepared.task.spec, prepared.reader
    notes = [note for parent in work.parents.values() for note in parent.manifest.metrics.notes]
    low, high = final.metric.drop_interval or (0.0, 0.0)
    licence = licence_of(work.model)
    card = ModelCard.from_template(
        _card_data(spec.task, final.metric, name=name, licence=licence),
        template_path=str(_TEMPLATE),
        title=literal(f"{name} {release} for {target}"),
        model=literal(work.model.name),
        model_digest=work.model.digest,
        task=spec.task + (f" ({spec.problem_type})" if spec.problem_type else ""),
        labels=literal(", ".join(spec.labels) or "none"),
        precision=variant.precision.words,
        session=session.calls,
        graph=_graph_words(variant),
        reads=task.reading_notes(reader),
        requires=_REQUIRES[task.kind],
        metric=literal(final.metric.name),
        figures=[
            (
                literal(f"{final.metric.name} on {final.metric.samples} test {task.kind}s"),
                f"{dense.metric.value:.4f}",
                f"{final.metric.value:.4f}",
            ),
            *(
                (literal(other), f"{dense.metric.others[other]:.4f}", f"{value:.4f}")
                for other, value in final.metric.others.items()
            ),
            ("parameters", f"{dense.parameters:,}", f"{final.parameters:,}"),
            *_widths(work.parents["dense"].file("checkpoint"), checkpoint),
            ("model file, MB", f"{(dense.model_bytes or 0) / 1e6:.1f}", f"{(final.model_bytes or 0) / 1e6:.1f}"),
        ],
        drop=f"{final.metric.drop:+.4f}",
        interval=f"{low:+.4f} to {high:+.4f}",
        example=printable(shlex.join(task.example_inputs(reader))),
        goldens=f"{goldens} {task.kind}s",
        notes=[literal(note) for note in dict.fromkeys(notes)],
        licence=literal(licence or "not stated by the model"),
        onnxruntime=metadata.version("onnxruntime"),
        oldest=" and ".join(f"{library} {version}" for library, version in oldest.items() if version is not None),
    )
    return f"{card}\n"


def licence_of(model: ModelSource) -> str | None:
    """Read the licence that the front matter of a model's own card names. None if it names none, or can't be read."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        with (model.folder / "README.md").open(encoding="utf-8-sig") as file:
            front = REGEX_YAML_BLOCK.search(file.read(_LONGEST_CARD))
        content = load_yaml(front.group(2)) if front else None
    except (OSError, ValueError, yaml.YAMLError):
        return None
    licence = content.get("license") if isinstance(content, dict) else None
    named = [one for one in (licence if isinstance(licence, list) else [licence]) if isinstance(one, str | int | float)]
    return textwrap.shorten(printable(", ".join(map(str, named))), _LONGEST_LICENCE, placeholder="…") or None


def _card_data(task: TaskName, metric: Metric, *, name: str, licence: str | None) -> "ModelCardData":
    """Make a card's front matter, which the Hub reads. The data's name is left out, because it may be a user's path."""
    from huggingface_hub import EvalResult, ModelCardData

    return ModelCardData(
        library_name="onnx",
        license=licence,
        pipeline_tag=task,
        tags=["edgeprune"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type="unknown",
                dataset_name="test rows of the data that it was made with",
                dataset_split="test",
                metric_type=measured,
                metric_value=round(value, 4),
            )
            for measured, value in {metric.name: metric.value, **metric.others}.items()
        ],
    )


def _widths(dense: Path, checkpoint: Path) -> list[tuple[str, str, str]]:
    """Make the rows of the hidden size and of the token embedding's rank, where the package's are others."""
    from edgeprune.models.checkpoint import load_config
    from edgeprune.models.record import hidden_size_left, read_pruning

    whole, records = load_config(dense).hidden_size, [read_pruning(one) for one in (dense, checkpoint)]
    ranks = [None if record is None else record.embedding_rank for record in records]
    rows = [
        ("hidden size", *(str(hidden_size_left(record, whole)) for record in records)),
        ("rank of the token embedding", *("not factored" if rank is None else str(rank) for rank in ranks)),
    ]
    return [(name, before, after) for name, before, after in rows if before != after]


def _graph_words(variant: Variant) -> str:
    """Say how the graph was chosen, and which inputs it doesn't take."""
    how = "the fastest of those that were timed on the target" if variant.session else "not raced: no other was timed"
    words = f"{how}; rewrites: {', '.join(variant.rewrites) or 'none'}"
    if "unpadded" in variant.rewrites:
        words += ". It takes unpadded texts of equal length only: it has no attention_mask"
    elif "right-padding" in variant.rewrites:
        words += (
            ". Texts of several lengths may be padded on the right, with an attention_mask of ones and then zeros. A graph "
            "that is given any other mask, or none, fails"
        )
    return words

"""The package's model card: what was made from what, how good it is, and how to use it."""

import re
from importlib import metadata
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from edgeprune import ondevice
from edgeprune.models.reference import ModelSource
from edgeprune.pipeline.stages.base import Work
from edgeprune.profiles.variant import SessionOptions, Variant

if TYPE_CHECKING:
    from edgeprune.tasks.prepared import Prepared

__all__ = ["licence_of", "model_card"]

_TEMPLATE = Path(ondevice.__file__).parent / "model_card.md"
_REQUIRES = {"text": "onnxruntime tokenizers numpy", "image": "onnxruntime pillow numpy"}


def model_card(
    work: Work,
    prepared: "Prepared",
    variant: Variant,
    *,
    name: str,
    release: str,
    target: str,
    session: SessionOptions,
    oldest_runtime: str,
    goldens: int,
) -> str:
    """Write a package's README.md.

    Args:
        work: The package stage's: the source model, and the parents `dense` and `model`, whose figures are told.
        prepared: The task, and what reads its inputs.
        variant: The graph that is shipped.
        name: The package's name; the next two are its release and the target's name.
        release: As it was asked for.
        target: As its profile has it.
        session: The options that the graph was made and measured with.
        oldest_runtime: The oldest onnxruntime that can run the graph.
        goldens: How many inputs and outputs the package holds.
    """
    dense, final = work.parents["dense"].manifest.metrics, work.parents["model"].manifest.metrics
    assert dense.metric is not None and final.metric is not None  # noqa: S101, PT018 (both stages always measure)
    task, spec, reader = prepared.task, prepared.task.spec, prepared.reader
    notes = [note for parent in work.parents.values() for note in parent.manifest.metrics.notes]
    low, high = final.metric.drop_interval or (0.0, 0.0)
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=name,
        release=release,
        target=target,
        model=work.model.name,
        model_digest=work.model.digest,
        task=spec.task + (f" ({spec.problem_type})" if spec.problem_type else ""),
        labels=", ".join(spec.labels) or "none",
        precision=variant.precision.words,
        session=_session_table(session),
        graph=_graph_words(variant),
        kind=task.kind,
        reads=task.reading_notes(reader),
        requires=_REQUIRES[task.kind],
        metric=final.metric.name,
        others="".join(
            f"| {other} | {dense.metric.others[other]:.4f} | {value:.4f} |\n"
            for other, value in final.metric.others.items()
        ),
        samples=final.metric.samples,
        dense_value=f"{dense.metric.value:.4f}",
        final_value=f"{final.metric.value:.4f}",
        drop=f"{final.metric.drop:+.4f}",
        low=f"{low:+.4f}",
        high=f"{high:+.4f}",
        dense_parameters=f"{dense.parameters:,}",
        final_parameters=f"{final.parameters:,}",
        dense_mb=f"{(dense.model_bytes or 0) / 1e6:.1f}",
        final_mb=f"{(final.model_bytes or 0) / 1e6:.1f}",
        example=" ".join(f'"{text}"' for text in task.example_inputs(reader)),
        goldens=goldens,
        notes="".join(f"- Note: {note}\n" for note in dict.fromkeys(notes)),
        licence=licence_of(work.model) or "not stated by the model",
        onnxruntime=metadata.version("onnxruntime"),
        oldest=oldest_runtime,
    )


def licence_of(model: ModelSource) -> str | None:
    """Read the licence that a model's own card names in its front matter; None where it names none."""
    card = model.folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    front_matter = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*(\S+)", front_matter.group(1), re.MULTILINE) if front_matter else None
    return found.group(1) if found else None


def _session_table(session: SessionOptions) -> str:
    """Rows of the session options as each language names them."""
    return "".join(
        f"| {language} | {', '.join(f'`{call}`' for call in calls)} |\n" for language, calls in session.calls.items()
    )


def _graph_words(variant: Variant) -> str:
    """How the graph was chosen, and what it doesn't take."""
    how = "the fastest of those that were timed on the target" if variant.session else "not raced: no other was timed"
    words = f"{how}; rewrites: {', '.join(variant.rewrites) or 'none'}"
    if "unpadded" in variant.rewrites:
        words += ". It takes unpadded texts of equal length only: it has no attention_mask"
    return words

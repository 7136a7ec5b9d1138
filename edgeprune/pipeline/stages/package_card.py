"""Write the package's model card: what the package was made from, how good it is, and how it is used."""

import shlex
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.base.markdown import literal, printable
from edgeprune.models.own_card import OwnCard
from edgeprune.ondevice import agent
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.card_data import HubNames, card_data
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import Layout, Variant
from edgeprune.store.package import LIBRARIES

if TYPE_CHECKING:
    from edgeprune.tasks.prepared import Prepared

__all__ = ["model_card"]

_TEMPLATE = Path(agent.__file__).parent / "model_card.md"


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
    own: OwnCard,
    hub: HubNames,
    layout: Layout,
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
        own: What the model's own card says.
        hub: What the build names that is on the hub.
        layout: The package's layout.
    """
    from huggingface_hub import ModelCard

    dense, final = work.parents["dense"].manifest.metrics, work.parents["model"].manifest.metrics
    assert dense.metric is not None and final.metric is not None  # noqa: S101, PT018 (both stages always measure)
    task, spec, reader = prepared.task, prepared.task.spec, prepared.reader
    notes = [note for parent in work.parents.values() for note in parent.manifest.metrics.notes]
    low, high = final.metric.drop_interval or (0.0, 0.0)
    card = ModelCard.from_template(
        card_data(spec.task, final, variant, name=name, own=own, hub=hub, layout=layout),
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
        requires=" ".join(LIBRARIES[task.kind]),
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
        licence=literal(own.licence or "not stated by the model"),
        onnxruntime=metadata.version("onnxruntime"),
        oldest=" and ".join(f"{library} {version}" for library, version in oldest.items() if version is not None),
    )
    return f"{card}\n"


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

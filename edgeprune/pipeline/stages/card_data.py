"""Make the front matter of a package's model card, which the hub reads, by huggingface-hub's own classes.

It names the licence, the model and the data sets that the package was made from, as far as the hub knows them, and its figures:
the metrics on the test rows and the size of the graph, each with what says how sure it is.
https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from typing import TYPE_CHECKING, Any

from edgeprune.base.strict_yaml import Frozen
from edgeprune.models.own_card import OwnCard
from edgeprune.profiles.precision import is_quantized
from edgeprune.profiles.variant import Layout, Variant
from edgeprune.store.records import Metric, StageMetrics
from edgeprune.tasks.registry import TaskName

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

__all__ = ["HubNames", "card_data"]

_TEST_ROWS: dict[str, Any] = {
    "dataset_type": "unknown",
    "dataset_name": "test rows of the data that it was made with",
    "dataset_split": "test",
}
"""The data's own name may be a user's path."""


class HubNames(Frozen):
    """Name what a package was made from as the hub knows it. None: it comes from elsewhere."""

    model: str | None = None
    dataset: str | None = None


def card_data(
    task: TaskName, made: StageMetrics, variant: Variant, *, name: str, own: OwnCard, hub: HubNames, layout: Layout
) -> "ModelCardData":
    """Make the front matter.

    Args:
        task: The task, which is the hub's pipeline tag too.
        made: The figures of the graph that is shipped.
        variant: The variant of the graph.
        name: The package's name.
        own: What the model's own card says.
        hub: What the build names that is on the hub.
        layout: The package's layout. Every package in the layout `portable` loads in transformers.js.
    """
    from huggingface_hub import ModelCardData

    base_models = [hub.model] if hub.model else list(own.base_models)
    datasets = dict.fromkeys([*own.datasets, *([hub.dataset] if hub.dataset else [])])
    # Of a checkpoint that isn't on the hub, only the model is known that it was itself fine-tuned from.
    relation = "quantized" if hub.model and is_quantized(variant.precision.mode) else "finetune"
    made_from: dict[str, Any] = {"base_model": base_models, "base_model_relation": relation} if base_models else {}
    return ModelCardData(
        library_name="transformers.js" if layout == "portable" else "onnx",
        license=own.licence,
        datasets=list(datasets) or None,
        pipeline_tag=task,
        tags=["edgeprune", "onnx"],
        model_name=name,
        eval_results=_results(task, made),
        **made_from,
    )


def _results(task: TaskName, made: StageMetrics) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    assert made.metric is not None  # noqa: S101 (the stage always measures)
    return [
        EvalResult(
            task_type=task, metric_type=name, metric_value=round(value, 4), metric_args=args or None, **_TEST_ROWS
        )
        for name, value, args in [
            (made.metric.name, made.metric.value, _sureness(made.metric)),
            *((name, value, {}) for name, value in made.metric.others.items()),
            ("model_size_mb", (made.model_bytes or 0) / 1e6, {}),
        ]
    ]


def _sureness(metric: Metric) -> dict[str, Any]:
    """Say on how many rows a metric was measured, and by how much it lies below the dense model's on the same rows."""
    found: dict[str, Any] = {"samples": metric.samples}
    if metric.drop is not None:
        found["drop_from_dense"] = round(metric.drop, 4)
    if metric.drop_interval is not None:
        found["drop_interval_95"] = [round(end, 4) for end in metric.drop_interval]
    return found

"""How few products must stay in fp32 for a quantized model to keep its metric.

Products are ranked by how near the outputs come to fp32's when one alone is left as it is (the sensitivity analysis of
Wu et al., https://arxiv.org/abs/2004.09602, § 4.4, turned around: they quantize one alone). Of the ranking 1, 2, 4 … first
are kept until the metric is within its limit, a quarter of all at most: beyond it the model is no longer a quantized one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.graph.calibration import mean_distance, outputs_of
from edgeprune.graph.quantization import Feed, convert, quantized_products
from edgeprune.graph.session import onnx_session, predict_onnx
from edgeprune.models.reader import Array
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import Variant
from edgeprune.tasks.prepared import Prepared

__all__ = ["Conversion", "Kept", "keep_metric", "products_to_keep"]

_MOST = 4
"""One product of so many may stay."""

Nodes = tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """Products that stay in fp32."""

    nodes: Nodes
    """In the graph's order."""
    drop: float
    """Of the metric with them."""


def products_to_keep(
    products: Sequence[str], distance: Callable[[Nodes], float], drop: Callable[[Nodes], float], *, limit: float
) -> Kept | None:
    """The first of the most sensitive products with which the drop is within `limit`; None: a quarter isn't enough.

    Args:
        products: Those that are quantized, in the graph's order.
        distance: Of the outputs from fp32's, given the products that stay.
        drop: Of the metric, likewise.
        limit: Largest drop.
    """
    distances = {name: distance((name,)) for name in products}
    ranked = sorted(products, key=distances.__getitem__)
    most = min(len(products), max(1, len(products) // _MOST))
    for count in sorted({min(2**power, most) for power in range(most.bit_length() + 1)} - {0}):
        nodes = tuple(name for name in products if name in ranked[:count])
        found = drop(nodes)
        if found <= limit:
            return Kept(nodes, found)
    return None


@dataclass(frozen=True)
class Conversion:
    """An fp32 graph, what it is quantized to, and the rows by which that is judged."""

    exact: Path
    variant: Variant
    prepared: Prepared
    """With the selection split."""
    dense_outputs: Sequence[Array]
    """The dense model's on that split."""
    calibration: Sequence[Feed]
    """What `convert` is given."""
    judged: Sequence[Feed]
    """Rows on which outputs are compared."""

    def convert(self, path: Path, kept: Nodes) -> None:
        """Write the graph with these products in fp32."""
        convert(self.exact, path, self.variant.precision.model_copy(update={"keep_fp32": kept}), self.calibration)

    def outputs(self, path: Path) -> list[Array]:
        """A graph's on the rows that judge."""
        return outputs_of(onnx_session(path, self.variant.session), self.judged)

    def drop(self, path: Path) -> float:
        """Of the metric on the selection split, from the dense model's."""
        task, split = self.prepared.task, self.prepared.splits["selection"]
        assert split.references is not None  # noqa: S101 (labels, or the dense model's outputs)
        outputs = predict_onnx(onnx_session(path, self.variant.session), task, split.examples, self.prepared.reader)
        return task.metric(self.dense_outputs, split.references) - task.metric(outputs, split.references)


def keep_metric(
    conversion: Conversion, path: Path, limit: float, progress: Callable[[int, int, str], None]
) -> tuple[PrecisionSettings, str | None]:
    """Make a quantized graph again where it loses too much; its settings, and a sentence if it did.

    Nothing is done where fp32 loses too much as well: precision isn't what costs.

    Args:
        conversion: What the graph is made of.
        path: The quantized graph.
        limit: Largest drop of the metric.
        progress: Called with (done, total, unit).
    """
    settings = conversion.variant.precision
    before = conversion.drop(path)
    if before <= limit:
        return settings, None
    fp32 = conversion.drop(conversion.exact)
    if fp32 > limit:
        return settings, None
    exact_outputs, products = conversion.outputs(conversion.exact), quantized_products(conversion.exact, settings)
    trial = conversion.exact.parent / "trial" / path.name
    trial.parent.mkdir()

    def distance(kept: Nodes) -> float:
        conversion.convert(trial, kept)
        found = mean_distance(conversion.outputs(trial), exact_outputs)
        progress(products.index(kept[0]) + 1, len(products), "steps")
        return found

    def drop(kept: Nodes) -> float:
        conversion.convert(trial, kept)
        return conversion.drop(trial)

    kept = products_to_keep(products, distance, drop, limit=limit)
    cost = f"{settings.mode} costs {before:.4f} on the selection split, fp32 {fp32:.4f}; allowed are {limit}"
    if kept is None:
        return settings, f"{cost}. With a quarter of its products in fp32 it costs too much as well: all are quantized"
    conversion.convert(path, kept.nodes)
    saved = f"{len(kept.nodes)} of {len(products)} products stay in fp32, with which it costs {kept.drop:.4f}"
    return settings.model_copy(update={"keep_fp32": kept.nodes}), f"{cost}. {saved}: {', '.join(kept.nodes)}"

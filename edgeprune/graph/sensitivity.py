"""Find the few products that must stay in fp32 so that a quantized model keeps its metric.

Products are ranked by how near the outputs come to fp32's when one product alone stays in fp32. This turns around the
sensitivity analysis of Wu et al. (https://arxiv.org/abs/2004.09602, § 4.4), who quantize one product alone. The first
1, 2, 4 … products of the ranking stay in fp32 until the metric is within its limit. At most a quarter of all products
stays in fp32: beyond that, the model is no longer a quantized one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.graph.calibration_rows import mean_distance, outputs_of
from edgeprune.graph.quantization import Feed, convert, quantized_products
from edgeprune.graph.session import onnx_session, predict_onnx
from edgeprune.models.reader import Array
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import Variant
from edgeprune.tasks.prepared import Prepared

__all__ = ["Conversion", "Kept", "keep_metric", "products_to_keep"]

_MOST = 4
"""One of this many products may stay in fp32."""

Nodes = tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """Name the products that stay in fp32, and what the metric loses with them."""

    nodes: Nodes
    """The products' names, in the graph's order."""
    drop: float
    """The drop of the metric when these products stay in fp32."""


def products_to_keep(
    products: Sequence[str], distance: Callable[[Nodes], float], drop: Callable[[Nodes], float], *, limit: float
) -> Kept | None:
    """Choose the most sensitive products, as few as keep the drop within `limit`.

    Args:
        products: The quantized products, in the graph's order.
        distance: Computes how far the outputs lie from fp32's, given the products that stay in fp32.
        drop: Computes the drop of the metric, given the products that stay in fp32.
        limit: The largest drop that is allowed.

    Returns:
        The chosen products; None: a quarter of all products isn't enough.
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
    """Hold an fp32 graph, the precision that it is converted to, and the rows that judge the result."""

    exact: Path
    """The fp32 graph."""
    variant: Variant
    """The precision to convert to, and the options of the session that runs the result."""
    prepared: Prepared
    """The task, the reader and the rows, with the selection split among them."""
    calibration: Sequence[Feed]
    """Inputs of real rows, which int8-static is calibrated on."""
    judged: Sequence[Feed]
    """Rows on which outputs are compared."""

    def convert(self, path: Path, kept: Nodes) -> None:
        """Convert the graph with these products left in fp32, and write it to `path`."""
        convert(self.exact, path, self.variant.precision.model_copy(update={"keep_fp32": kept}), self.calibration)

    def outputs(self, path: Path) -> list[Array]:
        """Compute a graph's outputs on the rows that judge."""
        return outputs_of(onnx_session(path, self.variant.session), self.judged)

    def drop(self, path: Path) -> float:
        """Compute the drop of the metric on the selection split, from the dense model to a graph."""
        task, split = self.prepared.task, self.prepared.splits["selection"]
        assert split.references is not None  # noqa: S101 (labels, or the dense model's outputs)
        outputs = predict_onnx(onnx_session(path, self.variant.session), task, split.examples, self.prepared.reader)
        dense_outputs = self.prepared.dense_outputs["selection"]
        return task.metric(dense_outputs, split.references) - task.metric(outputs, split.references)


def keep_metric(
    conversion: Conversion, path: Path, limit: float, progress: Callable[[int, int, str], None]
) -> tuple[PrecisionSettings, str | None]:
    """Convert a quantized graph again, with products left in fp32, if the graph loses too much of the metric.

    Nothing is done if the fp32 graph loses too much as well: precision isn't the cause.

    Args:
        conversion: How the graph was made.
        path: The quantized graph, which is replaced if products stay in fp32.
        limit: The largest drop of the metric that is allowed.
        progress: Called with (done, total, unit).

    Returns:
        The graph's settings, and a sentence about the loss and what was done; None: nothing was tried.
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
    cost = f"{settings.mode} costs {before:.4f} on the selection split, fp32 {fp32:.4f}; at most {limit} is allowed"
    if kept is None:
        return settings, f"{cost}. A quarter of the products in fp32 isn't enough, so all products are quantized"
    conversion.convert(path, kept.nodes)
    saved = f"The cost is {kept.drop:.4f} with {len(kept.nodes)} of {len(products)} products in fp32"
    return settings.model_copy(update={"keep_fp32": kept.nodes}), f"{cost}. {saved}: {', '.join(kept.nodes)}"

"""Propose the variants that race, and make the files of their graphs.

A neighbour of a variant differs from it in one thing: it lacks one rewrite, or has one other session option.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from edgeprune.graph.calibration_rows import mean_distance, outputs_of
from edgeprune.graph.quantization import Feed, convert
from edgeprune.graph.references import Reference
from edgeprune.graph.rewrite import rewrite
from edgeprune.graph.serialization import remove_graph
from edgeprune.graph.session import onnx_session
from edgeprune.models.reader import Array
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import SKIP_FUSION, SessionOptions
from edgeprune.profiles.variant import DEFAULT_REWRITES, RewriteName, RewriteRules, Variant
from edgeprune.store.files import total_bytes

__all__ = ["GraphCache", "first_variants", "neighbours", "other_precisions", "rewrite_sets"]

_ATTENTION: tuple[tuple[RewriteName, ...], ...] = ((), ("standard-attention",), ("fused-attention",))
_PROJECTIONS: tuple[tuple[RewriteName, ...], ...] = ((), ("packed-projections",))

_FP32 = PrecisionSettings(mode="fp32")
_WEIGHTS_ONLY: dict[str, object] = {
    "mode": "int8-weights",
    "weight_type": None,
    "reduce_range": None,
    "per_channel": None,
}

_OVERHEAD_BYTES = 100_000
"""About the size of everything that a package holds beside its graph and its reader."""


class GraphCache:
    """Make the graph of each variant once, in a folder that is deleted when the context is left.

    Args:
        source: The exported graph.
        folder: The folder for the graphs, which must not exist yet.
        references: Batches, and what PyTorch computed for them.
        tolerance: The largest relative difference of a rewritten graph's outputs that is allowed.
        calibration: Inputs of real rows, which int8-static is calibrated on.
    """

    def __init__(
        self,
        source: Path,
        folder: Path,
        references: Sequence[Reference],
        tolerance: float,
        calibration: Sequence[Feed],
    ) -> None:
        self.errors: dict[tuple[RewriteName, ...], float] = {}
        """By the rewrites that were applied, the largest difference of the outputs from PyTorch's."""
        self.dropped: list[str] = []
        """A sentence for every rewrite that was left out."""
        self._source = source
        self._folder = folder
        self._references = references
        self._tolerance = tolerance
        self._calibration = calibration
        self._paths: dict[tuple[tuple[RewriteName, ...], PrecisionSettings], Path] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def make(self, rewrites: tuple[RewriteName, ...], settings: PrecisionSettings) -> tuple[RewriteName, ...]:
        """Make the graph with these rewrites. Return the rewrites that found something to change and are exact."""
        if (rewrites, settings) in self._paths:
            return rewrites
        if (rewrites, _FP32) in self._paths:
            self._convert(self._paths[rewrites, _FP32], rewrites, settings)
            return rewrites
        exact = self._new()
        found = rewrite(self._source, exact, rewrites, self._references, tolerance=self._tolerance)
        self.dropped += [sentence for sentence in found.dropped if sentence not in self.dropped]
        self.errors[found.applied] = found.agreement.max_error
        if (found.applied, settings) not in self._paths:
            self._convert(exact, found.applied, settings)
        remove_graph(exact)  # the fp32 graphs of all variants would fill the disk
        return found.applied

    def path(self, variant: Variant) -> Path:
        """Return the file of a variant's graph, which `make` has made before."""
        return self._paths[variant.rewrites, variant.precision]

    def _convert(self, exact: Path, rewrites: tuple[RewriteName, ...], settings: PrecisionSettings) -> None:
        path = self._paths[rewrites, settings] = self._new()
        convert(exact, path, settings, self._calibration)

    def _new(self) -> Path:
        folder = self._folder / str(len(list(self._folder.iterdir())))
        folder.mkdir()
        return folder / "model.onnx"


def rewrite_sets(rules: RewriteRules) -> list[tuple[RewriteName, ...]]:
    """List the sets of rewrites that are tried first."""
    base: tuple[RewriteName, ...] = (*DEFAULT_REWRITES, "unpadded") if rules.unpadded else DEFAULT_REWRITES
    combined = [(*base, *packed, *attention, *rules.required) for packed in _PROJECTIONS for attention in _ATTENTION]
    return list(dict.fromkeys([rules.required, rules.plain, *combined]))


def first_variants(rewrites: tuple[RewriteName, ...], settings: PrecisionSettings, *, threads: int) -> list[Variant]:
    """List two variants of a graph: with all of ONNX Runtime's fusions, and without the fusion that is often slower."""
    session = SessionOptions(threads=threads)
    return [
        Variant(rewrites=rewrites, precision=settings, session=one) for one in (session, session.toggled(SKIP_FUSION))
    ]


def neighbours(
    variant: Variant, graphs: GraphCache, rules: RewriteRules, *, threads: int, spinning: bool
) -> list[Variant]:
    """List the neighbours of a variant, and make their graphs.

    Each neighbour has one other session option, or lacks one of the rewrites.

    Args:
        variant: A variant that was timed.
        graphs: Makes the graphs.
        rules: Name the rewrites that no neighbour may lack.
        threads: The most threads that a session may have.
        spinning: Whether a session's threads may spin while they wait.
    """
    sessions = variant.raced_session.neighbours(most_threads=threads, spinning=spinning)
    others = [variant.model_copy(update={"session": one}) for one in sessions]
    fewer = [
        tuple(name for name in variant.rewrites if name != left)
        for left in variant.rewrites
        if left not in rules.required
    ]
    return [
        *others,
        *(variant.model_copy(update={"rewrites": graphs.make(names, variant.precision)}) for names in fewer),
    ]


def other_precisions(
    variant: Variant,
    graphs: GraphCache,
    evaluation: Sequence[Feed],
    *,
    reader: Path,
    limit_bytes: float | None,
) -> tuple[list[Variant], dict[Variant, str]]:
    """List an int8 variant in fp32 and in other kinds of int8, and say which of these aren't worth timing and why.

    fp32 is timed because int8 isn't shipped if it is slower, unless the size budget needs it. Another kind of int8 is
    timed if its outputs are no further from fp32's than the variant's. If only the variant's weights are small, size
    has already decided on the precision, and nothing is listed.

    Args:
        variant: A variant that was timed.
        graphs: Makes the graphs.
        evaluation: Rows on which outputs are compared.
        reader: The folder of the reader, which a package holds beside the graph.
        limit_bytes: The largest size of the package; None: there is no limit.

    Returns:
        The variants to time, whose graphs are made, and the other variants with a reason each.
    """
    base = variant.precision
    if base.mode not in ("int8-dynamic", "int8-static"):
        return [], {}
    changes: list[dict[str, object]] = [
        {"mode": "int8-static"},
        _WEIGHTS_ONLY,
        {"per_channel": not base.per_channel},
    ]
    kinds = [base.model_copy(update=change) for change in changes if base.mode == "int8-dynamic"]
    fp32, *quantized = (variant.model_copy(update={"precision": one}) for one in (_FP32, *kinds))
    exact = _outputs(fp32, graphs, evaluation)
    allowed = mean_distance(_outputs(variant, graphs, evaluation), exact)
    distances = {one: mean_distance(_outputs(one, graphs, evaluation), exact) for one in quantized}
    untimed = {
        one: f"its outputs are {distance:.2g} from fp32's on average, but those of {base.words} are {allowed:.2g}"
        for one, distance in distances.items()
        if not distance <= allowed
    }
    for one in [one for one in (fp32, *quantized) if one not in untimed]:
        size_bytes = total_bytes([graphs.path(one).parent, reader]) + _OVERHEAD_BYTES
        if limit_bytes is not None and size_bytes > limit_bytes:
            untimed[one] = (
                f"a package of {size_bytes / 1e6:.1f} MB would be above the budget of {limit_bytes / 1e6:.1f} MB"
            )
    return [one for one in (fp32, *quantized) if one not in untimed], untimed


def _outputs(variant: Variant, graphs: GraphCache, evaluation: Sequence[Feed]) -> list[Array]:
    """Make a variant's graph, and compute its outputs on this machine."""
    graphs.make(variant.rewrites, variant.precision)
    return outputs_of(onnx_session(graphs.path(variant), variant.session), evaluation)

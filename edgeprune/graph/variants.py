"""The variants that race, and the files of their graphs.

A variant's neighbours differ from it in one thing: a rewrite less, another session option.
"""

from collections.abc import Sequence
from pathlib import Path

from edgeprune.graph.calibration import mean_distance, outputs_of
from edgeprune.graph.quantization import Feed, convert
from edgeprune.graph.references import Reference
from edgeprune.graph.rewrite import rewrite
from edgeprune.graph.serialization import remove_graph
from edgeprune.graph.session import onnx_session
from edgeprune.models.reader import Array
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import DEFAULT_REWRITES, SKIP_FUSION, RewriteName, Variant
from edgeprune.store.files import total_bytes

__all__ = ["Graphs", "neighbours", "other_precisions", "rewrite_sets"]

_ATTENTION: tuple[tuple[RewriteName, ...], ...] = ((), ("standard-attention",), ("fused-attention",))
_PROJECTIONS: tuple[tuple[RewriteName, ...], ...] = ((), ("packed-projections",))

_WEIGHTS_ONLY: dict[str, object] = {
    "mode": "int8-weights",
    "weight_type": None,
    "reduce_range": None,
    "per_channel": None,
}

_GELU_FUSION = "BiasGeluFusion"
_SPINNING = "session.intra_op.allow_spinning"

_BESIDE_BYTES = 100_000
"""About what a package holds beside its graph and its reader."""


class Graphs:
    """The files of variants, each made once.

    Args:
        source: The export.
        folder: Where they are put.
        references: What PyTorch computed.
        tolerance: Largest relative difference of a rewritten graph's outputs.
        calibration: What `convert` is given.
    """

    def __init__(
        self,
        source: Path,
        folder: Path,
        references: Sequence[Reference],
        tolerance: float,
        calibration: Sequence[Feed],
    ) -> None:
        self.folder = folder
        self.errors: dict[tuple[RewriteName, ...], float] = {}
        """By the rewrites that were applied, the largest difference from PyTorch."""
        self.dropped: list[str] = []
        """A sentence for every rewrite that was left out."""
        self._source = source
        self._references = references
        self._tolerance = tolerance
        self._calibration = calibration
        self._paths: dict[tuple[tuple[RewriteName, ...], PrecisionSettings], Path] = {}
        folder.mkdir()

    def make(self, rewrites: tuple[RewriteName, ...], settings: PrecisionSettings) -> tuple[RewriteName, ...]:
        """Make the graph with these rewrites; those that found something to change and are exact."""
        if (rewrites, settings) in self._paths:
            return rewrites
        exact = self._new()
        found = rewrite(self._source, exact, rewrites, self._references, tolerance=self._tolerance)
        self.dropped += [sentence for sentence in found.dropped if sentence not in self.dropped]
        self.errors[found.applied] = found.agreement.max_error
        made = (found.applied, settings)
        if made not in self._paths:
            self._paths[made] = self._new()
            convert(exact, self._paths[made], settings, self._calibration)
        remove_graph(exact)  # all of them at once would fill the disk
        return found.applied

    def path(self, variant: Variant) -> Path:
        """The graph of a variant that was made."""
        return self._paths[variant.rewrites, variant.precision]

    def _new(self) -> Path:
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        return folder / "model.onnx"


def rewrite_sets(*, unpadded: bool) -> list[tuple[RewriteName, ...]]:
    """The sets of rewrites that are tried first.

    Args:
        unpadded: Whether a graph may do without a mask.
    """
    base: tuple[RewriteName, ...] = (*DEFAULT_REWRITES, "unpadded") if unpadded else DEFAULT_REWRITES
    combined = [(*base, *packed, *attention) for packed in _PROJECTIONS for attention in _ATTENTION]
    return list(dict.fromkeys([(), DEFAULT_REWRITES, *combined]))


def neighbours(variant: Variant, graphs: Graphs, *, threads: int) -> list[Variant]:
    """A variant with one other session option each, and without one of its rewrites each.

    Args:
        threads: The most that a session may have.
    """
    session = variant.raced_session
    sessions = [session.toggled(fusion) for fusion in (SKIP_FUSION, _GELU_FUSION)]
    changes: list[dict[str, object]] = [{"level": "extended"}, {"arena": False}]
    if session.threads > 1:
        changes.append({"config": {**session.config, _SPINNING: "0"}})
    changes += [{"threads": number} for number in range(1, threads + 1)]
    sessions += [session.model_copy(update=change) for change in changes]
    others = [variant.model_copy(update={"session": other}) for other in sessions if other != session]
    fewer = [tuple(name for name in variant.rewrites if name != left) for left in variant.rewrites]
    return [
        *others,
        *(variant.model_copy(update={"rewrites": graphs.make(names, variant.precision)}) for names in fewer),
    ]


def other_precisions(
    variant: Variant, graphs: Graphs, judged: Sequence[Feed], *, beside: Path, limit_bytes: float | None
) -> tuple[list[Variant], dict[str, str]]:
    """The same in fp32, and in other kinds of int8; and of those that aren't timed, by their words, why.

    fp32 because int8 that is slower isn't shipped, unless the size budget needs it; another int8 where its outputs are no
    further from fp32's. Where weights alone are small, size has decided: there are none.

    Args:
        judged: Rows by which distances are told.
        beside: The folder of the reader, which a package holds beside the graph.
        limit_bytes: Of the package; None: there is none.
    """
    base = variant.precision
    if base.mode not in ("int8-dynamic", "int8-static"):
        return [], {}

    def outputs(one: Variant) -> list[Array]:
        graphs.make(one.rewrites, one.precision)
        return outputs_of(onnx_session(graphs.path(one), one.session), judged)

    others: list[dict[str, object]] = [
        {"mode": "int8-static"},
        _WEIGHTS_ONLY,
        {"per_channel": not base.per_channel},
    ]
    changed = [base.model_copy(update=change) for change in others if base.mode == "int8-dynamic"]
    fp32, *kinds = (variant.model_copy(update={"precision": one}) for one in (PrecisionSettings(mode="fp32"), *changed))
    exact = outputs(fp32)
    allowed = mean_distance(outputs(variant), exact)
    timed, untimed = [fp32], {}
    for one in kinds:
        distance = mean_distance(outputs(one), exact)
        if distance <= allowed:
            timed.append(one)
        else:
            untimed[one.words] = f"its outputs are {distance:.2g} from fp32's on average, {base.words}'s {allowed:.2g}"
    for one in timed:
        size = total_bytes([graphs.path(one).parent, beside]) + _BESIDE_BYTES
        if limit_bytes is not None and size > limit_bytes:
            untimed[one.words] = (
                f"a package of {size / 1e6:.1f} MB would be above the budget of {limit_bytes / 1e6:.1f} MB"
            )
    return [one for one in timed if one.words not in untimed], untimed

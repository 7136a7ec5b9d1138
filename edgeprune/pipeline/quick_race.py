"""Choose a variant of a graph by the first heat of a race, where no checkpoint's outputs are there to compare with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from edgeprune.devices import Runner
from edgeprune.graph.quantization import Feed
from edgeprune.graph.references import Reference, answered_by
from edgeprune.graph.session import onnx_session
from edgeprune.models.reader import Array
from edgeprune.pipeline.find_variant import Entrant, find_variant
from edgeprune.profiles.pipeline import RaceConfig
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import RewriteRules, Variant

__all__ = ["quick_race"]

_CONFIG = RaceConfig(processes=2)


def quick_race(
    graph: Path,
    compared: Sequence[dict[str, Array]],
    target: Target,
    rules: RewriteRules,
    *,
    tolerance: float,
    calibration: Sequence[Feed],
    batches: Sequence[JsonValue],
    runner: Runner,
    folder: Path,
) -> Variant:
    """Choose a variant in the target's precision.

    Args:
        graph: An fp32 graph as it was exported.
        compared: Batches for which a rewritten graph must compute what this graph computes.
        target: The target's profile.
        rules: Which rewrites every variant must have, and whether one may do without a mask.
        tolerance: Largest relative difference of a rewritten graph's outputs.
        calibration: Inputs of real rows, which int8-static is calibrated on.
        batches: The batches to time, as the agent reads them.
        runner: How the target is reached.
        folder: Where the samples are written.

    Raises:
        TargetError: The target refuses every variant.
    """
    asked = [Reference(batch, np.empty(0)) for batch in compared]
    references = answered_by(onnx_session(graph), asked, with_padding=True)
    entrant = Entrant(graph, graph.parent, references, tolerance, calibration, (), batches)
    return find_variant(
        entrant,
        target,
        rules,
        config=_CONFIG,
        runner=runner,
        folder=folder,
        progress=lambda *_: None,
        most_heats=1,
    ).winner

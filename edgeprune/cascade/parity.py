"""Compare the graph of a cascade with its two stages."""

from collections.abc import Sequence

import numpy as np
from onnxruntime import InferenceSession

from edgeprune.graph.parity import agreement, require_parity
from edgeprune.graph.session import raw_output
from edgeprune.models.reader import Array
from edgeprune.tasks.prepared import Prepared

__all__ = ["require_both_branches"]

_TOLERANCE = 1e-5
"""Largest relative difference from what the two stages compute alone: the same nodes on the same machine."""


def require_both_branches(
    whole: InferenceSession,
    encoder: InferenceSession,
    prepared: Prepared,
    outputs: Sequence[Array],
    expected: Array,
) -> float:
    """Compare single rows with whichever stage answers them, and a batch of two rows with the encoder.

    Args:
        whole: The cascade's session.
        encoder: The encoder's session.
        prepared: The task and the test rows.
        outputs: The cascade's logits on the test rows, one at a time.
        expected: What the stages compute alone for these rows, [rows, labels].

    Returns:
        The largest absolute difference.

    Raises:
        ParityError: Some outputs differ.
    """
    inputs = prepared.test.inputs
    takes_padding = any(value.name == "attention_mask" for value in whole.get_inputs())
    pair = prepared.reader.collate([inputs[0], inputs[-1 if takes_padding else 0]])
    single = agreement(expected, np.stack(outputs))
    both = agreement(raw_output(encoder, pair), raw_output(whole, pair))
    require_parity(single, _TOLERANCE, what="the cascade against its two stages")
    require_parity(both, _TOLERANCE, what="the cascade on two texts against the encoder")
    return max(single.max_error, both.max_error)

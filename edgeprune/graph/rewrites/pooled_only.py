"""Leave out the token states beside a sentence embedding, which only other programs read.

sentence-transformers and others pool the states themselves. A package for `run.py` alone needs the embedding only. If the
embedding is the state of the first token, then the last layer can be computed for that token only (`narrow-reads`).
"""

import onnx_ir

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.ondevice.agent import STATES_OUTPUT

__all__ = ["PooledOnly"]


class PooledOnly(Rewrite):
    """Drop the output with the token states; a place is that output."""

    def change(self, model: onnx_ir.Model) -> int:
        outputs = model.graph.outputs
        states = [value for value in outputs if value.name == STATES_OUTPUT]
        if len(states) == len(outputs):
            return 0
        for value in states:
            outputs.remove(value)
        return len(states)

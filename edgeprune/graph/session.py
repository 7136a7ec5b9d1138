"""Open an ONNX graph in ONNX Runtime, and run it over encoded rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from edgeprune.models.reader import Array, Reader
from edgeprune.ondevice.agent import session_options
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import Task

__all__ = ["onnx_session", "predict_onnx", "raw_output"]


def onnx_session(path: Path, session: SessionOptions | None = None) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU; None: ONNX Runtime's defaults on one thread."""
    wanted = session or SessionOptions(threads=1)
    options = session_options(wanted.model_dump(mode="json"))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def raw_output(session: onnxruntime.InferenceSession, inputs: Mapping[str, Array]) -> Array:
    """An ONNX model's output for a batch, of which it is given what it takes; several are stacked along a new last axis."""
    taken = {value.name for value in session.get_inputs()}
    found = session.run(None, {name: value for name, value in inputs.items() if name in taken})
    return np.asarray(found[0] if len(found) == 1 else np.stack(found, -1))


def predict_onnx(
    session: onnxruntime.InferenceSession, task: Task, examples: Sequence[Example], reader: Reader
) -> list[Array]:
    """Outputs of an ONNX model, one unpadded row at a time.

    Dynamic quantization chooses its scales over a whole batch, so only batches of one give every row the outputs that
    it would have alone.
    """
    return [
        task.read(raw_output(session, reader.collate([example.inputs]))[0].astype(np.float32), example)
        for example in examples
    ]

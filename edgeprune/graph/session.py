"""Open an ONNX graph in ONNX Runtime, and run it over encoded rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from edgeprune.models.reader import Array, Reader
from edgeprune.ondevice.agent import outputs_read, session_options
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import Task

__all__ = ["onnx_session", "predict_onnx", "raw_output"]


def onnx_session(path: Path, session: SessionOptions | None = None) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime on the CPU. None: the session has ONNX Runtime's defaults and one thread."""
    wanted = session or SessionOptions(threads=1)
    options = session_options(wanted.model_dump(mode="json"))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def raw_output(session: onnxruntime.InferenceSession, inputs: Mapping[str, Array]) -> Array:
    """Compute an ONNX model's output for a batch.

    The model is given only the inputs that it takes. Several outputs are stacked along a new last axis.
    """
    taken = {value.name for value in session.get_inputs()}
    found = session.run(outputs_read(session), {name: value for name, value in inputs.items() if name in taken})
    return np.asarray(found[0] if len(found) == 1 else np.stack(found, -1))


def predict_onnx(
    session: onnxruntime.InferenceSession, task: Task, examples: Sequence[Example], reader: Reader
) -> list[Array]:
    """Compute an ONNX model's outputs for examples, one unpadded row at a time.

    Dynamic quantization chooses its scales over a whole batch, so the outputs of a row depend on the other rows in its
    batch.
    """
    return [
        task.read(raw_output(session, reader.collate([example.inputs]))[0].astype(np.float32), example)
        for example in examples
    ]

"""Text to token ids, token ids to outputs (PyTorch or ONNX Runtime), outputs to the metric and its interval.

Shapes: an encoding is one text's `{"input_ids": [tokens], "attention_mask": [tokens], …}`; outputs are [rows, …] in the
order of the encodings, whatever order they were computed in.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from edgeprune.artifacts import Metric
from edgeprune.errors import ParityError
from edgeprune.tasks import TaskSpec
from edgeprune.tasks.base import Array, Task

__all__ = ["Encoding", "collate", "encode", "measure", "onnx_session", "predict_onnx", "predict_torch", "to_torch"]

Encoding = dict[str, list[int]]

_BATCH_TOKENS = 2048
_RESAMPLES = 1000


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], spec: TaskSpec) -> list[Encoding]:
    """Token ids of every text, cut to the task's max_length, not padded."""
    encoded = tokenizer(list(texts), truncation=True, max_length=spec.max_length)
    return [{name: encoded[name][row] for name in spec.inputs} for row in range(len(texts))]


def collate(encodings: Sequence[Encoding], pad_token_id: int, *, width: int | None = None) -> dict[str, Array]:
    """Right-padded int64 arrays [batch, width]; `width` defaults to the longest text's tokens."""
    width = width or max(len(encoding["input_ids"]) for encoding in encodings)
    result = {}
    for name in encodings[0]:
        fill = pad_token_id if name == "input_ids" else 0
        rows = [encoding[name] + [fill] * (width - len(encoding[name])) for encoding in encodings]
        result[name] = np.array(rows, dtype=np.int64)
    return result


def to_torch(batch: dict[str, Array]) -> dict[str, torch.Tensor]:
    """The same batch as torch tensors, memory shared."""
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def by_length(encodings: Sequence[Encoding], tokens: int) -> list[list[int]]:
    """Row numbers in batches of similar length, of at most `tokens` padded tokens (or one text): bounded memory."""
    order = sorted(range(len(encodings)), key=lambda row: (len(encodings[row]["input_ids"]), row))
    batches: list[list[int]] = []
    for row in order:
        # Rows come shortest first, so this one would set the batch's width.
        if batches and (len(batches[-1]) + 1) * len(encodings[row]["input_ids"]) <= tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def predict_torch(model: PreTrainedModel, task: Task, encodings: Sequence[Encoding], pad_token_id: int) -> Array:
    """Outputs of a PyTorch model in fp32, batches by length."""
    training = model.training
    model.eval()
    rows: list[Array | None] = [None] * len(encodings)
    with torch.inference_mode():
        for batch in by_length(encodings, _BATCH_TOKENS):
            inputs = to_torch(collate([encodings[row] for row in batch], pad_token_id))
            outputs, _ = task.forward(model, inputs)
            for row, value in zip(batch, outputs.float().numpy(), strict=True):
                rows[row] = value
    model.train(training)
    return np.stack([row for row in rows if row is not None])


def onnx_session(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def predict_onnx(session: onnxruntime.InferenceSession, encodings: Sequence[Encoding], pad_token_id: int) -> Array:
    """Outputs of an ONNX model, one unpadded text at a time.

    Dynamic quantization chooses its scales over a whole batch, so only batches of one give every text the outputs that
    it would have alone.
    """
    outputs = [session.run(None, collate([encoding], pad_token_id))[0][0] for encoding in encodings]
    return np.stack(outputs).astype(np.float32)


def measure(task: Task, outputs: Array, references: Array, *, dense_outputs: Array | None, seed: int) -> Metric:
    """The metric of `outputs` and, given the dense model's outputs on the same rows, the drop with its paired interval.

    The interval is the percentile bootstrap (Efron and Tibshirani, 1993, ch. 13) over rows: both models' metrics are
    computed on the same resampled rows.

    Raises:
        ParityError: Outputs that are no finite numbers.
    """
    if not np.isfinite(outputs).all():
        raise ParityError(
            "the model's outputs on test should be finite numbers, some are not; after a finetune lower its learning_rate, "
            "after a conversion to fp16 use fp32"
        )
    value = task.metric(outputs, references)
    if dense_outputs is None:
        return Metric(name=task.metric_name, value=value, samples=len(outputs))
    generator = np.random.default_rng(seed)
    drops = []
    for _ in range(_RESAMPLES):
        rows = generator.integers(len(outputs), size=len(outputs))
        drops.append(task.metric(dense_outputs[rows], references[rows]) - task.metric(outputs[rows], references[rows]))
    low, high = np.percentile(drops, [2.5, 97.5])
    return Metric(
        name=task.metric_name,
        value=value,
        samples=len(outputs),
        drop=task.metric(dense_outputs, references) - value,
        drop_interval=(float(low), float(high)),
    )

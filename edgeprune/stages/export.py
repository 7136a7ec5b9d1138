"""export: a checkpoint → fp32 ONNX, its parity against PyTorch on real inputs, and its metric through ONNX Runtime.

Writes `model.onnx`, the checkpoint's `tokenizer/` and the outputs on test. Parity is checked on selection texts of several
lengths, alone, together with padding, padded beyond their need, and at the longest length the pipeline takes; above the
tolerance nothing is written.
"""

from typing import TYPE_CHECKING

from pydantic import JsonValue

from edgeprune.artifacts import StageMetrics
from edgeprune.memory import release_memory
from edgeprune.profiles import ExportConfig
from edgeprune.stage import Stage, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnxruntime import InferenceSession
    from transformers import PreTrainedModel

    from edgeprune.parity import Agreement
    from edgeprune.tasks.base import Array, Encoding, Task

__all__ = ["Export", "check_parity", "reference_outputs"]

_COMPARED = 1000


class Export(Stage):
    """Exports one checkpoint.

    Args:
        config: The pipeline's `stages.export`.
        round_number: Of the checkpoint; 0 is the dense model.
    """

    name = "export"
    version = 3
    libraries = ("torch", "transformers", "onnx", "onnxscript", "onnx-ir", "onnxruntime")
    roles = ("dense", "checkpoint")
    produces = ("model.onnx", "tokenizer/tokenizer.json", "outputs.safetensors")

    def __init__(self, config: ExportConfig, *, round_number: int) -> None:
        self.round = round_number
        self._config = config

    def fingerprint(self) -> dict[str, JsonValue]:
        return self._config.model_dump(mode="json")

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.evaluation import collate, onnx_session, predict_onnx, to_torch
        from edgeprune.graph.export import export_onnx
        from edgeprune.models.architectures import longest_text
        from edgeprune.models.checkpoint import count_parameters, load_checkpoint
        from edgeprune.prepared import open_prepared, report

        checkpoint = work.parents["checkpoint"].file("checkpoint")
        prepared = open_prepared(work.parents["dense"], work.data, splits=("selection", "test"), tokenizer=checkpoint)
        task, pad = prepared.task, prepared.pad_token_id
        model = load_checkpoint(checkpoint, task.auto_class, attn_implementation="eager")
        selection = prepared.splits["selection"].encodings
        path = work.folder / "model.onnx"
        export_onnx(
            task.exportable(model),
            to_torch(collate((selection * 2)[:2], pad, width=task.spec.max_length)),
            path,
            opset=self._config.opset,
            longest_sequence=longest_text(model.config),
            output_names=task.output_names,
        )
        expected = reference_outputs(model, task, selection, pad)
        prepared.tokenizer.save_pretrained(work.folder / "tokenizer")
        parameters = count_parameters(model)
        del model  # before ONNX Runtime reads the weights once more
        release_memory()
        session = onnx_session(path, threads=1)
        parity = check_parity(session, expected, tolerance=self._config.tolerance)
        outputs = predict_onnx(session, task, prepared.test.examples, pad)
        return StageMetrics(
            parameters=parameters,
            model_bytes=sum(file.stat().st_size for file in work.folder.glob("model.onnx*")),
            metric=report(work, prepared, outputs),
            scores={"parity_max_error": parity.max_error, "parity_mean_error": parity.mean_error},
        )


def reference_outputs(
    model: "PreTrainedModel", task: "Task", encodings: "list[Encoding]", pad_token_id: int
) -> "list[tuple[dict[str, Array], Array]]":
    """What PyTorch computes for real batches of several lengths, sizes and paddings: inputs and outputs."""
    import torch

    from edgeprune.evaluation import to_torch

    with torch.inference_mode():
        return [
            (batch, _compared(task.forward(model, to_torch(batch))[0].numpy(), batch))
            for batch in _parity_batches(encodings, pad_token_id, task)
        ]


def check_parity(
    session: "InferenceSession", expected: "list[tuple[dict[str, Array], Array]]", *, tolerance: float
) -> "Agreement":
    """The worst agreement of an ONNX graph with `reference_outputs`.

    Raises:
        ParityError: It is above `tolerance`.
    """
    from edgeprune.evaluation import raw_output
    from edgeprune.parity import agreement, require_parity

    found = [agreement(outputs, _compared(raw_output(session, inputs), inputs)) for inputs, outputs in expected]
    worst = max(found, key=lambda one: one.relative_error)
    require_parity(worst, tolerance, what="the ONNX graph against PyTorch")
    return worst


def _compared(raw: "Array", inputs: "dict[str, Array]") -> "Array":
    """Of outputs by token those that aren't padding, and of a vocabulary's logits a part: all would not fit in memory."""
    if raw.ndim < 3:
        return raw
    return raw[..., :: max(1, raw.shape[-1] // _COMPARED)][inputs["attention_mask"] > 0]


def _parity_batches(encodings: "list[Encoding]", pad_token_id: int, task: "Task") -> "Iterator[dict[str, Array]]":
    from edgeprune.evaluation import collate

    max_length = task.spec.max_length
    rows = min(8, max(2, task.max_batch_tokens // max_length))
    ordered = sorted(encodings, key=lambda encoding: len(encoding["input_ids"]))
    shortest, middle, longest = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    repeated = {name: (values * max_length)[:max_length] for name, values in longest.items()}
    for alone in (shortest, middle, longest, repeated):
        yield collate([alone], pad_token_id)
    yield collate([shortest, middle, longest], pad_token_id)
    yield collate([shortest, middle], pad_token_id, width=max_length)
    yield collate(ordered[:: max(1, len(ordered) // rows)][:rows], pad_token_id, width=max_length)

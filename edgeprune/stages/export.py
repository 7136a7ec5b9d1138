"""export: a checkpoint → fp32 ONNX, its parity against PyTorch on real inputs, and its metric through ONNX Runtime.

Writes `model.onnx`, the checkpoint's `reader/` (its tokenizer or image processor) and the outputs on test. Parity is
checked on selection rows: texts of several lengths, alone, together with padding, padded beyond their need, and at the
longest length the pipeline takes; images alone and together. Above the tolerance nothing is written.
"""

from typing import TYPE_CHECKING

from pydantic import JsonValue

from edgeprune.artifacts import StageMetrics
from edgeprune.memory import release_memory
from edgeprune.profiles import ExportConfig
from edgeprune.stage import Stage, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxruntime import InferenceSession
    from transformers import PreTrainedModel

    from edgeprune.models.reader import Array, Inputs, Reader
    from edgeprune.parity import Agreement
    from edgeprune.tasks.base import Task

__all__ = ["Export", "check_parity", "reference_outputs"]

_COMPARED = 1000


class Export(Stage):
    """Exports one checkpoint.

    Args:
        config: The pipeline's `stages.export`.
        round_number: Of the checkpoint; 0 is the dense model.
    """

    name = "export"
    version = 4
    libraries = ("torch", "transformers", "onnx", "onnxscript", "onnx-ir", "onnxruntime")
    roles = ("dense", "checkpoint")
    produces = ("model.onnx", "reader", "outputs.safetensors")

    def __init__(self, config: ExportConfig, *, round_number: int) -> None:
        self.round = round_number
        self._config = config

    def fingerprint(self) -> dict[str, JsonValue]:
        return self._config.model_dump(mode="json")

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.evaluation import onnx_session, predict_onnx, to_torch
        from edgeprune.graph.export import export_onnx
        from edgeprune.models.architectures import longest_text
        from edgeprune.models.checkpoint import count_parameters, load_checkpoint
        from edgeprune.prepared import open_prepared, report

        checkpoint = work.parents["checkpoint"].file("checkpoint")
        prepared = open_prepared(work.parents["dense"], work.data, splits=("selection", "test"), reader=checkpoint)
        task, reader = prepared.task, prepared.reader
        model = load_checkpoint(checkpoint, task.auto_class, attn_implementation="eager")
        selection = prepared.splits["selection"].inputs
        path = work.folder / "model.onnx"
        export_onnx(
            task.exportable(model),
            to_torch(reader.collate((selection * 2)[:2], full=True)),
            path,
            opset=self._config.opset,
            longest_sequence=longest_text(model.config),
            output_names=task.output_names,
        )
        expected = reference_outputs(model, task, selection, reader)
        (work.folder / "reader").mkdir()
        reader.save(work.folder / "reader")
        parameters = count_parameters(model)
        del model  # before ONNX Runtime reads the weights once more
        release_memory()
        session = onnx_session(path, threads=1)
        parity = check_parity(session, expected, tolerance=self._config.tolerance)
        outputs = predict_onnx(session, task, prepared.test.examples, reader)
        return StageMetrics(
            parameters=parameters,
            model_bytes=sum(file.stat().st_size for file in work.folder.glob("model.onnx*")),
            metric=report(work, prepared, outputs),
            scores={"parity_max_error": parity.max_error, "parity_mean_error": parity.mean_error},
        )


def reference_outputs(
    model: "PreTrainedModel", task: "Task", rows: "Sequence[Inputs]", reader: "Reader"
) -> "list[tuple[dict[str, Array], Array]]":
    """What PyTorch computes for real batches that differ as much as inputs can: inputs and outputs."""
    import torch

    from edgeprune.evaluation import to_torch

    with torch.inference_mode():
        return [
            (batch, _compared(task.forward(model, to_torch(batch))[0].numpy(), batch))
            for batch in reader.varied(rows, task.max_batch_tokens)
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

"""export: turn a checkpoint into an fp32 ONNX graph, and check it against PyTorch on real inputs.

The stage writes `model.onnx`, the checkpoint's `reader/` (its tokenizer or image processor), and what PyTorch computes
for some batches (`references.safetensors`). If the graph's outputs differ from these by more than the tolerance, nothing
is kept. There is no metric: the graph computes what the checkpoint computes, so its metric is the checkpoint's.
"""

from pydantic import JsonValue

from edgeprune.base.memory import discard_weights, release_memory
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.pipeline import ExportConfig
from edgeprune.store.files import graph_files, total_bytes
from edgeprune.store.records import StageMetrics

__all__ = ["Export"]


class Export(Stage):
    """Export one checkpoint.

    Args:
        config: The pipeline's `stages.export`.
        round_number: The round of the checkpoint; 0 is the dense model.
    """

    name = "export"
    version = 9
    libraries = ("torch", "transformers", "onnx", "onnxscript", "onnx-ir", "onnxruntime")
    roles = ("dense", "checkpoint")
    produces = ("model.onnx", "reader", "references.safetensors")

    def __init__(self, config: ExportConfig, *, round_number: int) -> None:
        self.round = round_number
        self._config = config

    def fingerprint(self) -> dict[str, JsonValue]:
        return self._config.model_dump(mode="json")

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.graph.export import export_onnx
        from edgeprune.graph.parity import require_parity
        from edgeprune.graph.references import REFERENCES, reference_outputs, save_references, worst_agreement
        from edgeprune.graph.session import onnx_session
        from edgeprune.models.architectures import longest_text
        from edgeprune.models.checkpoint import count_parameters, load_checkpoint
        from edgeprune.tasks.evaluation import to_torch
        from edgeprune.tasks.prepared import open_prepared

        checkpoint = work.parents["checkpoint"].file("checkpoint")
        prepared = open_prepared(work.parents["dense"], work.data, splits=("selection",), reader=checkpoint)
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
            output_names=(*task.unread_names, *task.output_names),
        )
        references = reference_outputs(model, task, selection, reader, longest=longest_text(model.config))
        (work.folder / "reader").mkdir()
        reader.save(work.folder / "reader")
        parameters = count_parameters(model)
        discard_weights(model)  # ONNX Runtime reads the weights once more
        del model
        release_memory()
        parity = worst_agreement(onnx_session(path), references)
        require_parity(parity, self._config.tolerance, what="the ONNX graph against PyTorch")
        save_references(references, work.folder / REFERENCES)
        return StageMetrics(
            parameters=parameters,
            model_bytes=total_bytes(graph_files(path)),
            scores={"parity_max_error": parity.max_error, "parity_mean_error": parity.mean_error},
        )

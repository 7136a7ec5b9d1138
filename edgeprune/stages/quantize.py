"""quantize: fp32 ONNX → the target's precision, with the metric measured again through ONNX Runtime.

Writes `model.onnx`, its `reader/` and the outputs on test. The key holds the resolved settings, not the target's name: two boards with
the same instruction set share their int8 model.
"""

import shutil

from pydantic import JsonValue

from edgeprune.agent import device_info
from edgeprune.artifacts import StageMetrics
from edgeprune.events import Note
from edgeprune.precision import PrecisionSettings, saturates
from edgeprune.stage import Stage, Work

__all__ = ["Quantize"]


class Quantize(Stage):
    """Converts one graph.

    Args:
        settings: The target's precision, resolved.
        round_number: Of the graph's checkpoint; 0 is the dense model.
    """

    name = "quantize"
    version = 3
    libraries = ("onnx", "onnx-ir", "onnxruntime", "transformers")
    roles = ("dense", "onnx")
    produces = ("model.onnx", "reader", "outputs.safetensors")

    def __init__(self, settings: PrecisionSettings, *, round_number: int) -> None:
        self.round = round_number
        self._settings = settings

    def fingerprint(self) -> dict[str, JsonValue]:
        settings: dict[str, JsonValue] = self._settings.model_dump(mode="json")
        if self._settings.mode == "int8-dynamic":
            # The bytes are the same everywhere, but the metric is what this instruction set computes of them.
            device = device_info()
            settings["measured_on"] = [device["arch"], list(device["isa"])]
        return settings

    def run(self, work: Work) -> StageMetrics:
        import numpy as np

        from edgeprune.evaluation import onnx_session, predict_onnx
        from edgeprune.graph.quantization import convert
        from edgeprune.parity import agreement
        from edgeprune.prepared import OUTPUTS, load_outputs, open_prepared, report

        device = device_info()
        if self._settings.reduce_range is False and saturates(device["arch"], device["isa"]):
            work.emit(
                Note(
                    "this CPU saturates in int8 products where the target doesn't: the metric and the goldens are this "
                    "CPU's; build on a machine with VNNI to see the target's"
                )
            )
        onnx = work.parents["onnx"]
        path = work.folder / "model.onnx"
        convert(onnx.file("model.onnx"), path, self._settings)
        shutil.copytree(onnx.file("reader"), work.folder / "reader")
        prepared = open_prepared(work.parents["dense"], work.data, splits=("test",), reader=work.folder / "reader")
        task = prepared.task
        outputs = predict_onnx(onnx_session(path, threads=1), task, prepared.test.examples, prepared.reader)
        fp32_outputs = load_outputs(onnx.file(OUTPUTS))["test"]
        found = agreement(*(np.concatenate([task.values(row) for row in rows]) for rows in (fp32_outputs, outputs)))
        return StageMetrics(
            parameters=onnx.manifest.metrics.parameters,
            model_bytes=sum(file.stat().st_size for file in work.folder.glob("model.onnx*")),
            metric=report(work, prepared, outputs),
            scores={
                "same_answers_as_fp32": float(np.mean(list(map(task.same_answer, fp32_outputs, outputs)))),
                "max_error_to_fp32": found.max_error,
                "mean_error_to_fp32": found.mean_error,
            },
        )

"""quantize: turn an fp32 ONNX graph into the variant that is shipped, and measure parity and metric.

The variant is the race's verdict. If there was no race, it has the rewrites that need no measurement, in the target's
precision. A quantized model may lose more of the metric than the target allows while fp32 does not. Then its few most
sensitive products stay in fp32; the selection split decides which.

The stage writes `model.onnx`, `variant.json`, the graph's `reader/`, and the outputs on one split: test for a model that
is shipped, selection for a model that is one of several to choose from. The key holds the resolved settings and the
metric's budget, not the target's name. So two boards with the same instruction set and the same budget share their int8
model.
"""

import shutil
from typing import TYPE_CHECKING

from pydantic import JsonValue

from edgeprune.base.events import Note
from edgeprune.base.memory import release_memory
from edgeprune.data.table import SplitName
from edgeprune.ondevice.agent import device_info
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.precision import furthest_from_fp32, is_quantized, saturates
from edgeprune.profiles.variant import CHOICE, VARIANT, Variant
from edgeprune.store.files import graph_files, total_bytes
from edgeprune.store.records import Artifact, StageMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeprune.models.reader import Array
    from edgeprune.tasks.roles import Task

__all__ = ["Quantize"]


class Quantize(Stage):
    """Convert one graph.

    Args:
        variant: The variant that is made if there was no race.
        tolerance: Largest relative difference of a rewritten graph's outputs from PyTorch's.
        drop_limit: How much of the metric the target lets the model lose; None: there is no limit.
        round_number: The round of the graph's checkpoint; 0 is the dense model.
        judged_on: The split whose outputs are written and whose metric is reported, `selection` or `test`. Outputs are
            compared with the fp32 checkpoint's on test only: of a pruned checkpoint no others are kept.
    """

    name = "quantize"
    version = 10
    libraries = ("onnx", "onnx-ir", "onnxruntime", "transformers")
    roles = ("dense", "checkpoint", "onnx")
    produces = ("model.onnx", VARIANT, "reader", "outputs.safetensors")

    def __init__(
        self,
        variant: Variant,
        *,
        tolerance: float,
        drop_limit: float | None,
        round_number: int,
        judged_on: SplitName = "test",
    ) -> None:
        self.round = round_number
        self._judged_on = judged_on
        self._plain = variant
        self._tolerance = tolerance
        self._drop_limit = drop_limit

    def fingerprint(self) -> dict[str, JsonValue]:
        settings: dict[str, JsonValue] = {
            **self._plain.model_dump(mode="json"),
            "tolerance": self._tolerance,
            "drop_limit": self._drop_limit if is_quantized(self._plain.precision.mode) else None,
            "judged_on": self._judged_on,
        }
        if is_quantized(self._plain.precision.mode):
            # The graph's bytes are the same everywhere, but its metric depends on the instruction set that computes it.
            device = device_info()
            settings["measured_on"] = [device["arch"], list(device["isa"])]
        return settings

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.graph.calibration_rows import feeds_of
        from edgeprune.graph.parity import require_nearness
        from edgeprune.graph.quantization import convert
        from edgeprune.graph.references import REFERENCES, load_references, worst_agreement
        from edgeprune.graph.requirements import opset_of
        from edgeprune.graph.rewrite import rewrite
        from edgeprune.graph.sensitivity import Conversion, keep_metric
        from edgeprune.graph.session import onnx_session, predict_onnx
        from edgeprune.tasks.prepared import open_prepared

        raced = work.parents.get("race")
        wanted = self._plain if raced is None else Variant.model_validate_json(raced.file(CHOICE).read_bytes())
        device, settings = device_info(), wanted.precision
        if settings.reduce_range is False and saturates(device["arch"], device["isa"]):
            work.emit(
                Note(
                    "this CPU saturates in int8 products where the target doesn't: the metric and the goldens are this "
                    "CPU's; build on a machine with VNNI to see the target's"
                )
            )
        onnx = work.parents["onnx"]
        shutil.copytree(onnx.file("reader"), work.folder / "reader")
        prepared = open_prepared(
            work.parents["dense"], work.data, splits=("selection", self._judged_on), reader=work.folder / "reader"
        )
        calibration, judged = feeds_of(prepared.splits["selection"], prepared.reader)
        references = load_references(onnx.file(REFERENCES))
        exact, path = work.folder / "exact" / "model.onnx", work.folder / "model.onnx"
        exact.parent.mkdir()
        rewritten = rewrite(onnx.file("model.onnx"), exact, wanted.rewrites, references, tolerance=self._tolerance)
        notes = list(rewritten.dropped)
        convert(exact, path, settings, calibration)
        if self._drop_limit is not None and is_quantized(settings.mode):
            conversion = Conversion(exact, wanted, prepared, calibration, judged)
            settings, sentence = keep_metric(conversion, path, self._drop_limit, work.progress)
            notes += [] if sentence is None else [sentence]
        asked, needed = opset_of(onnx.file("model.onnx")), opset_of(path)
        if needed > asked:
            notes.append(
                f"the graph has opset {needed} in place of {asked} (stages.export.opset): the rewrites that won need it; "
                f"for an older runtime measure on that runtime, or set stages.race to null"
            )
        for sentence in notes if self._judged_on == "test" else ():  # a rung that is shipped is quantized again
            work.emit(Note(sentence))
        shutil.rmtree(exact.parent)
        variant = wanted.model_copy(update={"rewrites": rewritten.applied, "precision": settings})
        (work.folder / VARIANT).write_text(variant.model_dump_json(indent=2) + "\n", encoding="utf-8")
        release_memory()
        session = onnx_session(path, variant.session)
        parity = worst_agreement(session, references, with_padding="unpadded" not in variant.rewrites)
        require_nearness(parity, furthest_from_fp32(settings.mode), what=settings.words)
        outputs = predict_onnx(session, prepared.task, prepared.splits[self._judged_on].examples, prepared.reader)
        compared = _compared(work.parents["checkpoint"], prepared.task, outputs) if self._judged_on == "test" else {}
        return StageMetrics(
            parameters=onnx.manifest.metrics.parameters,
            model_bytes=total_bytes(graph_files(path)),
            metric=prepared.report(outputs, work.folder, seed=work.seed, split=self._judged_on),
            notes=tuple(notes),
            scores={
                "raced": float(raced is not None),
                **compared,
                "rewritten_max_error": rewritten.agreement.max_error,
                "rewritten_mean_error": rewritten.agreement.mean_error,
                "parity_max_error": parity.max_error,
                "parity_mean_error": parity.mean_error,
            },
        )


def _compared(checkpoint: Artifact, task: "Task", outputs: "Sequence[Array]") -> dict[str, float]:
    """Compare a graph's outputs on test with those of the fp32 checkpoint that it was made from, by PyTorch."""
    import numpy as np

    from edgeprune.graph.parity import agreement
    from edgeprune.tasks.prepared import OUTPUTS, load_outputs

    fp32 = load_outputs(checkpoint.file(OUTPUTS))["test"]
    found = agreement(*(np.concatenate([task.values(row) for row in rows]) for rows in (fp32, outputs)))
    return {
        "same_answers_as_fp32": float(np.mean(list(map(task.same_answer, fp32, outputs)))),
        "max_error_to_fp32": found.max_error,
        "mean_error_to_fp32": found.mean_error,
    }

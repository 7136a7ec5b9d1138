"""emulate: check that the shipped graph loads on the target's core, and that it computes the same there as here.

The same program runs the graph on the same real rows on this machine and under emulation (`devices/emulated.py`).
Images are seeded noise. The stage writes `emulation.json`, which says how far the outputs lie apart. It has no latency,
because the time under an emulator says nothing about a device.
"""

import time
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from edgeprune.base.errors import ParityError
from edgeprune.benchmark.records import EmulationRow
from edgeprune.devices import Runner
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.local import LocalRunner
from edgeprune.devices.protocol import DeviceFacts, Outputs, OutputsRequest, of_type
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.precision import tolerance_elsewhere
from edgeprune.profiles.runners import ArmCore
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import read_variant
from edgeprune.store.records import Artifact, StageMetrics

if TYPE_CHECKING:
    from edgeprune.models.reader import Array
    from edgeprune.tasks.prepared import Prepared

__all__ = ["Emulate", "read_emulation"]

_EMULATION = "emulation.json"

_EXACT_HERE = {"session.x64quantprecision": "1"}
"""Session options for this machine. x86 without VNNI would saturate where ARM doesn't. Other CPUs ignore the option."""


class Emulate(Stage):
    """Compare the shipped graph's outputs on this machine with its outputs on an emulated core.

    Args:
        core: The emulated core.
        runner: The runner of the emulated core.
        rows: How many test rows are compared. They are the rows of the package's goldens.
        round_number: The round of the package's checkpoint.
    """

    name = "emulate"
    version = 1
    libraries = ("onnxruntime",)
    roles = ("dense", "model")
    produces = (_EMULATION,)

    def __init__(self, core: ArmCore, runner: EmulatedRunner, *, rows: int, round_number: int) -> None:
        self.round = round_number
        self._core = core
        self._runner = runner
        self._rows = rows

    def fingerprint(self) -> dict[str, JsonValue]:
        return {"core": self._core, "rows": self._rows, "versions": dict(self._runner.versions)}

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.graph.parity import agreement
        from edgeprune.tasks.prepared import open_prepared

        model = work.parents["model"]
        variant = read_variant(model)
        assert variant is not None  # noqa: S101 (quantize always says which it made)
        prepared = open_prepared(work.parents["dense"], work.data, splits=("test",), reader=model.file("reader"))
        rows = _rows(prepared, self._rows)
        here, _ = self._outputs(LocalRunner(), model, variant.session, prepared, rows, _EXACT_HERE)
        began = time.perf_counter()
        there, device = self._outputs(self._runner, model, variant.session, prepared, rows, {})
        seconds = time.perf_counter() - began
        found = [agreement(a, b) for a, b in zip(here, there, strict=True)]
        task, examples = prepared.task, prepared.test.examples
        same = [
            task.same_answer(*(task.read(output[0].astype(np.float32), examples[row]) for output in (a, b)))
            for row, a, b in zip(rows, here, there, strict=True)
        ]
        emulation = EmulationRow(
            core=self._core,
            onnxruntime=str(device.onnxruntime),
            max_error=max(one.relative_error for one in found),
            mean_error=float(np.mean([one.mean_error for one in found])),
            same_answers=sum(same) / len(same),
            rows=len(rows),
            seconds=round(seconds, 1),
        )
        tolerance = tolerance_elsewhere(variant.precision.mode)
        if not emulation.max_error <= tolerance or not all(same):
            raise ParityError(
                f"under emulation ({self._core}) the model computes something else than here: on {len(rows)} rows the "
                f"outputs differ by {emulation.max_error:.2e} (allowed: {tolerance:.0e}), and {sum(same)} answers are "
                f"the same; nothing was shipped"
            )
        (work.folder / _EMULATION).write_text(emulation.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return StageMetrics(parameters=model.manifest.metrics.parameters)

    def _outputs(
        self,
        runner: Runner,
        model: Artifact,
        session: SessionOptions | None,
        prepared: "Prepared",
        rows: list[int],
        config: dict[str, str],
    ) -> "tuple[list[Array], DeviceFacts]":
        """Ask a runner for the raw outputs of each row, [1, …], and for the device's facts."""
        wanted = session or SessionOptions(threads=1)
        # One thread, because an emulator's threads take turns.
        options = wanted.model_copy(update={"threads": 1, "config": {**wanted.config, **config}})
        inputs = prepared.test.inputs
        request = OutputsRequest(
            provider="CPUExecutionProvider",
            sessions={"final": options},
            batches={"final": [prepared.reader.timed([inputs[row]], row) for row in rows]},
        )
        answers = runner.run(request, {"final": model.file("model.onnx")})
        (outputs,) = of_type(answers, Outputs)
        (device,) = of_type(answers, DeviceFacts)
        arrays = zip(outputs.values, outputs.shapes, strict=True)
        return [np.array(values, np.float64).reshape(shape) for values, shape in arrays], device


def _rows(prepared: "Prepared", count: int) -> list[int]:
    """Choose the rows of the goldens, or fewer if their outputs would be too large to be sent."""
    for fewer in range(count, 1, -1):
        rows = prepared.spread(fewer)
        if sum(prepared.reader.length(prepared.test.inputs[row]) for row in rows) <= prepared.task.max_batch_tokens:
            return rows
    return prepared.spread(1)


def read_emulation(artifact: Artifact) -> EmulationRow:
    """Read what the check on an emulated core found."""
    return EmulationRow.model_validate_json(artifact.file(_EMULATION).read_bytes())

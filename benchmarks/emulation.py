"""Run a package of texts on four emulated ARM64 cores, beside this machine.

python benchmarks/emulation.py dist/my-model-0-raspberry-pi-4

Needs `make arm`. For each core the table says whether the package loads, the largest difference of an output and how
many answers are the same. The texts are the package's goldens. Differences are relative to max(1, this machine's
largest output). The seconds are the emulator's and say nothing about a device.
"""

import json
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np

from edgeprune.base.errors import EdgepruneError
from edgeprune.devices.emulated import EmulatedRunner
from edgeprune.devices.protocol import Outputs, OutputsRequest, of_type
from edgeprune.ondevice.agent import device_info
from edgeprune.ondevice.run import Model
from edgeprune.profiles.runners import ArmCore, EmulatedConfig
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.tasks.registry import ondevice_modules

folder = Path(sys.argv[1])
task = json.loads((folder / "edgeprune.json").read_text())["task"]
preprocess, postprocess = ondevice_modules(task)
model = Model(folder, threads=1, preprocess=preprocess, postprocess=postprocess)
goldens = json.loads((folder / "goldens.json").read_text())["goldens"]
contents = [model.golden_content(golden) for golden in goldens]
encodings = [model.inputs.encode(content) for content in contents]
here = [model.output(encoding) for encoding in encodings]
request = OutputsRequest(
    provider="CPUExecutionProvider",
    sessions={"final": SessionOptions.model_validate({**model.config["session"], "threads": 1})},
    batches={
        "final": [
            {name: values.tolist() for name, values in model.inputs.feed(encoding).items()} for encoding in encodings
        ]
    },
)


def decision(row: int, output: np.ndarray) -> object:
    """Read the decision in the output for a text."""
    answer = model.postprocess.answer(output, encodings[row], contents[row], model)
    return model.postprocess.decision(answer)


def compared(core: ArmCore) -> str:
    """Run the package on a core, and write the core's row of the table."""
    began = time.perf_counter()
    try:
        answers = EmulatedRunner(EmulatedConfig(type="emulated", core=core)).run(
            request, {"final": folder / "model.onnx"}
        )
    except EdgepruneError as error:
        return f"| {core} | no: {error} | | | |"
    seconds = time.perf_counter() - began
    (found,) = of_type(answers, Outputs)
    there = [
        np.array(values, np.float32).reshape(shape)[0] for values, shape in zip(found.values, found.shapes, strict=True)
    ]
    error = max(float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) for a, b in zip(here, there, strict=True))
    same = sum(decision(row, a) == decision(row, b) for row, (a, b) in enumerate(zip(here, there, strict=True)))
    return f"| {core} | yes | {error:.2e} | {same} of {len(here)} | {seconds:.1f} |"


print(f"Beside {device_info()['cpu']}:\n")
print("| core | loads | largest difference | same answers | seconds |\n|---|---|---|---|---|")
for core in get_args(ArmCore):
    print(compared(core), flush=True)

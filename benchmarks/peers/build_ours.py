"""`edgeprune build` of the checkpoint for this host, nothing pruned: `dist/<package>/model.onnx`.

The build measures the dense model, a linear one and every graph on the test texts and checks parity, which no peer does;
only its latency benchmark is left out. All of that is in the figures.
"""

import json
import sys
from pathlib import Path

import edgeprune
from edgeprune.data import DataSpec

request = json.load(sys.stdin)
output = Path(request["output"])
report = edgeprune.build(
    request["checkpoint"],
    data=DataSpec(train=request["train"], test=request["test"], max_rows=request["max_rows"]),
    task="text-classification",
    pipeline=str(Path(__file__).with_name("dense.yaml")),
    set_=["target.runner=null", *request["set"], *request["settings"]],
    store=output / "store",
    output=output / "dist",
)
(output / "build.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")

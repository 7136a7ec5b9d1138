"""`edgeprune build` of the checkpoint for this host, nothing pruned: `dist/<package>/model.onnx`.

The build races variants of the graph on one thread, measures the dense model, a linear one and every graph on the test
texts and checks parity, which no peer does; its latency benchmark is as short as can be. All of that is in the figures;
`build.json` beside the package has every stage's seconds.
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
    target="host",
    pipeline=str(Path(__file__).with_name("dense.yaml")),
    set_=["target.runtime.threads=1", *request["set"], *request["settings"]],
    store=output / "store",
    output=output / "dist",
)
(output / "build.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")

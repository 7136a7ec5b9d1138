"""`edgeprune build` of the checkpoint for this host, nothing pruned: `dist/<package>/onnx/model.onnx`.

The build races variants of the graph on one thread, measures the dense model, a linear one and every graph on the test
texts and checks parity, which no peer does; its latency benchmark is as short as can be. All of that is in the figures;
`stages.json` has every stage's CPU seconds, its children's among them.
"""

import json
import os
import sys
from pathlib import Path

import edgeprune
from edgeprune.base.events import Event, StageFinished, StageStarted

began: dict[str, float] = {}
stages: dict[str, float] = {}


def keep(event: Event) -> None:
    """CPU seconds by stage."""
    now = sum(os.times()[:4])
    if isinstance(event, StageStarted):
        began[event.stage] = now
    elif isinstance(event, StageFinished):
        stages[event.stage] = stages.get(event.stage, 0.0) + now - began[event.stage]


request = json.load(sys.stdin)
output = Path(request["output"])
edgeprune.build(
    request["checkpoint"],
    data=request["train"],
    test_data=request["test"],
    max_rows=request["max_rows"],
    task="text-classification",
    target="host",
    pipeline=str(Path(__file__).with_name("dense.yaml")),
    set_=["target.runtime.threads=1", *request["set"], *request["settings"]],
    store=output / "store",
    output=output / "dist",
    emit=keep,
)
(output / "stages.json").write_text(json.dumps(stages), encoding="utf-8")

"""edgeprune/graph/sized_graphs.py, with size_template, layer_surgery and sized_exports: graphs of sizes that were never exported."""

from dataclasses import dataclass

from edgeprune.graph.sized_exports import SizedExports
from edgeprune.models.reader import Reader
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.tasks.roles import Task

FP32 = PrecisionSettings(mode="fp32")
LAYERS = 3
FULL = ((2, 24), (1, 40), (4, 128))


@dataclass(frozen=True)
class Exported:
    """A family's two exports, and what they were made with."""

    exports: SizedExports
    config: "object"
    task: Task
    reader: Reader
    rows: list

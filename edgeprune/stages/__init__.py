"""The stages, one file each. The closed table of them, in their order."""

from edgeprune.stage import Stage
from edgeprune.stages.benchmark import Benchmark
from edgeprune.stages.export import Export
from edgeprune.stages.finetune import Finetune
from edgeprune.stages.package import Package
from edgeprune.stages.prepare import Prepare
from edgeprune.stages.prune import Prune
from edgeprune.stages.quantize import Quantize

__all__ = ["STAGES"]

STAGES: tuple[type[Stage], ...] = (Prepare, Prune, Finetune, Export, Quantize, Benchmark, Package)

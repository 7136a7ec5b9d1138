"""regression: time the new package and the baseline by turns, and say how much slower the new package is.

The stage writes `report.json` (the ratio, its interval, the verdict) and `samples.jsonl` (every line of the agent).
"""

from pathlib import Path

from pydantic import JsonValue

from edgeprune.benchmark.compare import BenchmarkReport, benchmark
from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.devices import Runner
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.package import package_folder
from edgeprune.profiles.pipeline import BenchmarkConfig
from edgeprune.profiles.target import Target
from edgeprune.store.package import package_digest
from edgeprune.store.records import Artifact, StageMetrics

__all__ = ["Regression", "read_regression"]

_REPORT = "report.json"


class Regression(Stage):
    """Time the new package against a baseline.

    Args:
        config: The pipeline's `stages.benchmark`.
        baseline: The other package: a folder or a .tar.gz.
        max_regression: The share by which the new package may be slower.
        target: The profile of the target that both packages are timed on.
        runner: How the target is reached.
        place: The machine that the measurement holds for.
        round_number: The round of the package's checkpoint.
    """

    name = "regression"
    version = 1
    libraries = ("onnxruntime",)
    roles = ("package",)
    produces = (_REPORT, "samples.jsonl")
    measures = True

    def __init__(
        self,
        config: BenchmarkConfig,
        *,
        baseline: Path,
        max_regression: float,
        target: Target,
        runner: Runner,
        place: JsonValue,
        round_number: int,
    ) -> None:
        self.round = round_number
        self._config = config
        self._baseline = baseline
        self._baseline_digest = package_digest(baseline)
        self._max_regression = max_regression
        self._target = target
        self._runner = runner
        self._place = place

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(mode="json"),
            "baseline": self._baseline_digest,
            "max_regression": self._max_regression,
            "runtime": self._target.runtime.model_dump(mode="json"),
            "workload": self._target.workload.model_dump(mode="json"),
            "measured_on": self._place,
        }

    def run(self, work: Work) -> StageMetrics:
        found = benchmark(
            [package_folder(work.parents["package"]), self._baseline],
            self._target,
            self._runner,
            config=self._config,
            max_regression=self._max_regression,
            samples=work.folder / "samples.jsonl",
            progress=work.progress,
        )
        (work.folder / _REPORT).write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return StageMetrics()


def read_regression(run: Artifact) -> list[BudgetRow]:
    """Read what a regression run found: the limit, the ratio, and the verdict."""
    return BenchmarkReport.model_validate_json(run.file(_REPORT).read_bytes()).budget

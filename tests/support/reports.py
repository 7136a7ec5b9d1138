"""Reports of builds that never ran."""

from typing import Any

from edgeprune.benchmark.race import RaceRow
from edgeprune.benchmark.records import ConditionsRow, DeviceRow, LatencyRow
from edgeprune.benchmark.verdicts import BudgetRow, Verdict
from edgeprune.report.records import BuildReport, ChangedRow, LayerRow, PackageRow, PartSizeRow, StageRow
from edgeprune.search.frontier import Frontier, RungRow
from edgeprune.store.records import Metric


def latency(artifact: str, p50: float | None, **changes: Any) -> LatencyRow:
    values: dict[str, Any] = {
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "batch_size": 1,
        "lengths": "data",
        "samples": 100,
        "p50_ms": p50,
        "p90_ms": p50 and 2 * p50,
        "p50_interval_ms": None,
        "p90_interval_ms": None,
        "peak_memory_mb": 120.0,
    }
    return LatencyRow(artifact=artifact, **values | changes)


def stage(name: str, round_number: int, value: float = 0, drop: float | None = None, **changes: Any) -> StageRow:
    metric = Metric(
        name="accuracy",
        value=value,
        samples=100,
        drop=drop,
        drop_interval=None if drop is None else (drop - 0.01, drop + 0.01),
    )
    values: dict[str, Any] = {
        "key": "ab" * 32,
        "cached": False,
        "duration_s": 12.34,
        "peak_memory_mb": 512.0,
        "parameters": 22_713_986,
        "size_bytes": 90_000_000,
        "metric": metric,
    }
    return StageRow(stage=name, round=round_number, **values | changes)


def budget(name: str, verdict: Verdict, value: float | None) -> BudgetRow:
    return BudgetRow(name=name, limit=25, value=value, interval=None, verdict=verdict)


def report(**changes: Any) -> BuildReport:
    values: dict[str, Any] = {
        "name": "reviews",
        "release": "1.4.0",
        "target": "cpu-x86-avx2",
        "pipeline": "structured",
        "task": "text-classification",
        "verdict": "fail",
        "exit_code": 3,
        "package": PackageRow(
            path="dist/reviews", archive="dist/reviews.tar.gz", size_bytes=11_250_000, sha256="0" * 64
        ),
        "stages": [
            stage("prepare", 0, 0.91, cached=True),
            stage("export", 0, metric=None),
            stage("finetune", 1, 0.9, 0.01),
            stage("quantize", 1, 0.895, 0.015, size_bytes=11_200_000),
            stage("package", 1, 0.895, 0.015, parameters=None),
        ],
        "linear": Metric(name="accuracy", value=0.71, samples=100),
        "device": DeviceRow(
            arch="x86_64", isa=("avx2",), cpu="Some CPU", cores=4, system="Linux", python="3.11.2", onnxruntime="1.31.1"
        ),
        "latency": [latency("dense-fp32", 8.0), latency("final", 2.0)],
        "budget": [budget("size_mb", "pass", 11.25), budget("latency_p90_ms", "fail", 26.0)],
        "notes": [],
    }
    return BuildReport(**values | changes)


def rung(name: str, speedup: float, drop: float, p50_ms: float | None, **changes: Any) -> RungRow:
    left = round(6 / speedup**0.5)
    values: dict[str, Any] = {
        "refined": False,
        "dense_p50_ms": 2.4,
        "predicted_p50_ms": p50_ms and 1.05 * p50_ms,
        "p50_interval_ms": p50_ms and (0.96 * p50_ms, 1.05 * p50_ms),
        "p90_ms": p50_ms and 1.7 * p50_ms,
        "p90_interval_ms": p50_ms and (1.6 * p50_ms, 1.8 * p50_ms),
        "peak_memory_mb": None,
        "size_mb": 12 + 10 / speedup,
        "metric": 0.86 - drop,
        "drop_interval": (drop - 0.012, drop + 0.014),
        "parameters": round(12e6 + 10e6 / speedup),
        "heads": (12,) * left + (0,) * (6 - left),
        "neurons": (512,) * left + (0,) * (6 - left),
        "layers": left,
        "keeps": drop <= 0.01,
        "why": "keeps metric_drop" if drop <= 0.01 else "loses more than metric_drop allows",
        "checkpoint": "cd" * 32,
        "duration_s": 60.0,
    }
    return RungRow(name=name, speedup=speedup, drop=drop, p50_ms=p50_ms, **values | changes)


DROPS = {1.0: 0.0, 1.5: -0.003, 2.0: 0.001, 3.0: 0.004, 4.0: 0.008, 6.0: 0.017, 8.0: 0.031, 12.0: 0.064}
"""What each speed-up of a search costs of the metric."""


def frontier(*, dense_ms: float | None = 2.4, **changes: Any) -> Frontier:
    """A search of eight rungs; without a time nothing could be measured."""
    rungs = tuple(
        rung("dense" if speedup == 1 else f"{speedup:g}x", speedup, drop, dense_ms and dense_ms / speedup**0.9)
        for speedup, drop in DROPS.items()
    )
    values: dict[str, Any] = {
        "objective": "latency",
        "unit": "ms" if dense_ms else "multiply-adds",
        "prediction_error": 0.05 if dense_ms else None,
        "metric_name": "accuracy",
        "metric_dense": 0.86,
        "samples": 800,
        "rungs": rungs,
        "shipped": "4x",
        "decided_by": "objective",
        "reason": "4x is the fastest rung whose drop is within 1 point with 80% confidence.",
        "faster": "6x takes 0.48 ms, and loses 1.7 points.",
        "more_accurate": "3x takes 0.89 ms, and loses 0.4 points.",
    }
    return Frontier(**values | changes)


def narrowed_frontier() -> Frontier:
    """A search whose rungs from 4x on have a smaller hidden size."""
    found = frontier()
    rungs = tuple(rung.model_copy(update={"hidden_size": 256 if rung.speedup >= 4 else 384}) for rung in found.rungs)
    return found.model_copy(update={"rungs": rungs})


def full_report(**changes: Any) -> BuildReport:
    """A build that was pruned, raced and timed, and that has a search: everything that a page shows."""
    calm = {
        "governor": "performance",
        "frequency_mhz": 2450.0,
        "temperature_c": None,
        "throttle_events": 0,
        "quota_cores": None,
    }
    conditions = [
        ConditionsRow(**calm, load_1min=load, affinity=None, reasons={"temperature_c": "no sensor"})
        for load in (0.2, 1.1)
    ]
    device = DeviceRow(
        arch="x86_64", isa=("avx2", "avx512f"), cpu="Some CPU", cores=2, system="Linux", python="3.11.2",
        onnxruntime="1.31.1", before=conditions[0], after=conditions[1],
    )  # fmt: skip
    dense, final = (
        stage(name, number, value, drop).metric
        for name, number, value, drop in (("prepare", 0, 0.86, None), ("package", 1, 0.852, 0.008))
    )
    assert dense is not None
    assert final is not None
    dense = dense.model_copy(update={"others": {"recall of neg": 0.84, "recall of pos": 0.88}})
    final = final.model_copy(update={"others": {"recall of neg": 0.85, "recall of pos": 0.854}})
    timed = {
        "processes": 8, "p50_interval_ms": (1.2, 1.3), "p90_interval_ms": (1.9, 2.3), "converged": True, "cold_start_ms": 41.0,
    }  # fmt: skip
    values: dict[str, Any] = {
        "stages": [
            stage("prepare", 0, 0.86, metric=dense, size_bytes=90_900_000),
            stage("prune", 1, 0.84, 0.02),
            stage("finetune", 1, 0.855, 0.005, duration_s=120.0),
            stage("race", 1, 0.0, metric=None, parameters=None, size_bytes=None),
            stage("quantize", 1, 0.852, 0.008, size_bytes=17_500_000),
            stage("package", 1, 0.852, 0.008, metric=final, parameters=17_300_000),
        ],
        "device": device,
        "race": (
            RaceRow(variant="int8-dynamic, narrow-reads, 1 thread", p50_ms=1.24, ratio=1.0, ratio_interval=None, samples=160,
                    why="won"),
            RaceRow(variant="fp32, 1 thread", p50_ms=3.4, ratio=2.74, ratio_interval=(2.7, 2.8), samples=40,
                    why="left out after round 1: 174.0% slower than int8-dynamic"),
            RaceRow.untimed("int8-static, 1 thread", "its outputs are too far from PyTorch's"),
        ),
        "latency": [
            latency("dense-fp32", 8.3, processes=8, p50_interval_ms=(8.1, 8.6)),
            latency("dense", 2.4, processes=8, p50_interval_ms=(2.3, 2.45)),
            latency("final", 1.24, **timed),
        ],
        "budget": [
            budget("size_mb", "pass", 18.2),
            BudgetRow(name="metric_drop", limit=0.01, value=0.008, interval=(-0.009, 0.015), verdict="pass"),
            BudgetRow(name="latency_p50_ms", limit=2, value=1.24, interval=(1.2, 1.3), verdict="pass"),
            BudgetRow(name="latency_p90_ms", limit=2, value=2.48, interval=(1.9, 2.3), verdict="fail"),
        ],
        "notes": ["the graph has opset 23 in place of 20"],
        "frontier": frontier(),
        "layers": tuple(
            LayerRow(dense_heads=12, dense_neurons=1536, heads=heads, neurons=neurons)
            for heads, neurons in ((tuple(range(12)), 1536), ((0, 3, 5, 7, 11), 1024), ((), 512), ((2,), 0), ((), 0), ((1, 2), 64))
        ),
        "parts": tuple(
            PartSizeRow(part=part, parameters=now, dense_parameters=before)
            for part, now, before in (("embeddings", 11_900_000, 11_900_000), ("attention", 1_200_000, 3_550_000),
                                      ("ffn", 3_100_000, 7_100_000), ("rest", 148_000, 148_000))
        ),
        "changed": (
            ChangedRow(text="A film to remember, if only one could.", label="neg", dense_confidence=0.981, answer="pos",
                       confidence=0.713),
        ),
    }  # fmt: skip
    package = PackageRow(
        path="dist/reviews-1.4.0-cpu-x86-avx2", archive="dist/reviews-1.4.0-cpu-x86-avx2.tar.gz", size_bytes=18_200_000,
        archive_bytes=13_400_000, sha256="0" * 64, try_with=("A text.",),
    )  # fmt: skip
    return report(package=package, **values | changes)


def samples_of(made: BuildReport, *, processes: int = 8) -> dict[str, list[list[float]]]:
    """As many times of runs as the report's rows say, spread around their medians."""
    taken = {}
    for row in made.latency:
        each, middle = row.samples // processes, row.p50_ms or 0.0
        runs = [
            [middle * (0.8 + (37 * run + process) % 50 / 100) for run in range(each)] for process in range(processes)
        ]
        runs[0] += [middle] * (row.samples - each * processes)
        taken[row.artifact] = runs
    return taken

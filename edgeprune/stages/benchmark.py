"""benchmark: the dense model, in fp32 and in the result's precision, and the result, timed by turns on the target.

Writes `samples.jsonl` (every sample, in ns, by process and model), `latency.json` (what was made of them) and `device.json`
(what they were taken on). A measurement is no function of its inputs, so every build makes its own: the store keeps them at
`benchmark/<key>/<run id>/`.
"""

import json

from pydantic import JsonValue, TypeAdapter

from edgeprune.artifacts import Artifact, StageMetrics
from edgeprune.latency import DeviceRow, LatencyRow, percentile, percentile_interval
from edgeprune.profiles import BenchmarkConfig, Runtime, Workload
from edgeprune.runners import Record, Runner
from edgeprune.runners.turns import time_by_turns
from edgeprune.stage import Stage, Work
from edgeprune.variant import SessionOptions, read_variant

__all__ = ["Benchmark", "read_device", "read_latency"]

_ROWS = TypeAdapter(list[LatencyRow])


class Benchmark(Stage):
    """Times several graphs by turns.

    Args:
        config: The pipeline's `stages.benchmark`.
        names: Of the graphs, each the role of a parent.
        runtime: The target's provider and threads.
        workload: The target's workload.
        runner: How the target is reached.
        place: What the measurement holds for.
    """

    name = "benchmark"
    version = 4
    libraries = ("onnxruntime",)
    roles = ("baseline",)
    produces = ("samples.jsonl", "latency.json", "device.json")

    def __init__(
        self,
        config: BenchmarkConfig,
        *,
        names: tuple[str, ...],
        runtime: Runtime,
        workload: Workload,
        runner: Runner,
        place: JsonValue,
    ) -> None:
        self._config = config
        self._names = names
        self._runtime = runtime
        self._workload = workload
        self._runner = runner
        self._place = place

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(mode="json"),
            "runtime": self._runtime.model_dump(mode="json"),
            "workload": self._workload.model_dump(mode="json"),
            "measured_on": self._place,
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.workloads import batches_of

        names = self._names
        sessions = {name: self._session(work.parents[name]) for name in names}
        request: Record = {
            "provider": self._runtime.provider,
            "warmup": self._config.warmup,
            "sessions": {name: session.model_dump(mode="json") for name, session in sessions.items()},
        }
        models = {name: work.parents[name].file("model.onnx") for name in names}
        workloads: dict[str, tuple[list[JsonValue], JsonValue]] = {}
        batches: dict[str, JsonValue] = {}
        largest: dict[str, JsonValue] = {}
        for name in names:
            files = work.parents[name].manifest.files
            digests = " ".join(file.sha256 for file in files if file.path.startswith("reader/"))
            if digests not in workloads:  # most often all models share one
                reader = work.parents[name].file("reader")
                workloads[digests] = batches_of(
                    work, work.parents["baseline"], reader, self._workload, self._config.samples
                )
            batches[name], largest[name] = workloads[digests][0], [workloads[digests][1]]
        total = self._config.processes + len(names)
        memory: dict[str, float | None] = {}
        device: Record = {}
        with (work.folder / "samples.jsonl").open("w", encoding="utf-8") as file:

            def keep(record: Record) -> None:
                file.write(json.dumps(record) + "\n")
                if record["kind"] == "device":
                    device.update({name: value for name, value in record.items() if name not in ("kind", "process")})
                    work.progress(int(record["process"]), total, "processes")  # type: ignore[arg-type] # a number

            samples = time_by_turns(
                self._runner,
                {**request, "batches": batches},
                models,
                processes=self._config.processes,
                keep=keep,
            )
            for done, name in enumerate(names, start=self._config.processes + 1):
                for record in self._runner.run({**request, "mode": "memory", "batches": largest}, {name: models[name]}):
                    file.write(json.dumps(record) + "\n")
                    if record["kind"] == "memory":
                        peak = record["peak_bytes"]
                        memory[name] = None if peak is None else round(float(peak) / 1e6, 1)  # type: ignore[arg-type]
                work.progress(done, total, "processes")
        rows = [self._row(name, samples[name], memory.get(name), sessions[name].threads) for name in names]
        (work.folder / "latency.json").write_bytes(_ROWS.dump_json(rows, indent=2))
        (work.folder / "device.json").write_text(
            DeviceRow.model_validate(device).model_dump_json(indent=2) + "\n", encoding="utf-8"
        )
        return StageMetrics()

    def _session(self, artifact: Artifact) -> SessionOptions:
        """What a graph was raced with, else ONNX Runtime's defaults on the target's threads."""
        variant = read_variant(artifact)
        raced = variant.session if variant else None
        return raced or SessionOptions(threads=self._runtime.threads)

    def _row(self, name: str, samples_ms: list[list[float]], peak_memory_mb: float | None, threads: int) -> LatencyRow:
        return LatencyRow(
            artifact=name,
            provider=self._runtime.provider,
            threads=threads,
            batch_size=self._workload.batch_size,
            lengths=str(self._workload.lengths),
            samples=sum(map(len, samples_ms)),
            p50_ms=percentile(samples_ms, 50),
            p90_ms=percentile(samples_ms, 90),
            p50_interval_ms=percentile_interval(samples_ms, 50),
            p90_interval_ms=percentile_interval(samples_ms, 90),
            peak_memory_mb=peak_memory_mb,
        )


def read_device(run: Artifact) -> DeviceRow:
    """What a benchmark run was made on."""
    return DeviceRow.model_validate_json(run.file("device.json").read_bytes())


def read_latency(run: Artifact) -> list[LatencyRow]:
    """What a benchmark run found."""
    return _ROWS.validate_json(run.file("latency.json").read_bytes())

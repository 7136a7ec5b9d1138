"""Describe what was measured: latencies, the device and the conditions there, and outputs under emulation."""

from pydantic import ConfigDict, Field

from edgeprune.base.strict_yaml import Frozen

__all__ = ["ConditionsRow", "DeviceRow", "EmulationRow", "LatencyRow"]


class ConditionsRow(Frozen):
    """Record what may change from run to run. A fact is None if the device doesn't tell it, and `reasons` says why."""

    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttle_events: int | None
    """How often the cores that were used were throttled since the device was started."""
    load_1min: float | None
    quota_cores: float | None
    """CPU time that a cgroup allows, in cores. None without an entry in `reasons`: there is no limit."""
    affinity: tuple[int, ...] | None
    reasons: dict[str, str]


class DeviceRow(Frozen):
    """Record the device that was measured, as the agent saw it. A fact is None if the device doesn't tell it."""

    arch: str
    isa: tuple[str, ...]
    cpu: str | None
    cores: int | None
    system: str
    python: str | None
    onnxruntime: str | None
    clock_ns: int | None = None
    """The smallest step of the clock that times were taken with, in ns."""
    before: ConditionsRow | None = None
    """Conditions before the first process that was timed."""
    after: ConditionsRow | None = None
    """Conditions after the last process that was timed."""


class LatencyRow(Frozen):
    """Record one model's latency on the target. A figure is None if it was not measured, or if samples were too few."""

    artifact: str
    """In a build: `dense-fp32`, `dense` (the dense model in the result's precision), `encoder` (the result without its
    first stage, if it has one) or `final`. Else the package's path."""
    provider: str
    threads: int
    batch_size: int
    lengths: str
    """Lengths of the inputs: `data` (the test rows' own), `inputs` (the given inputs' own), or the fixed number of
    tokens."""
    samples: int
    mean_ms: float | None = None
    """The median over processes of each process's mean. None: too few samples, or the record is older than this field."""
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p50_interval_ms: tuple[float, float] | None
    """This interval and the others of times hold with 95%, even if they are looked at three times."""
    p90_interval_ms: tuple[float, float] | None
    p95_interval_ms: tuple[float, float] | None = None
    p99_interval_ms: tuple[float, float] | None = None
    mean_interval_ms: tuple[float, float] | None = None
    processes: int = 0
    converged: bool | None = None
    """Whether times were steady in a process. False: the second half was more than 5% slower or faster than the first.
    None: it isn't known, because the times have no order or there was one process."""
    cold_start_ms: float | None = None
    """Time of opening the session and of the first run together, median over processes that run this model alone. In a
    browser it begins with the navigation to the page."""
    peak_memory_mb: float | None
    """Peak memory of a fresh process that runs this model alone, including its imports. In a browser it is the page's
    process."""
    download_mb: float | None = None
    """What a page fetched before its first answer, without compression, and the tokenizer; None: it is no page."""
    download_gzip_mb: float | None = None
    """The same if the server compresses it with gzip."""
    nodes: dict[str, int] = Field(default_factory=dict)
    """How many of the graph's nodes each execution provider ran."""
    text_p50_ms: float | None = None
    """Time from a text, or the bytes of an image's file, to its answer, one at a time, as the package's `run.py` gives
    it."""
    text_p90_ms: float | None = None
    text_p50_interval_ms: tuple[float, float] | None = None
    text_p90_interval_ms: tuple[float, float] | None = None
    sessions: int = 1
    """How many sessions ran in parallel when throughput was measured."""
    throughput_per_s: float | None = None
    """How many texts or images went through the model per second, in all sessions together."""
    throughput_interval_per_s: tuple[float, float] | None = None


class EmulationRow(Frozen):
    """Compare the shipped model on an emulated core with the same model on the machine that built it."""

    model_config = ConfigDict(allow_inf_nan=True)

    core: str
    onnxruntime: str
    """Version of onnxruntime under emulation."""
    max_error: float
    """Largest difference of outputs, relative to max(1, largest output)."""
    mean_error: float
    """Mean absolute difference of outputs."""
    same_answers: float
    """The fraction of rows with the same answer."""
    rows: int
    seconds: float
    """How long the check took under emulation. This says nothing about the time on a device."""

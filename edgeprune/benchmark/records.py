"""Describe what was measured: latencies, the device, and the conditions there."""

from pydantic import Field

from edgeprune.base.strict_yaml import Frozen

__all__ = ["ConditionsRow", "DeviceRow", "LatencyRow"]


class ConditionsRow(Frozen):
    """What may change from run to run; None where the device doesn't tell, and `reasons` says why."""

    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttle_events: int | None
    """Of the cores that were used, since the device was started."""
    load_1min: float | None
    quota_cores: float | None
    """CPU time a cgroup allows; None without a reason: no limit."""
    affinity: tuple[int, ...] | None
    reasons: dict[str, str]


class DeviceRow(Frozen):
    """What latencies were measured on, as the agent saw it; None where the device doesn't tell."""

    arch: str
    isa: tuple[str, ...]
    cpu: str | None
    cores: int | None
    system: str
    python: str | None
    onnxruntime: str | None
    before: ConditionsRow | None = None
    """Of the first process that was timed; the next of the last one."""
    after: ConditionsRow | None = None


class LatencyRow(Frozen):
    """One model's latency on the target; None where it was not measured or can't be claimed."""

    artifact: str
    """`dense-fp32`, `dense` (the dense model in the result's precision) or `final`."""
    provider: str
    threads: int
    batch_size: int
    lengths: str
    """`data`, `inputs`, or the fixed number of tokens."""
    samples: int
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p50_interval_ms: tuple[float, float] | None
    """These hold with 95%, looked at up to three times."""
    p90_interval_ms: tuple[float, float] | None
    p95_interval_ms: tuple[float, float] | None = None
    p99_interval_ms: tuple[float, float] | None = None
    processes: int = 0
    converged: bool | None = None
    """Whether times in a process were steady; False: they still rose or fell by more than 5%; None: their order isn't known."""
    cold_start_ms: float | None = None
    """Opening the session and the first run, median over processes that run this model alone."""
    peak_memory_mb: float | None
    """Of a fresh process that runs this model alone, its imports included."""
    nodes: dict[str, int] = Field(default_factory=dict)
    """Execution provider to how many of the graph's nodes it ran."""
    text_p50_ms: float | None = None
    """From a text, or the bytes of an image's file, to its answer, one at a time, as the package's `run.py` gives it."""
    text_p90_ms: float | None = None
    text_p50_interval_ms: tuple[float, float] | None = None
    text_p90_interval_ms: tuple[float, float] | None = None
    sessions: int = 1
    """In parallel, for the next two."""
    throughput_per_s: float | None = None
    """Texts or images that went through the model in a second, of all sessions together."""
    throughput_interval_per_s: tuple[float, float] | None = None

"""Count what a server does, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Keep the counters of one server in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "edgeprune_requests", "Requests to /predict, by the status of their answer.", ["status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "edgeprune_request_duration_seconds",
            "Seconds from a request's headers to its answer.", buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._inputs = Counter("edgeprune_inputs", "Texts or images that the model was given.", registry=self._registry)
        self._batches = Histogram(
            "edgeprune_batch_size", "Inputs that one run of the model took.", buckets=_INPUTS, registry=self._registry
        )
        self._waiting = Gauge("edgeprune_queue_depth", "Requests that wait for the model.", registry=self._registry)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Ask `waiting` for the number of requests that wait, whenever somebody reads the metrics."""
        self._waiting.set_function(waiting)

    def answered(self, status: int, seconds: float) -> None:
        """Count a request to /predict."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def ran(self, inputs: int) -> None:
        """Count one run of the model."""
        self._inputs.inc(inputs)
        self._batches.observe(inputs)

    def text(self) -> bytes:
        """Write all of them in Prometheus' text format."""
        return generate_latest(self._registry)

"""Record a build in MLflow: a run for the build, and a nested run for each of its stages.

    tracker = Tracker()                       # before the build: is MLflow installed?
    tracker.record(report, {"pipeline": "structured"})

MLFLOW_TRACKING_URI says where runs are kept, and MLFLOW_EXPERIMENT_NAME in which experiment ("edgeprune" without it). The run of
the build has the options as parameters, all figures with the ends of their intervals as metrics, and as artifacts what lies beside the package:
its archive, build.json, the page, the card, the bill of materials and the provenance.
"""

import glob
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from edgeprune.base.errors import PlaceError
from edgeprune.base.extras import from_extra
from edgeprune.base.wording import cut, first_line
from edgeprune.report.headline import headline, shipped_metric
from edgeprune.report.records import BuildReport, StageRow

__all__ = ["Tracker", "figures"]

_EXPERIMENT = "edgeprune"
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""A silent server is given up after three tries of 20 s; MLflow's own defaults try for many minutes. Standard output is for the
build's document alone."""
_LONGEST = 500
"""MLflow refuses longer parameters."""
_FORBIDDEN = re.compile(r"[^\w\-. :/]", re.ASCII)
"""What MLflow takes in no name."""
_AT_ONCE = 500
"""Metrics of one request, of which MLflow takes 1,000."""


class Tracker:
    """Record builds.

    Raises:
        UsageError: MLflow is not installed.
    """

    def __init__(self) -> None:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._mlflow = from_extra("mlflow", "mlflow", "tracking a build")
        self._entities = from_extra("mlflow.entities", "mlflow", "tracking a build")

    def record(self, report: BuildReport, options: Mapping[str, JsonValue]) -> str:
        """Record a build.

        Args:
            report: The build's report. Its package lies where it was published.
            options: The options that the build was given.

        Returns:
            The id of the build's run.

        Raises:
            PlaceError: The place that MLFLOW_TRACKING_URI names can't be reached, or refuses.
        """
        try:
            return self._record(report, options)
        except Exception as error:  # MLflow's own, those of requests and of each kind of store
            where = os.environ.get("MLFLOW_TRACKING_URI", "MLflow's default place")
            raise PlaceError(
                f"the build is not in MLflow: {where} refuses or can't be reached ({cut(first_line(error), 200)}); set "
                f"MLFLOW_TRACKING_URI to a server, and start the same command again"
            ) from error

    def _record(self, report: BuildReport, options: Mapping[str, JsonValue]) -> str:
        client = self._mlflow.MlflowClient()
        experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT)
        name = f"{report.name} {report.release} for {report.target}"
        device = None if report.device is None else report.device.cpu
        tags = {
            "mlflow.note.content": headline(report),
            "verdict": report.verdict,
            "exit_code": str(report.exit_code),
            "package_sha256": report.package.sha256,
            **({} if device is None else {"device": device}),
        }
        run = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        facts = {"release": report.release, "target": report.target, "pipeline": report.pipeline, "task": report.task}
        self._log(client, run, figures(report), {**facts, **options})
        for row in report.stages:
            self._log_stage(client, experiment, run, row)
        package = Path(report.package.path)
        for path in sorted(glob.glob(f"{glob.escape(str(package))}.*")):  # noqa: PTH207 (the package's name is no pattern)
            client.log_artifact(run, path)
        client.set_terminated(run)
        return str(run)

    def _log_stage(self, client: Any, experiment: str, parent: str, row: StageRow) -> None:
        name = f"{row.stage} {row.round or '(dense)'}" if row.rung is None else f"{row.stage} {row.rung}"
        run = client.create_run(experiment, run_name=name, tags={"mlflow.parentRunId": parent}).info.run_id
        content = row.model_dump()
        facts = {one: content.pop(one) for one in ("stage", "round", "rung", "key", "cached")}
        self._log(
            client, run, dict(_numbers(content)), {one: value for one, value in facts.items() if value is not None}
        )
        client.set_terminated(run)

    def _log(self, client: Any, run: str, metrics: Mapping[str, float], parameters: Mapping[str, JsonValue]) -> None:
        now = int(1000 * time.time())
        made = [self._entities.Metric(_FORBIDDEN.sub("_", name), value, now, 0) for name, value in metrics.items()]
        given = [self._entities.Param(name, cut(_words(value), _LONGEST)) for name, value in parameters.items()]
        client.log_batch(run, params=given)
        for first in range(0, len(made), _AT_ONCE):
            client.log_batch(run, metrics=made[first : first + _AT_ONCE])


def figures(report: BuildReport) -> dict[str, float]:
    """Name the figures of a build: sizes, the metric, times of each graph, and budgets. Ends of intervals are figures too."""
    found: dict[str, float] = {"package_mb": report.package.size_bytes / 1e6}
    shipped = shipped_metric(report)
    if shipped is not None:
        found[shipped.name] = shipped.value
        found |= dict(_numbers(shipped.model_dump(include={"drop", "drop_interval", "others"})))
    for latency in report.latency:
        found |= dict(_numbers(latency.model_dump(exclude={"nodes"}), f"{latency.artifact}."))
    for row in report.budget:
        found |= dict(_numbers(row.model_dump(), f"budget.{row.name}."))
    return found


def _experiment(client: Any, name: str) -> str:
    """Find or make an experiment, which another build may make at the same moment."""
    for _ in range(2):
        if (found := client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name))
        except Exception:  # noqa: BLE001, S112 (it is there now, or the second try says what is wrong)
            continue
    return str(client.create_experiment(name))


def _numbers(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in content.items():
        where = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{where}.")
        elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            yield from ((f"{where}.{end}", float(one)) for end, one in zip(("low", "high"), value, strict=True))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield where, float(value)


def _words(value: JsonValue) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

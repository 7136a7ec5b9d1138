"""Builds in MLflow: a store of files, a server that is not there, and what the command line does with both."""

import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import PlaceError, UsageError
from edgeprune.report.records import PackageRow
from edgeprune.report.tracking import Tracker, figures
from edgeprune.store.records import Metric
from tests.support.e2e import Built
from tests.support.reports import budget, latency, report, stage

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The client of a store of files, which the variables name."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    Tracker()
    return mlflow.MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())


def of(client: Any, experiment: str = "edgeprune") -> list[Any]:
    """The runs of an experiment: the build's, then those of its stages in their order."""
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return sorted(
        found, key=lambda one: ("mlflow.parentRunId" in one.data.tags, one.info.start_time, one.info.run_name)
    )


def test_figures_have_the_ends_of_their_intervals() -> None:
    times = latency("final", 2.0, p50_interval_ms=(1.9, 2.2), nodes={"CPUExecutionProvider": 3})
    found = figures(report(latency=[times], budget=[budget("latency_p90_ms", "fail", 26.0)]))
    assert {name: found[name] for name in ("package_mb", "accuracy", "drop", "final.p50_ms")} == {
        "package_mb": 11.25, "accuracy": 0.895, "drop": 0.015, "final.p50_ms": 2.0
    }  # fmt: skip
    assert (found["drop_interval.low"], found["drop_interval.high"]) == pytest.approx((0.005, 0.025))
    assert (found["final.p50_interval_ms.low"], found["final.p50_interval_ms.high"]) == (1.9, 2.2)
    assert (found["budget.latency_p90_ms.limit"], found["budget.latency_p90_ms.value"]) == (25, 26)
    assert not any("nodes" in name for name in found)


def test_a_build_is_a_run_and_each_stage_a_run_in_it(runs: Any, tmp_path: Path) -> None:
    package = tmp_path / "dist" / "reviews[1]"
    package.mkdir(parents=True)
    for suffix in ("tar.gz", "build.json"):
        package.with_name(f"{package.name}.{suffix}").write_text(suffix, encoding="utf-8")
    metric = Metric(name="accuracy", value=0.9, samples=10, drop=0.01, others={"recall of <ü>|'": 0.75})
    row = PackageRow(path=str(package), archive=f"{package}.tar.gz", size_bytes=1, sha256="0" * 64)
    made = report(package=row, stages=[stage("prepare", 0, 0.91), stage("package", 1, metric=metric)])
    run_id = Tracker().record(made, {"seed": 3, "set": ["a=1", "b=2"], "name": "x" * 9000})
    build, *stages = of(runs)
    assert (build.info.run_id, build.info.run_name, build.info.status) == (
        run_id, "reviews 1.4.0 for cpu-x86-avx2", "FINISHED"
    )  # fmt: skip
    parameters = build.data.params
    assert (parameters["pipeline"], parameters["seed"], parameters["set"]) == ("structured", "3", "a=1, b=2")
    assert len(parameters["name"]) == 500
    assert build.data.metrics["others.recall of _____"] == 0.75
    assert (build.data.tags["verdict"], build.data.tags["device"]) == ("fail", "Some CPU")
    assert {one.path for one in runs.list_artifacts(run_id)} == {"reviews[1].tar.gz", "reviews[1].build.json"}
    assert {one.info.run_name for one in stages} == {"prepare (dense)", "package 1"}
    assert all(one.data.tags["mlflow.parentRunId"] == run_id for one in stages)
    (prepare,) = (one for one in stages if one.data.params["stage"] == "prepare")
    assert (prepare.data.params["cached"], prepare.data.params["key"]) == ("False", "ab" * 32)
    assert (prepare.data.metrics["duration_s"], prepare.data.metrics["metric.value"]) == (12.34, 0.91)


def test_the_experiment_may_be_named(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    for _ in range(2):
        Tracker().record(report(stages=[]), {})
    assert len(of(runs, "mine")) == 2


@pytest.mark.usefixtures("runs")
def test_a_server_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    with pytest.raises(PlaceError, match=f"the build is not in MLflow: {NOWHERE} refuses or can't be reached"):
        Tracker().record(report(), {})


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        UsageError, match=r"tracking a build needs mlflow; install it with: pip install 'edgeprune\[mlflow\]'"
    ):
        Tracker()


def test_the_command_line_tracks_and_loses_no_build(
    runs: Any, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = built.again("--track", "mlflow", "--json", output=tmp_path / "dist")
    build, *stages = of(runs)
    assert len(stages) == len(done.document["stages"])
    kept = [one.path for one in runs.list_artifacts(build.info.run_id)]
    for suffix in (".tar.gz", ".build.json", ".card.md", ".cdx.json", ".provenance.json"):
        assert f"{Path(done.document['package']['path']).name}{suffix}" in kept
    assert build.data.params["task"] == "text-classification"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    again = built.again("--track", "mlflow", "--json", output=tmp_path / "dist")
    assert (again.code, again.document["verdict"]) == (done.code, done.document["verdict"])
    assert f"warning: the build is not in MLflow: {NOWHERE}" in again.err

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import onnxruntime_extensions
import pytest
import torch
from safetensors.numpy import load_file

import edgeprune
from edgeprune.base.errors import UsageError
from edgeprune.base.events import Event, Note, Progress, StageFinished, StageStarted
from edgeprune.ondevice.agent import device_info
from edgeprune.store.files import file_digest, total_bytes
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store
from edgeprune.tasks.registry import COLUMNS
from tests.conftest import DataFactory, ModelFactory
from tests.support.e2e import STAGES, Built, call, read_events, starts, target_text, write_data, write_rows

DOCUMENT = {
    "schema_version", "name", "release", "target", "pipeline", "task", "verdict", "exit_code", "package", "stages",
    "emulation", "mobile", "page", "text_graph", "examples", "linear", "device", "variant", "session_calls", "race", "latency", "budget", "notes",
    "frontier", "layers", "hidden_size", "dense_hidden_size", "embedding_rank", "cascade", "parts", "changed",
}  # fmt: skip
STAGE_ROW = {
    "stage", "round", "rung", "key", "cached", "duration_s", "peak_memory_mb", "parameters", "size_bytes", "metric",
}  # fmt: skip
METRIC = {"name", "value", "samples", "drop", "drop_interval", "others"}
LATENCY_ROW = {
    "artifact", "provider", "threads", "batch_size", "lengths", "samples", "mean_ms", "mean_interval_ms", "p50_ms", "p90_ms", "p50_interval_ms",
    "p90_interval_ms", "p95_ms", "p95_interval_ms", "p99_ms", "p99_interval_ms", "processes", "converged", "cold_start_ms",
    "peak_memory_mb", "nodes", "text_p50_ms", "text_p90_ms", "text_p50_interval_ms", "text_p90_interval_ms", "sessions",
    "throughput_per_s", "throughput_interval_per_s", "download_mb", "download_gzip_mb",
}  # fmt: skip
NO_PRUNING = ["--set", "stages.prune=null", "--set", "stages.finetune=null"]


# The command line, once


def test_json_is_one_document_with_the_keys_of_its_schema(built: Built) -> None:
    report = built.report  # json.loads refuses anything beside one document
    assert set(report) == DOCUMENT
    assert report["schema_version"] == 1
    assert (report["name"], report["release"], report["target"]) == ("tiny-model", "1.4.0", "here")
    assert (report["pipeline"], report["task"]) == ("tiny", "text-classification")
    assert (report["verdict"], report["exit_code"], report["budget"]) == ("pass", 0, [])
    assert all(set(row) == STAGE_ROW for row in report["stages"])
    assert all(set(row["metric"]) == METRIC for row in report["stages"] if row["metric"])
    assert all(set(row) == LATENCY_ROW for row in report["latency"])


def test_build_json_beside_the_package_is_the_document(built: Built) -> None:
    beside = built.package.with_name(f"{built.package.name}.build.json")
    assert beside.read_text(encoding="utf-8") == built.stdout


def test_a_page_about_the_build_lies_beside_its_report(built: Built, tmp_path: Path) -> None:
    page = built.package.with_name(f"{built.package.name}.report.html")
    again = tmp_path / "again.html"
    assert call("report", page.with_name(f"{built.package.name}.build.json"), "--output", again).code == 0
    assert again.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), "the same, with the same samples"
    assert f"edgeprune verify {built.package}" in page.read_text(encoding="utf-8")


def test_every_stage_runs_once_and_in_its_order(built: Built) -> None:
    rows = built.report["stages"]
    assert [(row["stage"], row["round"]) for row in rows] == STAGES
    assert not any(row["cached"] for row in rows)
    assert starts(built.events) == [(row["stage"], row["round"], row["key"]) for row in rows]
    finished = [event for event in read_events(built.events) if event["event"] == "StageFinished"]
    assert [(event["stage"], event["round"]) for event in finished] == STAGES
    assert not any(event["cached"] for event in finished)


def test_an_offline_build_asks_for_no_host(built: Built) -> None:
    assert built.asked.read_text(encoding="utf-8") == ""


def test_the_report_says_what_each_stage_made(built: Built) -> None:
    rows = {(row["stage"], row["round"]): row for row in built.report["stages"]}
    dense, pruned = rows["prepare", 0], rows["prune", 1]
    assert pruned["parameters"] < dense["parameters"]
    assert {rows[place]["parameters"] for place in [*STAGES[1:3], STAGES[4], *STAGES[6:8]]} == {pruned["parameters"]}
    assert rows["quantize", 0]["parameters"] == dense["parameters"]
    assert pruned["size_bytes"] < dense["size_bytes"]
    assert rows["quantize", 1]["size_bytes"] < rows["export", 1]["size_bytes"] < rows["export", 0]["size_bytes"]
    for place, row in rows.items():
        assert row["duration_s"] > 0
        assert row["peak_memory_mb"] > 50
        if place[0] in ("export", "benchmark"):
            assert row["metric"] is None
            continue
        assert row["metric"]["name"] == "accuracy"
        assert row["metric"]["samples"] == 24  # 15% of 160
        if place == ("prepare", 0):
            assert row["metric"]["drop"] is None
        else:
            low, high = row["metric"]["drop_interval"]
            assert low <= row["metric"]["drop"] <= high
            assert row["metric"]["drop"] == pytest.approx(dense["metric"]["value"] - row["metric"]["value"])
    assert dense["metric"]["value"] > 0.8, "the head is trained first, and the sentences are easy"
    assert built.report["linear"] == {**dense["metric"], "value": 1.0, "others": {}}


def test_the_dense_graph_in_both_precisions_and_the_result_are_timed(built: Built) -> None:
    rows = built.report["latency"]
    assert [row["artifact"] for row in rows] == ["dense-fp32", "dense", "final"]
    for row in rows:
        assert row["samples"] == 64
        assert 0 < row["p50_ms"] <= row["p90_ms"]
        assert row["peak_memory_mb"] > 10
    samples = built.package.with_name(f"{built.package.name}.benchmark.jsonl").read_text(encoding="utf-8")
    kept = [record for record in map(json.loads, samples.splitlines()) if record["kind"] == "samples"]
    assert sorted((record["name"], len(record["ns"])) for record in kept) == [
        ("dense", 64), ("dense-fp32", 64), ("final", 64),
    ]  # fmt: skip


def test_the_document_names_the_package_on_disk(built: Built) -> None:
    row = built.report["package"]
    assert (Path(row["path"]), Path(row["archive"])) == (built.package, built.archive)
    assert row["sha256"] == file_digest(built.archive)
    assert row["size_bytes"] == total_bytes([built.package])


def test_standard_error_has_the_progress_and_no_library_noise(built: Built, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from edgeprune.cli.main import main; main()", *built.arguments, *NO_PRUNING, "--store",
         str(tmp_path / "store"), "--output", str(tmp_path / "dist")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = ["[1/5] prepare …", "[2/5] export …", "[3/5] quantize …", "[4/5] package …", "[5/5] benchmark …"]
    lines = done.stderr.splitlines()
    assert lines[0::2] == expected
    assert [line.rsplit(":", 1)[0] for line in lines[1::2]] == [line.removesuffix(" …") for line in expected]
    assert "TF-IDF + linear model" in done.stdout
    assert str(tmp_path / "dist" / built.package.name) in done.stdout
    # Without prune and finetune the dense graph is the one that is quantized: one export, all of round 0.
    report = json.loads((tmp_path / "dist" / f"{built.package.name}.build.json").read_text(encoding="utf-8"))
    assert [row["round"] for row in report["stages"]] == [0] * 5
    assert [row["artifact"] for row in report["latency"]] == ["dense-fp32", "final"]


# Again


def test_python_gives_the_same_and_a_second_build_is_cached_but_for_the_benchmark(built: Built, tmp_path: Path) -> None:
    events: list[Event] = []
    report = edgeprune.build(
        str(built.model), data=str(built.data), pipeline=str(built.pipeline), target=str(built.target), release="1.4.0",
        task="text-classification", store=built.store, output=tmp_path / "dist", emit=events.append,
    )  # fmt: skip
    first = built.report
    assert [row.key for row in report.stages] == [row["key"] for row in first["stages"]]
    assert [row.cached for row in report.stages] == [stage != "benchmark" for stage, _ in STAGES]
    assert report.package.sha256 == first["package"]["sha256"]
    assert (tmp_path / "dist" / built.archive.name).read_bytes() == built.archive.read_bytes()
    assert [event.stage for event in events if isinstance(event, StageStarted)] == ["benchmark"]
    assert [(event.stage, event.round) for event in events if isinstance(event, StageFinished)] == STAGES
    runs = list((built.store / "benchmark" / report.stages[-1].key).iterdir())
    assert len(runs) >= 2, "every build measures anew"


def test_a_build_replaces_the_package_it_wrote_before(built: Built, tmp_path: Path) -> None:
    (tmp_path / built.package.name).mkdir()
    (tmp_path / built.package.name / "SHA256SUMS").write_text("of an older build\n", encoding="utf-8")
    (tmp_path / built.package.name / "leftover").write_text("", encoding="utf-8")
    assert built.again("--target", _unreachable_target(tmp_path, "here"), output=tmp_path).code == 0
    assert sorted(path.name for path in (tmp_path / built.package.name).iterdir()) == sorted(
        path.name for path in built.package.iterdir()
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [".edgeprune.lock"]


def test_a_build_does_not_replace_what_it_did_not_write(built: Built, tmp_path: Path) -> None:
    (tmp_path / built.package.name).mkdir()
    (tmp_path / built.package.name / "thesis.txt").write_text("years of work", encoding="utf-8")
    done = built.again(output=tmp_path)
    assert done.code == 2
    assert len(done.complaints) == 1
    assert "is not a package that edgeprune wrote" in done.complaints[0]
    assert (tmp_path / built.package.name / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_killed_builds_temporary_folders_do_not_stop_the_next(built: Built, tmp_path: Path) -> None:
    # In a container every build has the same process id, so a killed one's temporary names are the next one's.
    assert built.again("--target", _unreachable_target(tmp_path, "here"), output=tmp_path).code == 0
    for kind in ("tmp", "old"):
        left = tmp_path / f".{built.package.name}.{os.getpid()}.{kind}"
        left.mkdir()
        (left / "half").write_text("", encoding="utf-8")
    assert built.again("--target", _unreachable_target(tmp_path, "here"), output=tmp_path).code == 0
    assert call("verify", tmp_path / built.package.name).code == 0


def test_plan_says_what_would_run_and_runs_nothing(built: Built, tmp_path: Path) -> None:
    store = tmp_path / "store"
    empty = call(*built.arguments, "--store", store, "--output", tmp_path / "dist", "--plan", "--json")
    assert empty.code == 0
    assert [(row["stage"], row["round"]) for row in empty.document["stages"]] == STAGES
    assert not any(row["in_store"] for row in empty.document["stages"])
    assert list(tmp_path.iterdir()) == []
    full = call(*built.arguments, "--store", built.store, "--plan", "--json").document
    assert [row["key"] for row in full["stages"]] == [row["key"] for row in built.report["stages"]]
    assert [row["in_store"] for row in full["stages"]] == [stage != "benchmark" for stage, _ in STAGES]
    assert full["not_measured"] is None
    shown = call(*built.arguments, "--store", built.store, "--plan").out
    assert shown.count("in the store") == len(STAGES) - 1
    assert shown.count("would run") == 1


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        (["--release", "2"], {"package"}),
        (["--name", "renamed"], {"package"}),
        (["--set", "target.name=elsewhere"], {"package"}),
        (["--set", "target.budget.size_mb=30"], set()),
        (["--set", "stages.benchmark.samples=80"], {"benchmark"}),
        (["--set", "target.workload.lengths=12"], {"benchmark"}),
        (["--set", "stages.package.goldens=3"], {"package"}),
        (["--set", "target.precision.reduce_range=true"], {"quantize", "package", "benchmark"}),
        (["--set", "stages.export.opset=21"], {"export", "quantize", "package", "benchmark"}),
        (
            ["--set", "stages.finetune.epochs=2"],
            {"finetune", "export-1", "quantize-1", "package", "benchmark"},
        ),
        (
            ["--set", "stages.prune.steps.0.keep_ffn=0.25"],
            {"prune", "finetune", "export-1", "quantize-1", "package", "benchmark"},
        ),
        (["--set", "seed=1"], {stage for stage, _ in STAGES}),
        (["--max-rows", "60"], {stage for stage, _ in STAGES}),
    ],
)
def test_a_flag_changes_only_the_keys_of_what_depends_on_it(built: Built, flags: list[str], changed: set[str]) -> None:
    rows = call(*built.arguments, "--store", built.store, "--plan", "--json", *flags).document["stages"]
    differing = {
        (row["stage"], row["round"])
        for row, before in zip(rows, built.report["stages"], strict=True)
        if row["key"] != before["key"]
    }
    assert differing == {
        (stage, number) for stage, number in STAGES if stage in changed or f"{stage}-{number}" in changed
    }


def test_name_release_and_output_name_the_package(built: Built, tmp_path: Path) -> None:
    done = built.again(
        "--name", "reviews", "--release", "2.0.1-rc1", "--target", _unreachable_target(tmp_path, "board"), "--json",
        output=tmp_path / "a" / "b",
    )  # fmt: skip
    assert done.code == 0
    assert done.document["package"]["path"] == str(tmp_path / "a" / "b" / "reviews-2.0.1-rc1-board")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [
        ".edgeprune.lock",
        "reviews-2.0.1-rc1-board",
        "reviews-2.0.1-rc1-board.build.json",
        "reviews-2.0.1-rc1-board.card.md",
        "reviews-2.0.1-rc1-board.cdx.json",
        "reviews-2.0.1-rc1-board.provenance.json",
        "reviews-2.0.1-rc1-board.tar.gz",
    ]
    assert {row["stage"]: row["cached"] for row in done.document["stages"]}["quantize"]
    described = json.loads((Path(done.document["package"]["path"]) / "edgeprune.json").read_text(encoding="utf-8"))
    assert (described["name"], described["release"], described["target"]) == ("reviews", "2.0.1-rc1", "board")


def test_the_store_may_come_from_the_environment(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_STORE", str(built.store))
    rows = call(*built.arguments, "--plan", "--json").document["stages"]
    assert sum(row["in_store"] for row in rows) == len(STAGES) - 1


# Rounds


def test_each_round_is_two_artifacts_and_ends_at_what_was_asked_for(built: Built, tmp_path: Path) -> None:
    done = built.again("--set", "rounds=2", "--json", output=tmp_path)
    assert done.code == 0, done.err
    rows = {(row["stage"], row["round"]): row for row in done.document["stages"]}
    assert list(rows) == [
        ("prepare", 0), ("prune", 1), ("finetune", 1), ("prune", 2), ("finetune", 2), ("export", 0), ("export", 2),
        ("quantize", 0), ("quantize", 2), ("package", 2), ("benchmark", 2),
    ]  # fmt: skip
    assert [place for place, row in rows.items() if row["cached"]] == [("prepare", 0), ("export", 0), ("quantize", 0)]
    kept = {}
    for number in (1, 2):
        folder = built.store / "finetune" / rows["finetune", number]["key"]
        record = json.loads((folder / "checkpoint" / "pruning.json").read_text(encoding="utf-8"))
        kept[number] = (
            sum(len(layer["heads"]) for layer in record["layers"]),
            sum(len(layer["neurons"]) for layer in record["layers"]),
        )
        assert rows["finetune", number]["parameters"] == rows["prune", number]["parameters"]
    assert kept == {1: (6, 192), 2: (4, 128)}, "of 8 heads and 256 neurons"
    assert rows["finetune", 2]["parameters"] < rows["finetune", 1]["parameters"] < rows["prepare", 0]["parameters"]
    lineage = json.loads((tmp_path / built.package.name / "lineage.json").read_text(encoding="utf-8"))
    assert [stage["id"] for stage in lineage["stages"]] == [
        "prepare", "prune-1", "finetune-1", "prune-2", "finetune-2", "export-2", "quantize-2",
    ]  # fmt: skip


# Tasks


def _run_package(package: Path, *texts: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, package / "run.py", *texts], capture_output=True, text=True, check=True, cwd=package.parent
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_checkpoint_with_its_own_head_is_not_trained_again(built: Built, tmp_path: Path) -> None:
    trained = built.artifact("prepare", 0)
    done = call(
        "build", trained.file("checkpoint"), "--data", built.data, "--pipeline", built.pipeline, "--target",
        _unreachable_target(tmp_path, "board"), "--store", tmp_path / "store", "--output", tmp_path / "dist", "--json",
        *NO_PRUNING,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["task"] == "text-classification"
    (key,) = (row["key"] for row in done.document["stages"] if row["stage"] == "prepare")
    prepared = Store.open(tmp_path / "store" / "prepare" / key)
    before, after = (load_file(one.file("checkpoint/model.safetensors")) for one in (trained, prepared))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        np.testing.assert_array_equal(after[name], tensor, err_msg=name)
    answer = _run_package(Path(done.document["package"]["path"]), "a lovely great superb film .")
    assert answer["label"] == "pos"
    assert set(answer["scores"]) == {"neg", "pos"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("kind", "flags", "metric", "least"),
    [
        ("multi", [], "micro_f1", 0.7),
        ("regression", ["--problem-type", "regression"], "spearman", 0.5),
    ],
)
def test_multi_label_and_regression(
    built: Built,
    tiny_model_folder: ModelFactory,
    tiny_data: DataFactory,
    tmp_path: Path,
    kind: str,
    flags: list[str],
    metric: str,
    least: float,
) -> None:
    done = call(
        "build", tiny_model_folder("distilbert", "Model"), "--task", "text-classification", "--data",
        tiny_data(kind=kind), "--pipeline", built.pipeline, "--target", built.target, "--store", tmp_path / "store",
        "--output", tmp_path / "dist", "--set", "stages.prepare.epochs=6", "--set", "stages.finetune.epochs=3",
        "--json", *flags,
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = {(row["stage"], row["round"]): row for row in done.document["stages"]}
    assert list(rows) == STAGES
    assert all(row["metric"]["name"] == metric for row in rows.values() if row["metric"])
    assert rows["prepare", 0]["metric"]["value"] > least
    package = Path(done.document["package"]["path"])
    assert call("verify", package).code == 0
    good, bad = (_run_package(package, text) for text in ("great superb lovely film .", "awful boring dull film ."))
    if kind == "multi":
        assert set(good["scores"]) == {"neg", "pos"}  # type: ignore[call-overload]
        assert good["scores"]["pos"] > bad["scores"]["pos"]  # type: ignore[index]
        assert good["labels"] == [label for label in ("neg", "pos") if good["scores"][label] > 0.5]  # type: ignore[index]
    else:
        assert set(good) == {"text", "value"}
        assert good["value"] > bad["value"]  # type: ignore[operator]


def test_two_texts_are_classified_together(built: Built, tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    """The label is in the second text, the first is always the same."""
    rows = [json.loads(line) for line in built.data.read_text(encoding="utf-8").splitlines()]
    pairs = [{"premise": "the film was", "hypothesis": row["text"], "label": row["label"]} for row in rows]
    done = call(
        "build", tiny_model_folder("distilbert", "Model"), "--task", "text-classification", "--data",
        write_rows(tmp_path / "pairs.jsonl", pairs), "--text-column", "premise", "--pair-column", "hypothesis",
        "--pipeline", built.pipeline, "--target", _unreachable_target(tmp_path, "board"), "--store", tmp_path / "store",
        "--output", tmp_path / "dist", "--json", *NO_PRUNING, "--set", "stages.prepare.epochs=6",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["linear"]["value"] > 0.9
    package = Path(done.document["package"]["path"])
    assert call("verify", package).code == 0
    answer = _run_package(package, "the film was", "a lovely great superb film .")
    assert answer["text"] == ["the film was", "a lovely great superb film ."]
    assert answer["label"] == "pos"
    assert "python run.py 'A text.' 'Another one.'" in (package / "README.md").read_text(encoding="utf-8")


def test_feature_extraction_needs_no_labels(built: Built, tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    texts = [json.loads(line)["text"] for line in built.data.read_text(encoding="utf-8").splitlines()]
    data = tmp_path / "texts.csv"
    data.write_text("text\n" + "".join(f'"{text}"\n' for text in texts), encoding="utf-8")
    done = call(
        "build", tiny_model_folder(head="Model"), "--data", data, "--pipeline", built.pipeline, "--target",
        built.target, "--store", tmp_path / "store", "--output", tmp_path / "dist", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = done.document
    assert report["task"] == "feature-extraction"
    assert report["linear"] is None
    rows = {(row["stage"], row["round"]): row for row in report["stages"]}
    assert list(rows) == STAGES
    assert rows["prepare", 0]["metric"]["name"] == "cosine_to_dense"
    assert rows["prepare", 0]["metric"]["value"] == pytest.approx(1)
    assert rows["prune", 1]["metric"]["value"] < 1
    assert rows["finetune", 1]["metric"]["value"] > rows["prune", 1]["metric"]["value"], "distillation recovers"
    package = Path(report["package"]["path"])
    assert call("verify", package).code == 0
    answer = _run_package(package, texts[0])
    assert np.asarray(answer["embedding"]).shape == (32,)


# Targets


def _unreachable_target(folder: Path, name: str, **changes: object) -> Path:
    """This machine's own instruction set, so that stages are shared, but no runner."""
    path = folder / f"unreachable-{name}.yaml"
    path.write_text(target_text(name, runner=None, **changes), encoding="utf-8")
    return path


def test_a_target_that_cannot_be_reached_is_packaged_and_its_latency_not_measured(built: Built, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    flags = ["--target", "raspberry-pi-4", "--set", "target.budget.metric_drop=1", "--json", "--events", events]
    done = built.again(*flags, output=tmp_path)
    assert done.code == 7
    report = done.document
    assert (report["exit_code"], report["verdict"], report["latency"]) == (7, "inconclusive", [])
    assert "benchmark" not in [row["stage"] for row in report["stages"]]
    verdicts = {row["name"]: (row["verdict"], row["value"] is None) for row in report["budget"]}
    assert verdicts == {
        "size_mb": ("pass", False), "metric_drop": ("pass", False), "latency_p90_ms": ("not_measured", True),
    }  # fmt: skip
    assert done.complaints == ["edgeprune: latency_p90_ms was not measured; the budget of raspberry-pi-4 is 40 ms"]
    (note,) = (event["message"] for event in read_events(events) if event["event"] == "Note")
    command = shlex.split(note.partition("on the device: ")[2])
    assert command[:3] == ["edgeprune", "build", str(built.model)]
    planned = call(*command[1:], "--plan", "--json")
    assert planned.code == 0, "the command that would measure it"
    assert "this machine is not a raspberry-pi-4" in planned.document["not_measured"]
    package = Path(report["package"]["path"])
    assert json.loads((package / "edgeprune.json").read_text(encoding="utf-8"))["session"]["threads"] == 4
    assert call("verify", package).code == 0
    assert not package.with_name(f"{package.name}.benchmark.jsonl").exists()


def test_a_board_gets_its_model_in_ort_format_too(built: Built, tmp_path: Path) -> None:
    flags = ["--target", "raspberry-pi-5", "--set", "target.budget.metric_drop=1"]
    done = built.again(*flags, "--json", output=tmp_path)
    assert done.code == 7, done.err
    mobile = done.document["mobile"]
    package, model = Path(done.document["package"]["path"]), Path(mobile["path"])
    assert model == package.with_name(f"{package.name}.ort")
    assert (mobile["sha256"], mobile["size_bytes"]) == (file_digest(model), model.stat().st_size)
    assert mobile["max_error"] == 0
    sessions = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (package / "onnx/model.onnx", model)
    ]
    ids = np.array([[1, 7, 9, 2]])
    feed = {value.name: ids if value.name == "input_ids" else ids * 0 + 1 for value in sessions[0].get_inputs()}
    np.testing.assert_array_equal(*(session.run(None, feed)[0] for session in sessions))
    operators = Path(mobile["operators"]).read_text(encoding="utf-8")
    assert all(len(line.split(";")) == 3 for line in operators.splitlines())
    assert "ai.onnx;17;LayerNormalization" in operators
    assert str(tmp_path).encode() not in model.read_bytes()
    assert str(model) in built.again(*flags, output=tmp_path).out
    # Another build of the name that has none takes the old one away.
    plain = built.again(*flags, "--set", "target.ort_format=false", "--json", output=tmp_path)
    assert plain.document["mobile"] is None
    assert not model.exists()
    assert not Path(mobile["operators"]).exists()


def test_a_text_goes_into_one_file_and_a_label_comes_out(built: Built, tmp_path: Path) -> None:
    flags = ["--set", "stages.package.tokenizer=graph"]
    done = built.again(*flags, "--json", output=tmp_path)
    assert done.code == 0, done.err
    row = done.document["text_graph"]
    package, path = Path(done.document["package"]["path"]), Path(row["path"])
    assert path == package.with_name(f"{package.name}.text.onnx")
    assert (row["sha256"], row["size_bytes"]) == (file_digest(path), path.stat().st_size)
    assert row["max_error"] < 1e-6
    assert row["texts"] > 20
    assert done.document["package"] == built.report["package"] | {
        "path": str(package),
        "archive": f"{package}.tar.gz",
    }, "the package is what it is without"
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = edgeprune.load_onnx(package)
    texts = [
        "a very GOOD film .",
        "the plot was bad, bad, BAD",
        "Unheard-of 漢字 😀",
        "good " * 100,
        "[SEP] dull\0",
        "superb",
    ]
    for text, answer in zip(texts, model(texts), strict=True):
        label, scores, _ = session.run(None, {"text": np.array([text], dtype=object)})
        assert label.tolist() == [answer["label"]]
        np.testing.assert_allclose(scores[0], list(answer["scores"].values()), atol=1e-4)
    assert {answer["label"] for answer in model(texts)} == {"neg", "pos"}
    assert str(path) in built.again(*flags, output=tmp_path).out
    # Another build of the name that has none takes the old one away.
    assert built.again("--json", output=tmp_path).document["text_graph"] is None
    assert not path.exists()


def test_examples_lie_beside_the_package(built: Built, tmp_path: Path) -> None:
    flags = ["--set", "stages.package.examples=[js]"]
    done = built.again(*flags, "--json", output=tmp_path)
    assert done.code == 0, done.err
    (row,) = done.document["examples"]
    package = Path(done.document["package"]["path"])
    folder = package.with_name(f"{package.name}.examples")
    assert (row["language"], row["path"]) == ("js", str(folder / "js"))
    assert done.document["package"]["sha256"] == built.report["package"]["sha256"], "the package is what it is without"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "README.md", "SHA256SUMS", "js/README.md", "js/answer.mjs", "js/package.json",
    }  # fmt: skip
    assert f"../../{package.name} --check" in (folder / "js" / "README.md").read_text(encoding="utf-8")
    assert f"| [JavaScript (Node)](js/README.md) | {row['checked']} |" in (folder / "README.md").read_text("utf-8")
    assert row["path"] in built.again(*flags, output=tmp_path).out
    program = folder / "js" / "answer.mjs"
    content = program.read_bytes()
    program.write_bytes(content + b"\n// mine\n")
    done = built.again(*flags, output=tmp_path)
    assert (done.code, done.complaints) == (
        2, [f"edgeprune: {program} was changed since edgeprune wrote it; move its folder, or choose another --output"],
    )  # fmt: skip
    program.write_bytes(content)
    (folder / "js" / "node_modules").mkdir()  # as npm does
    # Another build of the name that has none takes the old ones away.
    assert built.again("--json", output=tmp_path).document["examples"] == []
    assert not folder.exists()
    folder.mkdir()
    (folder / "mine").touch()
    done = built.again(*flags, output=tmp_path)
    assert done.code == 2
    assert done.complaints == [
        f"edgeprune: {folder} exists and is not a folder of examples that edgeprune wrote; move it, or choose another --output"
    ]


def test_without_a_latency_budget_not_being_measured_is_no_fault(built: Built, tmp_path: Path) -> None:
    done = built.again("--target", _unreachable_target(tmp_path, "board"), "--json", output=tmp_path)
    assert (done.code, done.complaints) == (0, [])
    assert done.document["verdict"] == "pass"


def test_another_machines_profile_is_not_measured_on_this_one(built: Built, tmp_path: Path) -> None:
    other = "x86_64" if json.loads(json.dumps(_arch())) != "x86_64" else "aarch64"
    path = tmp_path / "other.yaml"
    path.write_text(target_text("other", device={"arch": other, "isa": []}), encoding="utf-8")
    done = built.again("--target", path, "--json", "--set", "target.budget.latency_p50_ms=10000", output=tmp_path)
    assert done.code == 7
    assert done.document["latency"] == []
    plan = built.again("--target", path, "--plan", "--json", output=tmp_path).document
    assert f"needs {other}" in plan["not_measured"]


def _arch() -> str:
    from edgeprune.ondevice.agent import device_info

    return str(device_info()["arch"])


def test_an_arm_board_with_the_same_settings_shares_the_int8_model(built: Built, tmp_path: Path) -> None:
    keys = {}
    for name in ("raspberry-pi-4", "raspberry-pi-5", "android-arm64"):
        rows = built.again("--target", name, "--plan", "--json", output=tmp_path).document["stages"]
        keys[name] = {row["stage"]: row["key"] for row in rows}
    assert len({keys[name]["quantize"] for name in keys}) == 1
    assert len({keys[name]["package"] for name in keys}) == 3


def test_an_fp16_profile_of_the_users_own(built: Built, tmp_path: Path) -> None:
    path = tmp_path / "half.yaml"
    path.write_text(target_text("half", precision={"mode": "fp16"}), encoding="utf-8")
    done = built.again("--target", path, "--json", output=tmp_path)
    assert done.code == 0, done.err
    rows = {(row["stage"], row["round"]): row for row in done.document["stages"]}
    assert [place for place, row in rows.items() if not row["cached"]] == STAGES[5:]
    assert rows["quantize", 1]["size_bytes"] < 0.75 * rows["export", 1]["size_bytes"]
    quantized = Store.open(built.store / "quantize" / rows["quantize", 1]["key"])
    assert quantized.manifest.metrics.scores["same_answers_as_fp32"] == 1
    assert 0 < quantized.manifest.metrics.scores["max_error_to_fp32"] < 2e-2
    assert [row["artifact"] for row in done.document["latency"]] == ["dense-fp32", "dense", "final"]
    assert call("verify", done.document["package"]["path"]).code == 0


def test_a_provider_that_is_not_there_is_exit_6(built: Built, tmp_path: Path) -> None:
    path = tmp_path / "cuda.yaml"
    path.write_text(
        target_text("cuda", precision={"mode": "fp32"}, runtime={"provider": "CUDAExecutionProvider", "threads": 1}),
        encoding="utf-8",
    )
    done = built.again("--target", path, "--json", output=tmp_path)
    assert done.code == 6
    assert done.document["exit_code"] == 6
    assert len(done.complaints) == 1
    assert "CUDAExecutionProvider" in done.complaints[0]
    assert "Traceback" not in done.err


# Budgets


@pytest.mark.parametrize(
    ("budget", "code", "verdicts"),
    [
        ({"size_mb": 0.001}, 3, {"size_mb": "fail"}),
        ({"metric_drop": -1}, 4, {"metric_drop": "fail"}),
        ({"metric_drop": 1, "size_mb": 1}, 0, {"metric_drop": "pass", "size_mb": "pass"}),
        ({"metric_drop": -1, "size_mb": 0.001}, 4, {"metric_drop": "fail", "size_mb": "fail"}),
        ({"size_mb": 0.001, "latency_p90_ms": 1}, 3, {"size_mb": "fail", "latency_p90_ms": "not_measured"}),
        (
            {"metric_drop": -1, "size_mb": 0.001, "peak_memory_mb": 1},
            4,
            {"metric_drop": "fail", "size_mb": "fail", "peak_memory_mb": "not_measured"},
        ),
    ],
)
def test_a_missed_budget(
    built: Built, tmp_path: Path, budget: dict[str, float], code: int, verdicts: dict[str, str]
) -> None:
    flags = [flag for name, limit in budget.items() for flag in ("--set", f"target.budget.{name}={limit}")]
    done = built.again("--target", _unreachable_target(tmp_path, "board"), *flags, "--json", output=tmp_path)
    assert done.code == code
    assert done.document["exit_code"] == code
    assert {row["name"]: row["verdict"] for row in done.document["budget"]} == verdicts
    assert done.document["verdict"] == ("fail" if "fail" in verdicts.values() else "pass")
    missed = [name for name, verdict in verdicts.items() if verdict != "pass"]
    assert len(done.complaints) == len(missed), "a sentence for each"
    for name, complaint in zip(
        missed, sorted(done.complaints, key=lambda one: missed.index(one.split()[1])), strict=True
    ):
        assert complaint.split()[1] == name
    assert call("verify", done.document["package"]["path"]).code == 0, "the package is there all the same"


def test_missed_latency_and_memory_budgets_are_measured_ones(built: Built, tmp_path: Path) -> None:
    done = built.again(
        "--set", "target.budget.latency_p90_ms=0.000001", "--set", "target.budget.peak_memory_mb=1", "--json",
        "--set", "stages.benchmark={processes: 7, samples: 16, warmup: 1}", output=tmp_path,
    )  # fmt: skip
    assert done.code == 3
    rows = {row["name"]: row for row in done.document["budget"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {"latency_p90_ms": "fail", "peak_memory_mb": "fail"}
    assert rows["latency_p90_ms"]["value"] == done.document["latency"][-1]["p90_ms"]
    assert rows["peak_memory_mb"]["value"] == done.document["latency"][-1]["peak_memory_mb"]


def test_the_package_is_timed_from_text_to_answer_and_with_sessions_in_parallel(built: Built, tmp_path: Path) -> None:
    done = built.again(
        "--set", "target.budget.latency_text_p90_ms=0.000001", "--set", "target.workload.sessions=2", "--json",
        "--set", "stages.benchmark={processes: 7, samples: 16, warmup: 1}", output=tmp_path,
    )  # fmt: skip
    assert done.code == 3, done.err
    *dense, final = done.document["latency"]
    assert final["text_p90_ms"] > final["text_p50_ms"] > 0
    assert all(row["text_p50_ms"] is None for row in dense), "they have no package"
    (row,) = (row for row in done.document["budget"] if row["name"] == "latency_text_p90_ms")
    assert (row["value"], row["verdict"]) == (final["text_p90_ms"], "fail")
    for row in done.document["latency"]:
        low, high = row["throughput_interval_per_s"]
        assert (row["sessions"], 0 < low <= row["throughput_per_s"] <= high) == (2, True)
        assert list(row["nodes"]) == ["CPUExecutionProvider"]
    names = {path.name for path in Path(done.document["package"]["path"]).iterdir()}
    assert "__pycache__" not in names


# compare


def test_compare_shares_the_stages_that_do_not_depend_on_the_target(built: Built, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    board = _unreachable_target(tmp_path, "board", precision={"mode": "fp32"})
    done = call(
        "compare", *built.arguments[1:6], *built.arguments[6:9], "--targets", f"{board},raspberry-pi-5", "--store",
        tmp_path / "store", "--output", tmp_path / "dist", "--set", "target.budget.metric_drop=1", "--events", events,
        "--json", "--set", "target.ort_format=false", *NO_PRUNING,
    )  # fmt: skip
    assert done.code == 7, done.err
    first, second = done.document
    assert (first["target"], second["target"]) == ("board", "raspberry-pi-5")
    assert set(first) == set(second) == DOCUMENT
    assert (first["exit_code"], second["exit_code"]) == (0, 7)
    keys = [{row["stage"]: row["key"] for row in report["stages"]} for report in (first, second)]
    assert keys[0].keys() == keys[1].keys()
    assert {stage for stage in keys[0] if keys[0][stage] == keys[1][stage]} == {"prepare", "export"}
    assert [stage for stage, _, _ in starts(events)] == [
        "prepare", "export", "quantize", "package", "quantize", "package",
    ]  # fmt: skip

    files = [tmp_path / "dist" / f"{report['name']}-0-{report['target']}.build.json" for report in (first, second)]
    read = call("compare", *files, "--json")
    assert read.code == 7
    assert read.document == [first, second]
    shown = call("compare", *files)
    assert "board" in shown.out
    assert "raspberry-pi-5" in shown.out
    assert "not measured" in shown.out


def test_compare_takes_a_model_and_files_together(built: Built, tmp_path: Path) -> None:
    beside = built.package.with_name(f"{built.package.name}.build.json")
    done = call(
        "compare", *built.arguments[1:9], "--release", "1.4.0", "--targets", _unreachable_target(tmp_path, "board"),
        "--store", built.store, "--output", tmp_path / "dist", beside, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [report["target"] for report in done.document] == ["here", "board"]


@pytest.mark.parametrize("precision", ["int8-dynamic", "fp32"])
def test_weights_beside_a_graph_go_all_the_way_into_the_package(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """As those of a model above 2 GB do."""
    monkeypatch.setattr("edgeprune.graph.serialization._LIMIT_BYTES", 1000)
    done = call(
        *built.arguments, "--store", tmp_path / "store", "--output", tmp_path / "dist", *NO_PRUNING, "--json",
        "--set", f"target.precision.mode={precision}", "--set", "stages.prepare.epochs=1",
    )  # fmt: skip
    assert done.code == 0, done.err
    package = Path(done.document["package"]["path"])
    (export,) = (row for row in done.document["stages"] if row["stage"] == "export")
    assert (tmp_path / "store" / "export" / export["key"] / "model.onnx.data").is_file()
    assert (package / "onnx/model.onnx_data").is_file()
    checked = subprocess.run(
        [sys.executable, package / "run.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.stdout == "goldens: ok\n", checked.stderr
    assert call("verify", done.document["package"]["archive"]).code == 0
    assert call("benchmark", package, "--processes", 1, "--samples", 16).code == 0


# inspect and load


def test_inspect_shows_dense_beside_pruned(built: Built) -> None:
    model = call("inspect", built.model, "--json", "--tokens", "16").document
    assert model["pruned"] is False
    assert model["total"]["parameters"] == model["total"]["dense_parameters"]
    assert model["total"]["parameters"] == sum(row["parameters"] for row in model["parts"])
    artifact = call("inspect", built.artifact("finetune").path, "--json", "--tokens", "16").document
    rows = {(row["stage"], row["round"]): row for row in built.report["stages"]}
    assert artifact["pruned"] is True
    assert artifact["architecture"] == "BertForSequenceClassification"
    assert artifact["total"]["parameters"] == rows["finetune", 1]["parameters"]
    assert artifact["total"]["dense_parameters"] == rows["prepare", 0]["parameters"]
    assert artifact["total"]["multiply_adds"] < artifact["total"]["dense_multiply_adds"]
    assert sum(row["heads"] or 0 for row in artifact["parts"]) == 4
    assert sum(row["neurons"] or 0 for row in artifact["parts"]) == 128
    package = call("inspect", built.package, "--store", built.store, "--json", "--tokens", "16").document
    assert {**package, "model": None} == {**artifact, "model": None}
    for stage in ("export", "quantize", "benchmark"):
        folder = (
            built.artifact(stage).path
            if stage != "benchmark"
            else next((built.store / "benchmark" / built.report["stages"][-1]["key"]).glob("[!.]*"))
        )
        found = call("inspect", folder, "--json", "--tokens", "16")
        assert found.code == 0, (stage, found.err)
        assert found.document["total"] == artifact["total"], stage
    assert "of 4 heads" in call("inspect", built.artifact("prune").path).out


@pytest.mark.parametrize(("stage", "number"), [("prepare", 0), ("prune", 1), ("finetune", 1)])
def test_a_loaded_artifact_is_an_ordinary_model_with_the_stages_outputs(built: Built, stage: str, number: int) -> None:
    import torch
    from transformers import PreTrainedModel

    from edgeprune.data.source import DataSource
    from edgeprune.data.table import DataSpec
    from edgeprune.tasks.prepared import open_prepared

    artifact = built.artifact(stage, number)
    model = edgeprune.load(artifact.path)
    assert isinstance(model, PreTrainedModel)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    prepared = open_prepared(
        built.artifact("prepare", 0),
        DataSource(DataSpec(train=str(built.data)), columns=COLUMNS["text-classification"], offline=True),
    )
    with torch.inference_mode():
        outputs = [
            model(**{name: torch.tensor([values]) for name, values in encoding.items()}).logits[0].numpy()
            for encoding in prepared.test.inputs
        ]
    np.testing.assert_allclose(np.stack(outputs), load_file(artifact.file("outputs.safetensors"))["test"], atol=1e-5)


@pytest.mark.parametrize("stage", ["export", "quantize"])
def test_a_graph_is_not_loaded_as_a_checkpoint(built: Built, stage: str) -> None:
    from edgeprune.base.errors import ModelError

    with pytest.raises(ModelError, match="holds an ONNX graph, not a checkpoint; load the folder"):
        edgeprune.load(built.artifact(stage).path)


# The store


def test_store_list_and_size(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    listed = call("store", "list", "--store", store, "--json").document
    found = {(one["stage"], one["key"]) for one in listed}
    assert {(row["stage"], row["key"]) for row in built.report["stages"]} <= found
    size = call("store", "size", "--store", store, "--json").document
    assert size["size_bytes"] == sum(size["stages"].values()) == total_bytes([store])
    assert {"prepare", "prune", "finetune", "export", "quantize", "package", "benchmark"} <= set(size["stages"])
    shown = call("store", "list", "--store", store).out
    assert all(row["key"][:12] in shown for row in built.report["stages"])


def test_store_gc_deletes_what_killed_builds_left_and_nothing_else(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)

    def files() -> list[Path]:
        return sorted(path for path in store.rglob("*") if path.is_file() and path.suffix != ".lock")

    before = files()
    key = "0" * 64
    run = store / "benchmark" / built.report["stages"][-1]["key"] / ".tmp-20200101T000000-1"
    left = [store / "export" / f".tmp-{key}", store / "prepare" / f".old-{key}", store / "partial" / key, run]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"1234567890")
    dry = call("store", "gc", "--store", store, "--dry-run", "--json").document
    assert sorted(dry["removed"]) == sorted(map(str, left))
    assert (dry["size_bytes"], dry["dry_run"]) == (40, True)
    assert all(folder.is_dir() for folder in left)
    assert call("store", "gc", "--store", store).code == 0
    assert files() == before
    assert not any(folder.exists() for folder in left)
    assert list((store / "partial").iterdir()) == []


def test_store_gc_leaves_a_running_builds_folders_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = "1" * 64
    with store.lock("finetune", key, lambda: None):
        draft = store.draft("finetune", key)
        partial = store.partial(key)
        partial.mkdir(parents=True)
        assert call("store", "gc", "--store", tmp_path, "--json").document["removed"] == []
    assert set(call("store", "gc", "--store", tmp_path, "--json").document["removed"]) == {str(draft), str(partial)}


def test_store_gc_by_age(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    artifacts = list(Store(store).artifacts())
    old = [one for one in artifacts if one.manifest.stage in ("export", "benchmark")]
    for artifact in artifacts:
        days = 40 if artifact in old else 20
        stamp = (artifact.path / "manifest.json").stat().st_mtime - days * 86_400
        os.utime(artifact.path / "manifest.json", (stamp, stamp))
    removed = call("store", "gc", "--store", store, "--older-than", "30", "--json").document["removed"]
    assert sorted(removed) == sorted(str(one.path) for one in old)
    left = {one.path for one in Store(store).artifacts()}
    assert left == {one.path for one in artifacts if one not in old}


def test_a_damaged_artifact_is_made_again(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    quantized = _in(store, built.artifact("quantize"))
    path = quantized.file("model.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    events: list[Event] = []
    edgeprune.build(
        str(built.model), data=str(built.data), pipeline=str(built.pipeline), release="1.4.0",
        target=str(_unreachable_target(tmp_path, "here")), task="text-classification", store=store,
        output=tmp_path / "dist", emit=events.append,
    )  # fmt: skip
    assert [event.stage for event in events if isinstance(event, StageStarted)] == ["quantize"]
    assert any(isinstance(event, Note) and "is damaged" in event.message for event in events)
    assert file_digest(path) == file_digest(built.artifact("quantize").file("model.onnx"))
    assert (tmp_path / "dist" / built.archive.name).read_bytes() == built.archive.read_bytes()


def _in(store: Path, artifact: Artifact) -> Artifact:
    return Store.open(store / artifact.manifest.stage / artifact.key)


def test_given_splits_and_columns(built: Built, tmp_path: Path) -> None:
    def table(name: str, rows: int, seed: int, separator: str) -> Path:
        path = write_data(tmp_path / "rows.jsonl", rows, seed=seed)
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [separator.join((str(number), one["text"], one["label"])) for number, one in enumerate(records)]
        result = tmp_path / name
        result.write_text("\n".join([separator.join(("id", "what", "verdict")), *lines]) + "\n", encoding="utf-8")
        return result

    flags = [
        "--data", table("train.csv", 90, 0, ","), "--selection-data", table("selection.tsv", 20, 1, "\t"),
        "--test-data", table("test.csv", 30, 2, ","),
    ]  # fmt: skip
    common = [
        "build", built.model, "--task", "text-classification", "--pipeline", built.pipeline, "--target",
        _unreachable_target(tmp_path, "board"), "--store", tmp_path / "store", "--output", tmp_path / "dist", "--json",
        *NO_PRUNING, *flags,
    ]  # fmt: skip
    unnamed = call(*common)
    assert unnamed.code == 2
    assert "name it with --text-column" in unnamed.complaints[0]
    done = call(*common, "--text-column", "what", "--label-column", "verdict")
    assert done.code == 0, done.err
    metric = done.document["stages"][0]["metric"]
    assert metric["samples"] == 30
    assert metric["value"] > 0.8
    (prepared,) = (one for one in Store(tmp_path / "store").artifacts() if one.manifest.stage == "prepare")
    splits = json.loads(prepared.file("splits.json").read_text(encoding="utf-8"))
    assert {name: (source, len(rows)) for name, (source, rows) in splits.items()} == {
        "train": ("train", 90), "selection": ("selection", 20), "test": ("test", 30),
    }  # fmt: skip
    shutil.rmtree(tmp_path / "store")


def test_a_workload_longer_than_the_pipelines_texts_is_refused_before_anything_runs(
    built: Built, tmp_path: Path
) -> None:
    done = built.again("--set", "target.workload.lengths=17", "--json", output=tmp_path)
    assert done.code == 2
    assert "times texts of 17 tokens (workload.lengths), but the pipeline cuts every text to 16" in done.complaints[0]


def test_a_provider_that_is_not_there_is_said_before_anything_runs(built: Built, tmp_path: Path) -> None:
    target = tmp_path / "gpu.yaml"
    runtime = {"provider": "CUDAExecutionProvider", "threads": 1}
    target.write_text(target_text("gpu", runtime=runtime, precision={"mode": "fp16"}), encoding="utf-8")
    store = tmp_path / "store"
    done = call(*built.arguments, "--target", target, "--store", store, "--output", tmp_path / "dist")
    assert done.code == 6
    assert "gpu needs CUDAExecutionProvider, but onnxruntime" in done.complaints[0]
    assert not store.exists()


def test_whoever_listens_may_print(built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = built.copied_store(tmp_path)
    shutil.rmtree(store / "finetune")
    edgeprune.build(
        str(built.model), data=str(built.data), task="text-classification", pipeline=str(built.pipeline),
        target=str(built.target), store=store, output=tmp_path / "dist", emit=print,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "StageStarted(stage='finetune'" in printed
    assert "Progress(stage='finetune'" in printed, "from inside a stage too"


def test_python_refuses_what_the_command_line_refuses(built: Built, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--problem-type 'multi_label' is not one of single_label_classification"):
        edgeprune.build(
            str(built.model), data=str(built.data), target=str(built.target), pipeline=str(built.pipeline),
            task="text-classification", problem_type="multi_label", store=tmp_path / "store",
        )  # fmt: skip


def test_the_device_that_was_timed_is_named(built: Built) -> None:
    device = device_info()
    found = dict(built.report["device"])
    conditions = [found.pop(moment) for moment in ("before", "after")]
    assert found == {**device, "onnxruntime": onnxruntime.__version__, "clock_ns": None}  # of a page alone
    for one in conditions:
        assert one["affinity"] == sorted(os.sched_getaffinity(0))
        # A fact is there, or a reason why it isn't; no quota and no reason is no limit.
        assert all(
            (one[name] is None) == (name in one["reasons"]) for name in one if name not in ("reasons", "quota_cores")
        )


def test_every_stage_computes_with_the_machines_threads_and_leaves_the_callers(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    shutil.rmtree(store / "finetune")
    seen: set[int] = set()

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "finetune":
            seen.add(torch.get_num_threads())

    before, other = torch.get_num_threads(), device_info()["cores"] + 1
    torch.set_num_threads(other)
    try:
        edgeprune.build(
            str(built.model), data=str(built.data), task="text-classification", pipeline=str(built.pipeline),
            target=str(built.target), store=store, output=tmp_path / "dist", emit=listen,
        )  # fmt: skip
        assert torch.get_num_threads() == other
    finally:
        torch.set_num_threads(before)
    assert seen == {device_info()["cores"]}


def test_only_what_a_killed_build_made_ready_is_removed(built: Built, tmp_path: Path) -> None:
    others = tmp_path / f".{built.package.name}-too.new"
    ours = tmp_path / ".edgeprune-ready-left"
    for folder in (others, ours):
        folder.mkdir()
    stale = tmp_path / f"{built.package.name}.benchmark.jsonl"
    assert built.again("--json", output=tmp_path).code == 0
    assert (others.exists(), ours.exists(), stale.exists()) == (True, False, True)
    unmeasured = built.again("--set", "target.runner=null", "--json", output=tmp_path)
    assert unmeasured.code == 0, unmeasured.err
    assert not stale.exists(), "samples of another build"


def test_a_label_that_is_found_too_seldom_fails_the_build(built: Built, tmp_path: Path) -> None:
    recalls = built.report["stages"][0]["metric"]["others"]
    assert set(recalls) == {"recall of neg", "recall of pos"}
    done = built.again("--set", "target.budget.min_recall={pos: 1.0, neg: 0.0}", "--json", output=tmp_path)
    rows = {row["name"]: row["verdict"] for row in done.document["budget"]}
    final = next(
        row["metric"]["others"]["recall of pos"] for row in done.document["stages"] if row["stage"] == "package"
    )
    assert rows["min_recall.neg"] == "pass"
    assert (rows["min_recall.pos"], done.code) == (("pass", 0) if final == 1 else ("fail", 4))


def test_a_floor_of_a_label_that_is_not_there_is_said_before_anything_is_pruned(built: Built, tmp_path: Path) -> None:
    done = built.again("--set", "target.budget.min_recall={good: 0.9}", output=tmp_path)
    assert done.code == 2
    assert "min_recall of 'good', which isn't measured here; labels of the test rows are neg, pos" in done.err


def test_a_build_is_gated_by_the_package_before(built: Built, tmp_path: Path) -> None:
    flags = ["--set", "stages.benchmark={processes: 7, samples: 16, warmup: 1}", "--json"]
    done = built.again("--baseline", built.package, "--max-regression", "90%", *flags, output=tmp_path)
    (row,) = (row for row in done.document["budget"] if row["name"] == "regression")
    assert row["limit"] == pytest.approx(1.9)
    assert row["value"] == pytest.approx(1, abs=0.5)
    assert row["interval"][0] <= row["value"] <= row["interval"][1]
    assert row["verdict"] in ("pass", "inconclusive")
    unmeasured = built.again("--baseline", built.package, "--set", "target.runner=null", "--json", output=tmp_path)
    assert unmeasured.code == 7
    (row,) = (row for row in unmeasured.document["budget"] if row["name"] == "regression")
    assert row["verdict"] == "not_measured"
    nothing = built.again("--baseline", tmp_path / "nowhere", output=tmp_path)
    assert nothing.code == 2
    assert f"there is no folder or file {tmp_path / 'nowhere'}" in nothing.complaints[0]

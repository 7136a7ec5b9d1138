"""Searches by the command line, on a tiny model: what is shipped, what is shared, and what is refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeprune.models.checkpoint import load_any, save_checkpoint
from edgeprune.models.factored import factor_embedding
from edgeprune.models.record import PruningRecord
from edgeprune.models.text_reader import load_text_reader
from edgeprune.models.width import keep_hidden
from edgeprune.profiles.search import SearchConfig
from edgeprune.search.costs import Costs
from tests.conftest import ModelFactory
from tests.support.e2e import Ran, call, read_events, refused_untrained, starts, target_text, write_data, write_rows
from tests.support.watching import watched

PIPELINE = """\
schema_version: 1
name: tiny-fit
description: A search with two steps
objective: latency
stages:
  prepare: {epochs: 4, learning_rate: 5.0e-3, batch_size: 8, max_length: 16}
  search: {steps: [1.1, 1.3], refine: 0, samples: 32, align: 8}
  finetune: {epochs: 1, learning_rate: 5.0e-3, batch_size: 16}
  race: null
  benchmark: {processes: 1, samples: 64, warmup: 2}
"""


@dataclass(frozen=True)
class Search:
    """A folder in which the command line searched."""

    root: Path
    ran: Ran
    read: dict[str, set[str]]
    """Which fields of the profiles were asked for, by class."""

    @property
    def report(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ran.out)
        return document

    @property
    def frontier(self) -> dict[str, Any]:
        found: dict[str, Any] = self.report["frontier"]
        return found


def arguments(root: Path) -> list[object]:
    return [
        "build", root / "tiny-model", "--task", "text-classification", "--data", root / "rows.jsonl", "--pipeline", root / "fit.yaml",
        "--target", root / "here.yaml", "--store", root / "store", "--output", root / "dist", "--no-report",
    ]  # fmt: skip


def prepared_folder(root: Path, model: Path, *, budget: dict[str, float]) -> Path:
    (root / "tiny-model").symlink_to(model)
    write_data(root / "rows.jsonl")
    (root / "fit.yaml").write_text(PIPELINE, encoding="utf-8")
    (root / "here.yaml").write_text(target_text("here", budget=budget), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: ModelFactory) -> Search:
    root = prepared_folder(tmp_path_factory.mktemp("fit"), tiny_model_folder(head="Model"), budget={"metric_drop": 0.9})
    with pytest.MonkeyPatch.context() as patch:
        read = watched(patch)
        done = call(*arguments(root), "--events", root / "events.jsonl", "--json")
    assert done.code == 0, done.err
    return Search(root, done, read)


def test_a_search_ships_the_fastest_rung_that_keeps_the_budget(searched: Search):
    frontier = searched.frontier
    assert [rung["name"] for rung in frontier["rungs"]] == ["dense", "1.1x", "1.3x"]
    assert all(rung["keeps"] for rung in frontier["rungs"])
    # Each rung took turns with the dense model, so that a machine that slows down meanwhile changes nothing.
    fastest = min(frontier["rungs"], key=lambda rung: rung["p50_ms"] / rung["dense_p50_ms"])
    assert frontier["shipped"] == fastest["name"]
    assert (frontier["objective"], frontier["unit"], frontier["decided_by"]) == ("latency", "ms", "objective")
    assert frontier["reason"].startswith(f"{fastest['name']} is the fastest model that keeps the metric's budget")


def test_every_key_of_a_search_is_read(searched: Search):
    assert set(SearchConfig.model_fields) <= searched.read["SearchConfig"]


def test_each_rung_is_smaller_than_the_one_before_and_predicted(searched: Search):
    rungs = searched.frontier["rungs"]
    dense, first, second = rungs
    assert dense["predicted_p50_ms"] is None  # its measured time scales the table
    assert first["predicted_p50_ms"] <= first["dense_p50_ms"] / first["speedup"]
    slower_than_told = first["p50_ms"] / first["predicted_p50_ms"]
    assert second["predicted_p50_ms"] <= second["dense_p50_ms"] / second["speedup"] * slower_than_told + 1e-9
    assert rungs[0]["parameters"] > rungs[1]["parameters"] > rungs[2]["parameters"]


def test_every_rung_has_a_line_while_it_runs(searched: Search):
    events = read_events(searched.root / "events.jsonl")
    rungs = [event for event in events if event["event"] == "RungFinished"]
    assert [event["rung"] for event in rungs] == ["dense", "1.1x", "1.3x"]
    assert [event["rungs_left"] for event in rungs] == [2, 1, 0]
    assert "1.1x: " in searched.ran.err
    assert "; the search is decided" in searched.ran.err


def test_nothing_is_timed_or_judged_on_test_before_the_choice(searched: Search):
    manifests = [
        json.loads(path.read_text("utf-8")) for path in (searched.root / "store").glob("quantize/*/manifest.json")
    ]
    selection = searched.frontier["samples"]
    judged = [one["metrics"]["metric"]["samples"] for one in manifests]
    assert judged.count(selection) == 3  # the rungs; what is shipped, and the dense model beside it, are judged on test
    assert len(judged) == 5


def test_the_table_is_measured_before_anything_is_trained(searched: Search):
    stages = [stage for stage, _, _ in starts(searched.root / "events.jsonl")]
    assert stages.index("table") < stages.index("prepare")


def test_the_package_names_the_search_in_its_lineage(searched: Search):
    package = searched.root / "dist" / "tiny-model-0-here"
    lineage = json.loads((package / "lineage.json").read_text("utf-8"))
    text = json.dumps(lineage)
    shipped = next(rung for rung in searched.frontier["rungs"] if rung["name"] == searched.frontier["shipped"])
    assert shipped["checkpoint"] in text
    assert call("verify", package).code == 0


def test_another_rung_is_shipped_from_the_store_without_training(searched: Search, tmp_path: Path):
    log = tmp_path / "events.jsonl"
    done = call(*arguments(searched.root), "--at", "1.1x", "--output", tmp_path, "--events", log, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    names = {rung["name"] for rung in document["frontier"]["rungs"]}
    assert document["frontier"]["decided_by"] == "asked"
    assert document["frontier"]["shipped"] in names
    made = {stage for stage, _, _ in starts(log)}
    assert not made & {"table", "prepare", "losses", "shrink", "finetune", "rung"}


def test_targets_that_differ_in_budget_alone_share_their_rungs(searched: Search, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text(target_text("here", budget={"metric_drop": 0.8, "size_mb": 500}), encoding="utf-8")
    log = tmp_path / "events.jsonl"
    done = call(*arguments(searched.root), "--target", other, "--output", tmp_path, "--events", log)
    assert done.code == 0, done.err
    assert not {stage for stage, _, _ in starts(log)} & {"table", "prepare", "losses", "shrink", "finetune", "rung"}


def test_the_result_is_shown_with_what_other_rungs_cost(searched: Search, tmp_path: Path):
    done = call(*arguments(searched.root), "--output", tmp_path)
    assert "searched by latency, judged on" in done.out
    assert f"{searched.frontier['shipped']} *" in done.out
    assert searched.frontier["reason"] in done.out


@pytest.fixture
def folder(tmp_path: Path, tiny_model_folder: ModelFactory) -> Path:
    return prepared_folder(tmp_path, tiny_model_folder(head="Model"), budget={})


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "objective is latency, for which here needs budget.metric_drop, the most that the metric may lose"),
        (["--set", "objective=size"], "objective is size, for which here needs budget.metric_drop"),
        (
            ["--set", "objective=metric"],
            "objective is metric, for which here needs a budget that a smaller model keeps",
        ),
        (
            ["--set", "objective=metric", "--set", "target.budget.latency_p90_ms=3", "--set", "target.runner=null"],
            "the target can't be measured from here",
        ),
        (["--set", "stages.search.steps=[2, 1.5]"], "steps should increase, but are 2, 1.5"),
        (["--set", "stages.search.steps=[0.5]"], "stages.search.steps.0"),
        (
            ["--set", "stages.search.keep_hidden=[0.5]"],
            "keep_hidden should be 1 and then fractions that decrease, but is 0.5",
        ),
        (["--set", "stages.search.keep_hidden=[1, 0.5, 0.75]"], "but is 1, 0.5, 0.75; give each fraction once"),
        (["--set", "stages.search=null"], "objective is latency, but there is no search"),
        (["--set", "stages.finetune=null"], "finetune is null"),
        (["--set", "rounds=2"], "a search has rungs in place of rounds"),
        (["--at", "6"], "--at is 6; give milliseconds such as 6ms"),
        (["--at", "6ms", "--at-drop", "1%"], "give one of them"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(folder: Path, flags: list[str], sentence: str):
    done = call(*arguments(folder), *flags)
    refused_untrained(done, folder)
    assert sentence in done.err


def test_a_rung_of_a_pipeline_without_a_search_cannot_be_asked_for(folder: Path):
    done = call(*arguments(folder), "--pipeline", "structured", "--at", "8x")
    assert "--at chooses among the models of a search" in refused_untrained(done, folder)


def test_a_model_whose_layers_share_their_weights_is_refused(folder: Path, tiny_model_folder: ModelFactory):
    (folder / "tiny-model").unlink()
    (folder / "tiny-model").symlink_to(tiny_model_folder("albert"))
    done = call(*arguments(folder), "--set", "target.budget.metric_drop=0.1")
    assert "share their weights; use a pipeline without a search, such as structured" in refused_untrained(done, folder)


def test_a_budget_that_no_model_reaches_is_refused_with_the_least(folder: Path):
    done = call(*arguments(folder), "--set", "target.budget={metric_drop: 0.1, latency_p50_ms: 0.001}")
    assert done.code == 3
    assert "budget.latency_p50_ms of 0.001 ms can't be reached: the least that this model can take here is" in done.err
    assert not list((folder / "store").glob("prepare/*"))


def test_a_selection_split_of_one_label_tells_no_models_apart(folder: Path):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]
    same = [row for row in rows if row["label"] == rows[0]["label"]]
    write_rows(folder / "selection.jsonl", same)
    done = call(
        *arguments(folder), "--set", "target.budget.metric_drop=0.1", "--set", "target.runner=null", "--selection-data",
        folder / "selection.jsonl",
    )  # fmt: skip
    assert done.code == 2
    assert f"all of its {len(same)} rows have the label {same[0]['label']!r}" in done.err


def test_without_a_runner_multiply_adds_stand_in_and_bytes_and_sizes_are_searched_by(folder: Path):
    here = [*arguments(folder), "--set", "target.runner=null", "--json"]

    def searched(*flags: str) -> tuple[Ran, dict[str, Any]]:
        done = call(*here, *(word for flag in flags for word in ("--set", flag)))
        return done, json.loads(done.out)["frontier"]

    done, counted = searched("target.budget.metric_drop=0.9", "stages.search.steps=[1.3]")
    assert done.code == 0, done.err
    assert (counted["unit"], counted["shipped"]) == ("multiply-adds", "1.3x")
    assert [rung["p50_ms"] for rung in counted["rungs"]] == [None, None]
    assert "multiply-adds stand in for times" in done.err

    _, smaller = searched("target.budget.metric_drop=0.9", "stages.search.steps=[1.5]", "objective=size")
    assert (smaller["unit"], smaller["shipped"]) == ("bytes", "1.5x")
    dense, small = smaller["rungs"]
    assert small["size_mb"] < dense["size_mb"]
    assert small["parameters"] < dense["parameters"]

    limit_mb = (dense["size_mb"] + counted["rungs"][1]["size_mb"]) / 2
    done, kept = searched(f"target.budget.size_mb={limit_mb}", "stages.search.steps=[1.3]", "objective=metric")
    assert done.code == 0, done.err
    assert (kept["shipped"], [rung["keeps"] for rung in kept["rungs"]]) == ("1.3x", [False, True])


def test_a_rung_is_narrowed_where_this_loses_less(folder: Path):
    done = call(
        *arguments(folder), "--set", "target.budget.metric_drop=0.9", "--set", "target.runner=null",
        "--set", "stages.search.steps=[1.1, 6]", "--set", "stages.search.keep_hidden=[1, 0.5]", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads(done.out)
    sizes = [rung["hidden_size"] for rung in report["frontier"]["rungs"]]
    assert (sizes[0], sizes[-1]) == (32, 16)
    assert sizes == sorted(sizes, reverse=True), "a rung is never wider than the one before it"
    assert (report["frontier"]["shipped"], report["hidden_size"], report["dense_hidden_size"]) == ("6x", 16, 32)
    assert ", hidden size 16 of 32" in done.err


def test_a_rung_that_no_sizes_can_be_ends_the_search_and_the_others_stay(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Costs, "least", property(lambda _: 0.0))
    done = call(
        *arguments(folder), "--set", "target.budget.metric_drop=0.9", "--set", "target.runner=null",
        "--set", "stages.search.steps=[1.3, 100000]", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["frontier"]["shipped"] == "1.3x"
    assert "the search ends before 100000x: a budget of" in done.err


def test_a_model_whose_hidden_size_and_embedding_were_pruned_is_searched(folder: Path, tiny_model_folder: ModelFactory):
    dense = tiny_model_folder()
    (folder / "tiny-model").unlink()
    model = load_any(dense)
    model.config.id2label, model.config.label2id = {0: "neg", 1: "pos"}, {"neg": 0, "pos": 1}
    record = PruningRecord.dense(model, "0" * 64).model_copy(update={"hidden": tuple(range(0, 32, 2))})
    keep_hidden(model, range(0, 32, 2))
    factor_embedding(model, 8)
    record = record.model_copy(update={"embedding_rank": 8})
    save_checkpoint(model, folder / "tiny-model", record=record, reader=load_text_reader(dense, 16))
    done = call(
        *arguments(folder), "--set", "target.budget.metric_drop=0.9", "--set", "target.runner=null",
        "--set", "stages.search.steps=[1.3]", "--set", "stages.prune.steps=[{method: factor_embeddings, rank: 4}]", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["frontier"]["shipped"], report["embedding_rank"]) == ("1.3x", 4)
    assert (report["hidden_size"], report["dense_hidden_size"]) == (16, 16)

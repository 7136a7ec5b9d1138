"""A build with a cascade: what it ships, what it tells, what enters its key, and where it has none."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.cascade.records import CascadeRow, PromiseRow
from edgeprune.cascade.training import Lesson, train_bag
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.checkpoint import load_any, load_tokenizer
from edgeprune.pipeline.cascade_budget import encoder_budget, promise_than_dense
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import read_request
from edgeprune.pipeline.stages.answers import Answers
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.cascade import DENSE_ANSWERS, Cascade, answered_early, read_cascade
from edgeprune.profiles.pipeline import CascadeConfig
from edgeprune.profiles.shipped import load_pipeline
from edgeprune.profiles.target import Budget
from edgeprune.pruning.vocabulary import shrink_tokenizer
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store
from edgeprune.tasks.prepared import read_tables
from edgeprune.tasks.registry import COLUMNS
from tests.conftest import ModelFactory
from tests.support.e2e import Built, call, target_text, work_of, write_data, write_rows

CONFIG = "stages.cascade={drop: 0.3, pair_bits: 8}"
STRICT = PromiseRow(limit=0.005, confidence=0.95)


@pytest.fixture(scope="module")
def shipped(built: Built, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The package's folder and the report of a build whose first stage is allowed to lose a lot."""
    output = tmp_path_factory.mktemp("cascade")
    done = built.again("--set", CONFIG, "--json", output=output)
    assert done.code == 0, done.err
    return output / built.package.name, done.document


def cascade(config: CascadeConfig, **changes: Any) -> Cascade:
    usual = {"than_encoder": STRICT, "than_dense": None, "threads": 1, "unlabelled_digest": None, "round_number": 1}
    return Cascade(config, **(usual | changes))


def given(built: Built, folder: Path, unlabelled: DataSource | None = None) -> Work:
    """What a cascade is given: the dense model, its answers, and an encoder."""
    work = replace(work_of(built, folder, dense=("prepare", 0), model=("quantize", 1)), unlabelled=unlabelled)
    answers = folder / "answers"
    answers.mkdir()
    Answers(of_dense=True, unlabelled_digest=None).run(replace(work, folder=answers))
    return replace(work, parents={**work.parents, DENSE_ANSWERS: Artifact(answers, work.parents["dense"].manifest)})


def cascade_of(built: Built, report: dict[str, Any]) -> Artifact:
    (key,) = (row["key"] for row in report["stages"] if row["stage"] == "cascade")
    return Store.open(built.store / "cascade" / key)


def test_the_report_tells_what_is_answered_early_and_times_the_encoder_beside_it(
    built: Built, shipped: tuple[Path, dict[str, Any]]
) -> None:
    _, report = shipped
    row = CascadeRow.model_validate(report["cascade"])
    artifact = cascade_of(built, report)
    assert row == read_cascade(artifact)
    assert row.than_encoder.limit == 0.3
    assert row.than_dense is None
    assert row.selection.lost <= 0.3
    assert len(answered_early(artifact)) == round(row.test.answered * row.test.rows) > 0
    assert [one["artifact"] for one in report["latency"]] == ["dense-fp32", "dense", "encoder", "final"]
    assert all(one["mean_ms"] > 0 for one in report["latency"])
    assert any(note.startswith("a first stage answers ") for note in report["notes"])
    encoder = built.artifact("quantize").manifest.metrics.metric
    final = next(one["metric"] for one in report["stages"] if one["stage"] == "package")
    assert encoder is not None
    assert encoder.value - final["value"] == pytest.approx(row.test.lost)


def test_the_package_answers_and_verifies(built: Built, shipped: tuple[Path, dict[str, Any]]) -> None:
    package, _ = shipped
    assert call("verify", package).code == 0
    assert "cascade" in {step["stage"] for step in json.loads((package / "lineage.json").read_text())["stages"]}
    assert "a first stage answers" in (package / "README.md").read_text(encoding="utf-8")
    early = set(answered_early(cascade_of(built, shipped[1])))
    goldens = json.loads((package / "goldens.json").read_text(encoding="utf-8"))["goldens"]
    contents = read_tables(built.artifact("prepare", 0), work_of(built, package).data, ("test",))["test"].contents
    rows = [contents.index(golden["text"]) for golden in goldens]
    assert len(set(rows)) == 8
    assert 0 < len(early & set(rows)) < 8


def test_too_few_rows_ship_the_encoder_alone_and_say_so(built: Built, tmp_path: Path) -> None:
    metrics = cascade(CascadeConfig(pair_bits=8))(given(built, tmp_path))
    (note,) = metrics.notes
    assert note.startswith("the encoder answers every text: 14 selection rows show of no threshold")
    assert metrics.metric == built.artifact("quantize").manifest.metrics.metric
    assert (tmp_path / "model.onnx").read_bytes() == built.artifact("quantize").file("model.onnx").read_bytes()
    found = CascadeRow.model_validate_json((tmp_path / "cascade.json").read_bytes())
    assert found.threshold is None
    assert found.test.answered == 0


def test_the_key_holds_what_decides_and_nothing_else() -> None:
    def key(config: CascadeConfig, **changes: Any) -> str:
        return cascade(config, **changes).key({"dense": "a", "model": "b", DENSE_ANSWERS: "c"}, seed=0)

    usual = CascadeConfig()
    in_promises = {"share": 0.1, "drop": 0.2, "confidence": 0.9}
    assert key(usual) == key(usual.model_copy(update=in_promises))
    others = [
        key(usual, than_encoder=PromiseRow(limit=0.01, confidence=0.95)), key(usual, than_dense=STRICT),
        key(usual, unlabelled_digest="c"), key(usual, threads=2), key(usual.model_copy(update={"pair_bits": 9})),
    ]  # fmt: skip
    assert len({key(usual), *others}) == 6


def planned(folder: Path, model: Path, *overrides: str, task: str = "text-classification", **target: Any) -> Any:
    (folder / "here.yaml").write_text(target_text("here", **target), encoding="utf-8")
    options = BuildOptions(
        str(model), data=str(write_data(folder / "rows.jsonl")), pipeline="structured", target=str(folder / "here.yaml"),
        task=task, store=folder / "store", output=folder / "dist", offline=True, set_=overrides,
    )  # fmt: skip
    return make_plan(read_request(options))


@pytest.mark.parametrize(
    ("task", "target", "why"),
    [
        ("feature-extraction", {}, "a first stage answers text-classification alone"),
        ("text-classification", {"workload": {"batch_size": 4}}, "one text at a time, and here asks for batches of 4"),
        ("text-classification", {"budget": {"metric_drop": 0.0}}, "here lets the metric lose nothing"),
    ],
)
def test_where_a_first_stage_would_answer_nothing_there_is_none_and_a_note_says_why(
    tiny_model_folder: ModelFactory, tmp_path: Path, task: str, target: dict[str, Any], why: str
) -> None:
    model = tiny_model_folder(head="Model")
    plain = planned(tmp_path, model, task=task, **target)
    asked = planned(tmp_path, model, "stages.cascade={pair_bits: 8}", task=task, **target)
    assert [node.key for node in asked.nodes] == [node.key for node in plain.nodes]
    (note,) = [one for one in asked.notes if one.startswith("stages.cascade is not read: ")]
    assert why in note


def test_the_encoder_has_the_rest_of_the_budget(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    model, budget = tiny_model_folder(head="Model"), {"budget": {"metric_drop": 0.01}}
    plan = planned(tmp_path, model, "stages.cascade={share: 0.25, drop: 0.1}", **budget)
    stages = {node.id: node.stage for node in plan.nodes}
    assert stages["cascade-1"].fingerprint()["than_encoder"] == {"limit": pytest.approx(0.0025), "confidence": 0.95}
    assert stages["cascade-1"].fingerprint()["than_dense"] is None
    assert stages["quantize-1"].fingerprint()["drop_limit"] == pytest.approx(0.0075)
    assert [note for note in plan.notes if "stages.cascade" in note] == [
        "stages.cascade.drop is not read: here sets budget.metric_drop, of which stages.cascade.share is taken"
    ]


def test_in_a_search_the_encoder_has_the_whole_budget_and_both_stages_keep_it_together() -> None:
    budget = Budget(metric_drop=0.01)
    search = load_pipeline("fit", ["stages.search.confidence=0.7"])
    assert encoder_budget(search, budget) == budget
    assert promise_than_dense(search, budget) == PromiseRow(limit=0.01, confidence=0.7)
    assert promise_than_dense(search, Budget()) is None
    assert promise_than_dense(load_pipeline("smallest"), budget) is None


def test_what_the_dense_model_loses_to_the_cascade_counts_where_it_is_promised(built: Built, tmp_path: Path) -> None:
    loose = PromiseRow(limit=0.4, confidence=0.6)
    answered = []
    for number, strict in enumerate((None, STRICT)):
        folder = tmp_path / str(number)
        folder.mkdir()
        cascade(CascadeConfig(pair_bits=8), than_encoder=loose, than_dense=strict)(given(built, folder))
        answered.append(CascadeRow.model_validate_json((folder / "cascade.json").read_bytes()).threshold is not None)
    assert answered == [True, False]


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[Lesson]:
    """What first stages have learned from."""
    found: list[Lesson] = []

    def trained(lesson: Lesson, **kwargs: Any) -> Any:
        found.append(lesson)
        return train_bag(lesson, **kwargs)

    monkeypatch.setattr("edgeprune.cascade.training.train_bag", trained)
    return found


def test_rows_without_labels_are_learned_from(built: Built, tmp_path: Path, taught: list[Lesson]) -> None:
    seen = json.loads(built.data.read_text(encoding="utf-8").splitlines()[0])["text"]
    rows = write_rows(
        tmp_path / "more.jsonl", [{"text": "good warm plot ."}, {"text": "bad slow plot ."}, {"text": seen}]
    )
    columns = replace(COLUMNS["text-classification"], label=())
    more = DataSource(DataSpec(train=str(rows)), columns=columns, offline=True, splits=("train",))
    loose = PromiseRow(limit=0.3, confidence=0.95)
    work = given(built, tmp_path, more)
    metrics = cascade(CascadeConfig(pair_bits=8), than_encoder=loose, unlabelled_digest="more")(work)
    (lesson,) = taught
    train = read_tables(built.artifact("prepare", 0), work.data, ("train",))["train"].contents
    assert len(lesson.texts) == len(lesson.teacher) == len(train) + 2
    assert "1 of 3 unlabelled texts are among the rows with labels" in metrics.notes[0]


def test_a_pruned_vocabulary_has_the_embeddings_of_its_own_tokens(
    built: Built, tmp_path: Path, taught: list[Lesson]
) -> None:
    work = given(built, tmp_path)
    model = work.parents["model"]
    folder = Path(shutil.copytree(model.path, tmp_path / "model"))
    whole = load_tokenizer(folder / "reader")
    left = [token for name, token in sorted(whole.get_vocab().items(), key=lambda one: one[1]) if name != "film"]
    shrink_tokenizer(whole, left).save_pretrained(folder / "reader")
    pruned = replace(work, parents={**work.parents, "model": Artifact(folder, model.manifest)})
    cascade(CascadeConfig(pair_bits=8))(pruned)
    (lesson,) = taught
    dense = load_any(work.parents["dense"].file("checkpoint")).get_input_embeddings().weight.detach().numpy()
    assert len(left) < len(dense)
    np.testing.assert_array_equal(lesson.embedding, dense[left])


def test_labels_that_turn_out_to_be_several_leave_the_encoder_as_it_is(built: Built, tmp_path: Path) -> None:
    work = given(built, tmp_path)
    dense = tmp_path / "dense"
    dense.mkdir()
    spec = json.loads(work.parents["dense"].file("task.json").read_text(encoding="utf-8"))
    (dense / "task.json").write_text(
        json.dumps(spec | {"problem_type": "multi_label_classification"}), encoding="utf-8"
    )
    parents = {**work.parents, "dense": replace(work.parents["dense"], path=dense)}
    (tmp_path / "made").mkdir()
    metrics = cascade(CascadeConfig())(replace(work, parents=parents, folder=tmp_path / "made"))
    assert metrics.notes == (
        "stages.cascade had no effect: a first stage answers one label for each text, but this is a multi_label_classification",
    )
    assert json.loads((tmp_path / "made/cascade.json").read_text()) is None


def test_other_forms_of_the_graph_answer_as_the_cascade_does(built: Built, tmp_path: Path) -> None:
    """The stages that write them compare their outputs with the cascade's, on rows that reach both branches."""
    done = built.again(
        "--set", CONFIG, "--set", "stages.package.tokenizer=graph", "--set", "target.ort_format=true", "--set",
        "target.runner=null", "--json", output=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    report = done.document
    assert report["text_graph"]["texts"] > 20
    assert report["text_graph"]["max_error"] < 1e-5
    assert report["mobile"]["max_error"] < 1e-5
    assert 0 < report["cascade"]["test"]["answered"] < 1
    assert report["latency"] == []

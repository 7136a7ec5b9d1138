"""edgeprune/pipeline/checks.py: models that can't be searched, hidden sizes that can't be pruned, rows that nothing could learn from."""

import json
import re
import shutil
from pathlib import Path

import pytest
from pydantic import JsonValue

from edgeprune.base.errors import DataError, UsageError
from edgeprune.pipeline.nodes import Node
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import Plan, make_plan
from edgeprune.pipeline.request import read_request
from edgeprune.tasks.registry import TaskName
from tests.conftest import MODEL_TYPES, DataFactory, ModelFactory
from tests.support.e2e import task_rows, write_rows

SPARSE = {
    "schema_version": 1, "base_digest": "d", "head_dim": 8, "sparse": True,
    "layers": [{"index": index, "heads": list(range(4)), "neurons": list(range(128))} for index in range(2)],
}  # fmt: skip


def plan(
    folder: Path, data: Path, *overrides: str, task: TaskName = "text-classification", pipeline: str = "fit"
) -> Plan:
    options = BuildOptions(
        model=str(folder), data=str(data), task=task, pipeline=pipeline,
        set_=["stages.prepare.max_length=16", "target.budget.metric_drop=0.1", *overrides],
    )  # fmt: skip
    return make_plan(read_request(options))


def test_layers_that_share_their_weights_can_not_differ(tiny_model_folder: ModelFactory, tiny_data: DataFactory):
    with pytest.raises(
        UsageError, match=r"stages\.search gives every layer its own size, but the layers of this model share"
    ):
        plan(tiny_model_folder("albert"), tiny_data())


def test_zeros_that_must_stay_would_be_filled(tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_model_folder(), tmp_path / "sparse"))
    (folder / "pruning.json").write_text(json.dumps(SPARSE), encoding="utf-8")
    with pytest.raises(UsageError, match="would fill the zeros of this sparse model"):
        plan(folder, tiny_data())


@pytest.mark.parametrize(
    "step", ["{method: magnitude, sparsity: 0.5}", "{method: gradient, sparsity: 0.5}", "{method: n_m}"]
)
def test_a_step_that_sets_weights_to_zero_does_not_go_with_a_search(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, step: str
):
    steps = f"stages.prune.steps=[{{method: vocabulary}}, {step}]"
    with pytest.raises(
        UsageError, match=r"stages\.prune\.steps\.1 sets single weights to zero, which stages\.search would"
    ):
        plan(tiny_model_folder(), tiny_data(), steps)


def build_plan(folder: Path, data: Path, unlabelled: Path, *overrides: str, task: str = "text-classification") -> Plan:
    options = BuildOptions(
        model=str(folder), data=str(data), task=task, unlabelled=str(unlabelled),
        set_=["stages.prepare.max_length=16", *overrides],
    )  # fmt: skip
    return make_plan(read_request(options))


def test_rows_without_labels_change_what_is_learned_after_the_dense_model(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path
):
    folder, keys = tiny_model_folder(), list[dict[str, str | None]]()
    for number, text in enumerate(("one text", "one text", "another text")):
        # A label that the model doesn't have is not read.
        rows = write_rows(tmp_path / f"{number}.jsonl", [{"text": text, "label": "unheard of"}])
        keys.append({node.id: node.key for node in build_plan(folder, tiny_data(), rows).nodes})
    first, same, other = keys
    assert first == same
    changed = {name for name in first if first[name] != other[name]}
    assert "finetune-1" in changed
    assert not changed & {"prepare", "prune-1"}


def test_a_vocabulary_is_counted_on_rows_without_labels_too(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path
):
    keys = set()
    for text in ("one text", "another text"):
        rows = write_rows(tmp_path / "rows.jsonl", [{"text": text}])
        found = build_plan(tiny_model_folder(), tiny_data(), rows, "stages.prune.steps=[{method: vocabulary}]")
        keys.add(next(node.key for node in found.nodes if node.id == "prune-1"))
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("stages.finetune=null", "the pipeline structured has none; leave --unlabelled out"),
        (
            "stages.finetune.distill={logits: 0, hidden: 0}",
            "needs the dense model's answers, but stages.finetune.distill",
        ),
    ],
)
def test_rows_without_labels_need_a_teacher(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, override: str, complaint: str
):
    with pytest.raises(UsageError, match=re.escape(complaint)):
        build_plan(tiny_model_folder(), tiny_data(), tiny_data(), override)


def test_labels_by_word_say_what_is_read(tiny_model_folder: ModelFactory, tmp_path: Path):
    words = write_rows(tmp_path / "words.jsonl", task_rows("token-classification"))
    with pytest.raises(
        UsageError, match="the labels of token-classification say which of the model's outputs are read"
    ):
        build_plan(tiny_model_folder(), words, words, task="token-classification")


def test_rows_without_labels_are_read_before_anything_is_trained(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path
):
    rows = write_rows(tmp_path / "rows.jsonl", [{"words": "a"}, {"words": "b"}])
    with pytest.raises(DataError, match=r"rows\.jsonl has the columns words: none called 'text' or the like"):
        build_plan(tiny_model_folder(), tiny_data(), rows)


NARROW = "stages.prune.steps=[{method: structured, keep_hidden: 0.5}]"


def test_a_search_does_not_prune_the_hidden_size(tiny_model_folder: ModelFactory, tiny_data: DataFactory):
    with pytest.raises(
        UsageError, match=r"but the search itself .*; set stages\.search\.keep_hidden to \[1, 0\.5\] instead"
    ):
        plan(tiny_model_folder(), tiny_data(), NARROW)


def test_answers_that_are_the_hidden_states_keep_their_size(tiny_model_folder: ModelFactory, tiny_data: DataFactory):
    model, data = tiny_model_folder(head="Model"), tiny_data()
    with pytest.raises(
        UsageError, match=r"keep_hidden is 0\.5, but the answers of feature-extraction are the hidden states"
    ):
        plan(model, data, NARROW, task="feature-extraction", pipeline="structured")
    plan(model, data, NARROW, pipeline="structured")


FACTORED = "stages.prune.steps=[{{method: factor_embeddings, rank: {}}}]"


def test_an_embedding_that_cannot_be_factored(tiny_model_folder: ModelFactory, tiny_data: DataFactory):
    with pytest.raises(
        UsageError, match=r"steps\.0 factors the token embedding, but fill-mask scores every token with"
    ):
        plan(
            tiny_model_folder(head="ForMaskedLM"),
            tiny_data(),
            FACTORED.format(8),
            task="fill-mask",
            pipeline="structured",
        )
    for model_type, columns in (("bert", 32), ("distilbert", 32), ("albert", 16)):
        said = rf"steps\.0\.rank is {columns}, but the token embedding's table has {columns} columns; lower the rank"
        with pytest.raises(UsageError, match=said):
            plan(tiny_model_folder(model_type), tiny_data(), FACTORED.format(columns), pipeline="structured")
        plan(tiny_model_folder(model_type), tiny_data(), FACTORED.format(columns - 1), pipeline="structured")


def grouped(folder: Path, source: Path) -> Path:
    """A model with a convolution of the hidden states in two groups."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps(config | {"conv_kernel_size": 3, "conv_groups": 2}), encoding="utf-8"
    )
    return folder


def test_a_search_keeps_the_hidden_size_that_cannot_be_pruned_and_says_so(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path
):
    override, data = "stages.search.keep_hidden=[1, 0.5]", tiny_data()
    convolved = grouped(tmp_path / "grouped", tiny_model_folder("deberta-v2"))
    cases: list[tuple[Path, TaskName, str]] = [
        (
            tiny_model_folder(head="Model"),
            "feature-extraction",
            "the answers of feature-extraction are the hidden states",
        ),
        (convolved, "text-classification", "a convolution of this model reads the hidden states in 2 groups"),
    ]
    for folder, task, why in cases:
        plain, narrowing = (plan(folder, data, *overrides, task=task) for overrides in ((), (override,)))
        assert [node.key for node in narrowing.nodes] == [node.key for node in plain.nodes]
        assert [note for note in narrowing.notes if note not in plain.notes] == [
            note for note in narrowing.notes if note.startswith(f"stages.search.keep_hidden is not read: {why}")
        ]
        assert len(narrowing.notes) == len(plain.notes) + 1
    plain, narrowing = (plan(tiny_model_folder(), data, *overrides) for overrides in ((), (override,)))
    assert narrowing.notes == plain.notes
    assert narrowing.nodes[0].id == "table"
    assert narrowing.nodes[0].key != plain.nodes[0].key


def test_a_convolution_in_groups_is_refused_before_anything_runs(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path
):
    folder = grouped(tmp_path / "grouped", tiny_model_folder("deberta-v2"))
    with pytest.raises(UsageError, match=r"reads the hidden states in 2 groups \(conv_groups\)"):
        plan(folder, tiny_data(), NARROW, pipeline="structured")


@pytest.mark.parametrize("task", ["text-classification", "feature-extraction"])
def test_several_teachers_are_refused_where_no_dense_model_is_trained(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, task: TaskName
):
    with pytest.raises(
        UsageError, match=r"distill\.teachers is 3, but this model has all that .* the same model; set it to 1"
    ):
        plan(tiny_model_folder(), tiny_data(), "stages.finetune.distill.teachers=3", task=task, pipeline="structured")


def test_teachers_are_dense_models_of_the_next_seeds_and_all_builds_share_them(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory
):
    def nodes(*overrides: str, pipeline: str = "structured") -> dict[str, Node]:
        options = BuildOptions(
            model=str(tiny_model_folder(head="Model")), data=str(tiny_data()), task="text-classification", pipeline=pipeline,
            set_=["stages.prepare.max_length=16", "seed=4294967294", *overrides],
        )  # fmt: skip
        return {node.id: node for node in make_plan(read_request(options)).nodes}

    alone, taught = nodes(), nodes("stages.finetune.distill.teachers=3")
    assert taught.keys() - alone.keys() == {"teacher-1", "teacher-2", "answers"}
    assert [taught[name].seed for name in ("prepare", "teacher-1", "teacher-2")] == [4294967294, 4294967295, 0]
    assert taught["prepare"].key == alone["prepare"].key
    assert taught["finetune-1"].key != alone["finetune-1"].key
    assert taught["finetune-1"].stage.fingerprint() == alone["finetune-1"].stage.fingerprint(), (
        "parents tell of teachers"
    )
    assert "teachers" not in alone["finetune-1"].stage.fingerprint()["config"]["distill"], "old keys hold"  # type: ignore[index,call-overload]
    others = nodes("stages.finetune.distill.teachers=2", "rounds=2", pipeline="iterative")
    assert others["teacher-1"].key == taught["teacher-1"].key
    assert others["finetune-2"].parents["answers"] is others["finetune-1"].parents["answers"]
    searched = nodes("stages.finetune.distill.teachers=2", "target.budget.metric_drop=0.1", pipeline="fit")
    assert searched["teacher-1"].key == taught["teacher-1"].key, "before the first rung, so that none of them trains it"


@pytest.mark.parametrize(
    ("task", "overrides", "read"),
    [
        ("text-classification", [], set()),
        ("text-classification", ["distill.hidden=0"], {"answers"}),
        ("text-classification", ["distill={hidden: 0, logits: 0}"], set()),
        ("text-classification", ["distill.teachers=2"], {"answers"}),
        ("text-classification", ["distill.hidden=0", "augment=0.5"], set()),
        ("text-classification", ["distill.teachers=2", "replace={}"], {"teacher-1"}),
        ("token-classification", ["distill.hidden=0", "distill.teachers=2"], {"teacher-1"}),
    ],
)
def test_answers_are_computed_before_where_a_training_learns_them_on_texts_that_stay_what_they_are(
    tiny_model_folder: ModelFactory, tmp_path: Path, task: TaskName, overrides: list[str], read: set[str]
):
    options = BuildOptions(
        model=str(tiny_model_folder(head="Model")), data=str(write_rows(tmp_path / "rows.jsonl", task_rows(task))), task=task,
        pipeline="structured", set_=["stages.prepare.max_length=16", *(f"stages.finetune.{one}" for one in overrides)],
    )  # fmt: skip
    nodes = {node.id: node for node in make_plan(read_request(options)).nodes}
    assert nodes["finetune-1"].parents.keys() - {"dense", "checkpoint"} == read
    if read == {"answers"}:
        assert nodes["answers"].stage.fingerprint()["of_dense"] is ("distill.hidden=0" in overrides)


CONTEXT = "stages.finetune.replace={by: context}"


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification"])
def test_words_are_found_in_context_only_with_a_masked_language_head(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, model_type: str, head: str
):
    with pytest.raises(
        UsageError,
        match=r"replace\.by is context, which needs a checkpoint with a masked-language head, but this one lacks .*set by to embedding",
    ):
        plan(tiny_model_folder(model_type, head), tiny_data(), CONTEXT, pipeline="structured")
    found = plan(tiny_model_folder(model_type, "ForMaskedLM"), tiny_data(), CONTEXT, pipeline="structured")
    assert "substitutes" in {node.id for node in found.nodes}


def test_a_pruned_checkpoint_and_a_tokenizer_without_a_mask_find_no_words(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path
):
    for name in ("pruned", "maskless"):
        shutil.copytree(tiny_model_folder(head="ForMaskedLM"), tmp_path / name)
    (tmp_path / "pruned" / "pruning.json").write_text(json.dumps(SPARSE | {"sparse": False}), encoding="utf-8")
    with pytest.raises(UsageError, match="masked-language head, but this one is pruned and has none"):
        plan(tmp_path / "pruned", tiny_data(), CONTEXT, pipeline="structured")
    settings = tmp_path / "maskless" / "tokenizer_config.json"
    content = json.loads(settings.read_text(encoding="utf-8"))
    del content["mask_token"]
    settings.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match="but the tokenizer of this one names no mask token"):
        plan(tmp_path / "maskless", tiny_data(), CONTEXT, pipeline="structured")


def test_words_are_found_once_for_all_rounds_and_every_way_to_prune(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory, tmp_path: Path
):
    folder, data = tiny_model_folder(head="ForMaskedLM"), tiny_data()

    def nodes(*overrides: str, pipeline: str = "structured", model: Path = folder) -> dict[str, Node]:
        return {node.id: node for node in plan(model, data, *overrides, pipeline=pipeline).nodes}

    rounds = nodes(CONTEXT, "rounds=2", pipeline="iterative")
    assert rounds["finetune-1"].parents["substitutes"] is rounds["finetune-2"].parents["substitutes"]
    key = rounds["substitutes"].key
    searched = nodes(CONTEXT, pipeline="fit")
    assert searched["substitutes"].key == key, "before the first rung, so that none of them finds words"
    once = nodes(CONTEXT, "stages.finetune.replace.texts=0.9", "stages.finetune.epochs=7")
    assert once["substitutes"].key == key
    near = nodes("stages.finetune.replace={}")
    assert "substitutes" not in near
    assert near["finetune-1"].key != nodes(CONTEXT)["finetune-1"].key
    assert near["finetune-1"].stage.fingerprint() == nodes(CONTEXT)["finetune-1"].stage.fingerprint(), (
        "the parents tell where words are from"
    )
    for changed in (
        nodes(CONTEXT, "seed=1"),
        nodes(CONTEXT, "stages.prepare.max_length=12"),
        nodes(CONTEXT, model=tiny_model_folder(head="ForMaskedLM", seed=1)),
    ):
        assert changed["substitutes"].key != key
    told = {
        text: {node.id: node for node in build_plan(folder, data, write_rows(tmp_path / "more.jsonl", [{"text": text}]), CONTEXT).nodes}
        for text in ("one text", "another text")
    }  # fmt: skip
    assert len({key, *(found["substitutes"].key for found in told.values())}) == 3


def test_texts_of_pieces_have_another_key_since_words_are_replaced_before_pieces_are_taken(
    tiny_model_folder: ModelFactory, tiny_data: DataFactory
):
    def parts(*overrides: str) -> JsonValue:
        nodes = plan(tiny_model_folder(), tiny_data(), *overrides, pipeline="structured").nodes
        return next(node for node in nodes if node.id == "finetune-1").stage.fingerprint().get("pieces_version")

    pieces, words = "stages.finetune.augment=0.5", "stages.finetune.replace={}"
    assert [parts(), parts(pieces), parts(words), parts(pieces, words)] == [None, None, None, 2], "old keys hold"

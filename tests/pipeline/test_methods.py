"""Every pruning method through the whole pipeline: pruned, trained, exported, quantized, packaged, verified."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import edgeprune
from edgeprune.base.errors import UsageError
from edgeprune.devices.fake import FakeRunner
from edgeprune.devices.protocol import MemoryRequest
from edgeprune.models.architectures import layers_of
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.pipeline.stages.benchmark import Benchmark
from edgeprune.pipeline.stages.prune import Prune
from edgeprune.pipeline.stages.prune_context import PruneContext
from edgeprune.profiles.pipeline import BenchmarkConfig, PruneConfig
from edgeprune.profiles.steps import FactorEmbeddingsStep, MasksStep, NMStep, Step, VocabularyStep
from edgeprune.profiles.target import Workload
from edgeprune.store.store import Store
from edgeprune.tasks.prepared import open_prepared
from tests.support.e2e import Built, Ran, call, work_of
from tests.support.targets import target_of

HALF = {"method": "structured", "keep_heads": 0.5, "keep_ffn": 0.5, "align": 8}
UNSTRUCTURED = [
    [{"method": "magnitude", "sparsity": 0.5}],
    [{"method": "gradient", "sparsity": 0.5, "batches": 4, "batch_size": 8}],
    [{"method": "n_m"}],
]
STRUCTURED: list[list[dict[str, Any]]] = [
    [HALF | {"importance": "activation"}, {"method": "reconstruct", "samples": 64}],
    [HALF | {"signal": "divergence", "allocation": "global", "allow_empty": True}],
    [{"method": "layers", "remove": 1, "choose": "metric", "samples": 32}],
    [{"method": "vocabulary", "floor": 1}],
    [
        {"method": "vocabulary", "floor": 1},
        {"method": "layers", "drop": [1]},
        HALF,
        {"method": "reconstruct", "samples": 64},
    ],
]


def title(steps: list[dict[str, Any]]) -> str:
    return "+".join(step["method"] for step in steps)


def build(built: Built, store: Path, steps: list[dict[str, Any]], *flags: str) -> Ran:
    return call(
        *built.arguments, "--store", store, "--output", store.parent / "dist", "--set",
        f"stages.prune.steps={json.dumps(steps)}", *flags, "--json",
    )  # fmt: skip


def artifacts(store: Path, report: dict[str, Any], stage: str) -> list[Path]:
    return [store / row["stage"] / row["key"] for row in report["stages"] if row["stage"] == stage]


@pytest.mark.parametrize("steps", [*UNSTRUCTURED, *STRUCTURED], ids=title)
def test_a_method_ends_in_a_package_that_verifies(built: Built, tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    store = built.copied_store(tmp_path)
    done = build(built, store, steps)
    assert done.code == 0, done.err
    report = done.document
    pruned, recovered = (artifacts(store, report, stage)[0] for stage in ("prune", "finetune"))
    before, after = read_pruning(pruned / "checkpoint"), read_pruning(recovered / "checkpoint")
    assert isinstance(before, PruningRecord)
    assert before == after
    assert call("verify", report["package"]["path"]).code == 0
    assert len(layers_of(edgeprune.load(recovered))) == len(before.layers)
    assert {row["artifact"] for row in report["latency"]} == {"dense-fp32", "dense", "final"}
    unstructured = steps in UNSTRUCTURED
    assert before.sparse is unstructured
    said = [note for note in report["notes"] if "no latency gain on dense kernels" in note]
    assert bool(said) is unstructured
    card = Path(report["package"]["path"], "README.md").read_text(encoding="utf-8")
    assert ("no latency gain on dense kernels; compressed, the fp32 checkpoint takes" in card) is unstructured
    assert ("no latency gain on dense kernels" in done.err) is unstructured


@pytest.mark.parametrize("steps", UNSTRUCTURED, ids=title)
def test_zeros_are_the_same_before_and_after_the_fine_tune(
    built: Built, tmp_path: Path, steps: list[dict[str, Any]]
) -> None:
    store = built.copied_store(tmp_path)
    report = build(built, store, steps).document
    models = [edgeprune.load(artifacts(store, report, stage)[0]) for stage in ("prune", "finetune")]
    zeros, changed = [0, 0], 0
    for pruned, recovered in zip(*(layers_of(model) for model in models), strict=True):
        for before, after in zip(pruned.projections, recovered.projections, strict=True):
            one, two = before.linear.weight, after.linear.weight
            assert torch.equal(one == 0, two == 0)
            zeros[0] += int((one == 0).sum())
            zeros[1] += one.numel()
            changed += int((one != two).sum())
    assert zeros[0] / zeros[1] == pytest.approx(0.5, abs=0.01)
    assert changed > 0


def test_a_package_of_a_pruned_vocabulary_carries_its_own_tokenizer(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a good film with a bad ending .\n", encoding="utf-8")
    steps = [{"method": "vocabulary", "corpus": str(corpus), "floor": 1}]
    report = build(built, store, steps, "--set", "stages.finetune=null").document
    (pruned,) = artifacts(store, report, "prune")
    record = read_pruning(pruned / "checkpoint")
    assert record is not None
    assert record.vocabulary is not None
    tokens = json.loads(Path(report["package"]["path"], "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    dense = json.loads((built.package / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert len(tokens) == len(record.vocabulary) < len(dense)
    assert {dense[name] for name in tokens} == set(record.vocabulary)
    rows = {row["stage"]: row["metric"]["value"] for row in report["stages"] if row["metric"] and row["round"]}
    assert rows["prune"] == rows["quantize"]


def test_rounds_follow_the_schedule(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    flags = ["--set", "rounds=2", "--set", "stages.prune.schedule={shape: cubic}"]
    report = build(built, store, [{"method": "magnitude", "sparsity": 0.6, "scope": "layer"}], *flags).document
    sparsity = [Store.open(path).manifest.metrics.scores["sparsity"] for path in artifacts(store, report, "prune")]
    assert sparsity == pytest.approx([0.6 * (1 - 0.5**3), 0.6], abs=0.002)
    assert sum("no latency gain" in note for note in report["notes"]) == 2


def test_steps_take_turns(built: Built, tmp_path: Path) -> None:
    """What one round doesn't do stays as the round before left it; what is done once is not done again."""
    store = built.copied_store(tmp_path)
    steps = [
        {"method": "magnitude", "sparsity": 0.5},
        HALF | {"importance": "magnitude"},
        {"method": "layers", "remove": 1},
    ]
    flags = ["--set", "rounds=3", "--set", "stages.prune.schedule.shape=stepwise", "--set", "stages.finetune=null"]
    done = build(built, store, steps, *flags)
    assert done.code == 0, done.err
    rounds = artifacts(store, done.document, "prune")
    records = [read_pruning(path / "checkpoint") for path in rounds]
    assert [[(len(layer.heads), len(layer.neurons)) for layer in record.layers] for record in records if record] == [
        [(4, 128), (4, 128)], [(2, 64), (2, 64)], [(2, 64)],
    ]  # fmt: skip
    assert [sorted(load_file(path / "scores.safetensors")) for path in rounds] == [
        [], ["1.0.heads", "1.0.neurons", "1.1.heads", "1.1.neurons"], [],
    ]  # fmt: skip
    assert all("sparsity" in Store.open(path).manifest.metrics.scores for path in rounds)


def test_pruning_again_from_saved_scores_does_not_compute_them(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    first = built.artifact("prune").file("scores.safetensors")
    events = tmp_path / "events.jsonl"
    step = HALF | {"keep_ffn": 0.25, "scores": str(first)}
    done = build(built, store, [step], "--events", str(events))
    assert done.code == 0, done.err
    assert '"stage": "prune", "round": 1, "done"' not in events.read_text(encoding="utf-8")
    (again,) = artifacts(store, done.document, "prune")
    ours, theirs = load_file(again / "scores.safetensors"), load_file(first)
    assert {name: values.tolist() for name, values in ours.items()} == {
        name: values.tolist() for name, values in theirs.items()
    }


def test_a_file_that_a_step_names_is_read_before_anything_runs(built: Built, tmp_path: Path) -> None:
    done = build(built, tmp_path / "store", [{"method": "masks", "file": "nowhere.yaml"}])
    assert done.code == 2
    assert "stages.prune names the file nowhere.yaml, which can't be read" in done.complaints[0]
    assert not (tmp_path / "store").exists()


def test_labels_are_not_asked_for_where_there_are_none(built: Built, tmp_path: Path) -> None:
    done = build(built, tmp_path / "store", [HALF | {"signal": "labels"}], "--task", "feature-extraction")
    assert done.code == 2
    assert "stages.prune.steps.0.signal is labels, but this task has none; use divergence" in done.complaints[0]


def test_texts_are_not_put_together_for_a_task_that_asks_for_their_words(built: Built, tmp_path: Path) -> None:
    flags = ("--task", "fill-mask", "--set", "stages.finetune.augment=0.5")
    done = build(built, tmp_path / "store", [HALF], *flags)
    assert done.code == 2
    assert (
        "stages.finetune.augment puts texts together from pieces, and only feature-extraction and" in done.complaints[0]
    )
    assert "set it to 0 for fill-mask" in done.complaints[0]


def test_words_are_not_replaced_for_a_task_that_asks_for_them(built: Built, tmp_path: Path) -> None:
    flags = ("--task", "fill-mask", "--set", "stages.finetune.replace={}")
    done = build(built, tmp_path / "store", [HALF], *flags)
    assert done.code == 2
    assert "stages.finetune.replace puts other words into texts, and only feature-extraction" in done.complaints[0]
    assert "set it to null for fill-mask" in done.complaints[0]


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (
            {"method": "layers", "remove": 2},
            "steps.0.remove is 2, but the model has 2 layers and at least one must stay",
        ),
        ({"method": "layers", "drop": [7]}, "steps.0.drop names layers 7, but the model has 0, 1"),
        (
            {"method": "layers", "drop": [0, 1]},
            "steps.0.drop names every layer that is left; a model needs at least one",
        ),
        (
            HALF | {"keep_ffn": [0.5, 0.5, 0.5]},
            "steps.0.keep_ffn should list a value for each of the model's 2 layers, got 3",
        ),
        (
            {"method": "magnitude", "sparsity": [0.5]},
            "steps.0.sparsity should list a value for each of the model's 2 layers, got 1",
        ),
    ],
)
def test_layers_that_are_not_there_are_said_before_anything_runs(
    built: Built, tmp_path: Path, step: dict[str, Any], sentence: str
) -> None:
    done = build(built, tmp_path / "store", [step])
    assert done.code == 2
    assert sentence in done.complaints[0]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("ratio", "said"), [(2.0, True), (0.99, True), (0.9, False)])
def test_a_step_that_bought_no_latency_is_said(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, said: bool
) -> None:
    """As if the result had taken so many times as long as the dense model, give or take 2% by process."""
    from edgeprune.pipeline import judge

    def taken(_run: object) -> dict[str, list[list[float]]]:
        processes = range(8)
        return {
            "dense": [[1.0] * 40 for _ in processes],
            "final": [[ratio * (1.02 if process % 2 else 0.98)] * 40 for process in processes],
        }

    monkeypatch.setattr(judge, "read_samples", taken)
    done = built.again("--json", output=tmp_path)
    notes = [note for note in done.document["notes"] if note.startswith("pruning bought no latency here")]
    assert len(notes) == said
    assert all(note in done.err and f"takes {ratio:.2f} times ([" in note for note in notes)


def test_a_result_above_the_dense_model_is_told_as_a_dense_model_that_is_not_at_its_best(
    built: Built, tmp_path: Path
) -> None:
    """The dense model hardly learns, and the pruned model learns from labels alone."""
    done = built.again(
        "--json",
        "--set", "stages.prepare.learning_rate=1e-9",
        "--set", "stages.finetune={epochs: 4, learning_rate: 5.0e-3, batch_size: 8, distill: {logits: 0, hidden: 0, labels: 1}}",
        "--set", "target.runner=null",
        output=tmp_path,
    )  # fmt: skip
    (note,) = (note for note in done.document["notes"] if "probably not trained to its best" in note)
    assert note.startswith("the result's accuracy is +")
    assert note.endswith("; set stages.prepare.epochs to auto, or raise it")
    assert note in done.err
    assert not any(
        "probably not trained to its best" in note for note in built.again("--json", output=tmp_path).document["notes"]
    )


def test_what_a_file_is_called_says_how_it_is_read_so_it_is_in_the_key(built: Built, tmp_path: Path) -> None:
    keys = set()
    for name in ("corpus.txt", "corpus.jsonl", "other.jsonl"):
        path = tmp_path / name
        path.write_text('{"text": "a good film ."}\n', encoding="utf-8")
        report = build(built, built.store, [{"method": "vocabulary", "corpus": str(path)}], "--plan").document
        keys.add(next(row["key"] for row in report["stages"] if row["stage"] == "prune"))
    assert len(keys) == 2


def test_a_file_that_changes_while_the_dense_model_trains_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "masks.yaml"
    path.write_text("{head_mask: [[1]]}", encoding="utf-8")
    stage = Prune(
        PruneConfig(steps=(MasksStep(method="masks", file=path),)), unlabelled_digest=None, round_number=1, rounds=1
    )
    before = stage.fingerprint()
    path.write_text("{head_mask: [[0]]}", encoding="utf-8")
    assert stage.fingerprint() == before
    with pytest.raises(UsageError, match="changed since the build began"):
        stage.run(None)  # type: ignore[arg-type] # it looks at nothing else first


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        (FactorEmbeddingsStep(method="factor_embeddings", rank=8), True),
        (VocabularyStep(method="vocabulary"), True),
        (VocabularyStep(method="vocabulary", corpus=Path(__file__)), False),
        (NMStep(method="n_m"), False),
    ],
)
def test_rows_without_labels_are_in_the_key_where_their_tokens_are_counted(step: Step, counts: bool) -> None:
    stage = Prune(PruneConfig(steps=(step,)), unlabelled_digest="u" * 64, round_number=1, rounds=1)
    assert stage.fingerprint()["unlabelled"] == ("u" * 64 if counts else None)


def test_memory_is_measured_on_the_longest_texts(built: Built, tmp_path: Path) -> None:
    runner = FakeRunner()
    stage = Benchmark(
        BenchmarkConfig(processes=1, samples=16, warmup=1), names=("final",), runner=runner, place="here", round_number=1,
        target=target_of(workload=Workload(batch_size=2)),
    )  # fmt: skip
    work = work_of(built, tmp_path, baseline=("prepare", 0), final=("quantize", 1))
    stage.run(work)
    alone = runner.asked(MemoryRequest)
    assert len(alone) == 3, "processes that the model has for itself"
    ((batch,),) = alone[0].batches.values()
    mask = batch["attention_mask"]
    assert isinstance(mask, list)
    prepared = open_prepared(work.parents["baseline"], work.data, splits=("test",))
    lengths = sorted(len(encoding["input_ids"]) for encoding in prepared.test.inputs)
    assert sorted(map(sum, mask)) == lengths[-2:]
    assert lengths[0] < lengths[-1]


def test_a_batchs_loss_is_its_examples_together(built: Built, tmp_path: Path) -> None:
    context = PruneContext(work_of(built, tmp_path, dense=("prepare", 0), checkpoint=("prepare", 0)))
    (batch,) = context.batches(5, size=5)
    alone = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(5)]
    expected = sum(context.loss(one, "labels").item() for one in alone)
    assert context.loss(batch, "labels").item() == pytest.approx(expected, rel=1e-4)


def test_greedy_layers_are_measured_on_a_seeded_sample_not_on_the_first_rows(built: Built, tmp_path: Path) -> None:
    """The first texts all answer alike: a sample of them would tell nothing."""
    work = work_of(built, tmp_path, dense=("prepare", 0), checkpoint=("prepare", 0))
    context = PruneContext(work, splits=("train", "selection"))
    selection = context.prepared.splits["selection"]
    references = np.array(selection.references)
    order = np.argsort(references, kind="stable")
    wrong = np.where(np.arange(len(order)) < 8, 1 - references[order], references[order])
    context.prepared.splits["selection"] = replace(
        selection, examples=[selection.examples[row] for row in order], references=list(wrong)
    )
    assert context.metric(len(order)) == pytest.approx(1 - 8 / len(order), abs=0.2)
    assert context.metric(8) > 0, "the first eight are all wrong"

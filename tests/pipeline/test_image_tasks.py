"""Tasks on images: what they learn from, and what a build refuses; ViT's checkpoints and pruning methods."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, PreTrainedModel

from edgeprune.base.errors import UsageError
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec, Table, pick
from edgeprune.models.checkpoint import load_any, save_checkpoint
from edgeprune.models.image_reader import load_image_reader
from edgeprune.models.record import PruningRecord, read_pruning
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import read_request
from edgeprune.pipeline.run import run_nodes
from edgeprune.profiles.steps import FactorEmbeddingsStep, VocabularyStep
from edgeprune.profiles.training import TrainingConfig
from edgeprune.pruning.context import Pruned
from edgeprune.pruning.factor_embeddings import factor_embeddings
from edgeprune.pruning.surgery import cut
from edgeprune.pruning.vocabulary import prune_vocabulary
from edgeprune.store.environment import NumericMode
from edgeprune.store.store import Store
from edgeprune.tasks.embedding import Embedder
from edgeprune.tasks.evaluation import predict_torch
from edgeprune.tasks.registry import COLUMNS, task_for
from edgeprune.tasks.spec import TaskSpec
from edgeprune.training.rows import Rows
from edgeprune.training.trainer import train
from tests.conftest import ModelFactory
from tests.support.e2e import Ran, call, image_rows, target_text, write_rows

SPEC = TaskSpec(
    task="image-classification", problem_type="single_label_classification", labels=("green", "red"),
    inputs=("pixel_values",),
)  # fmt: skip


def table_of(folder: Path, rows: int) -> Table:
    path = write_rows(folder / "data.jsonl", image_rows(folder, rows))
    columns = COLUMNS["image-classification"]
    return DataSource(DataSpec(train=str(path)), columns=columns, offline=True).load()["train"]


# Checkpoints: transformers 5 writes ViT's tensors under the names of its first version


def test_a_pruned_model_comes_back_and_a_dense_one_has_the_published_names(
    tiny_model_folder: ModelFactory, tmp_path: Path
) -> None:
    folder = tiny_model_folder("vit", "ForImageClassification")
    reader, inputs = load_image_reader(folder), {"pixel_values": torch.rand(2, 3, 16, 16)}
    dense = AutoModelForImageClassification.from_pretrained(folder).eval()
    save_checkpoint(dense, tmp_path / "dense", record=None, reader=reader)
    names = list(load_file(tmp_path / "dense/model.safetensors"))
    assert "vit.encoder.layer.0.attention.attention.query.weight" in names
    record = PruningRecord.dense(dense, "0" * 64)
    layer = record.layers[1].model_copy(update={"heads": (0, 3), "neurons": tuple(range(0, 128, 3))})
    record = cut(dense, record, (record.layers[0], layer))
    save_checkpoint(dense, tmp_path / "pruned", record=record, reader=reader)
    with torch.no_grad():
        torch.testing.assert_close(load_any(tmp_path / "pruned")(**inputs).logits, dense(**inputs).logits)
        dense_again = load_any(tmp_path / "dense")(**inputs).logits
        torch.testing.assert_close(dense_again, load_any(folder)(**inputs).logits, atol=0, rtol=0)


def test_an_interrupted_training_ends_as_one_that_was_not(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    folder, task, table = tiny_model_folder("vit", "ForImageClassification"), task_for(SPEC), table_of(tmp_path, 40)
    reader, references = load_image_reader(folder), task.references(table, where="here")
    examples = task.encode(reader, table.contents, references)

    def trained(state: Path, stop_at: int | None = None) -> PreTrainedModel:
        def step(done: int, _total: int) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        model = load_any(folder)
        with quiet_libraries():
            train(
                model, task, config=TrainingConfig(batch_size=8, learning_rate=3e-3), teacher=None, examples=examples[:32],
                selection=Rows(examples[32:], references[32:]), reader=reader, numeric=NumericMode(bf16=False, threads=1),
                seed=0, folder=state, on_step=step,
            )  # fmt: skip
        return model

    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", stop_at=6)
    resumed = trained(tmp_path / "cut")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=0, rtol=0, msg=name)
    outputs = predict_torch(resumed, task, examples[32:], reader)
    assert task.metric(outputs, references[32:]) > 0.7


# Tasks


def test_separable_images_need_no_transformer(tmp_path: Path) -> None:
    task, table = task_for(SPEC), table_of(tmp_path, 60)
    references = task.references(table, where="here")
    train_rows, test_rows = pick(table, range(40)), pick(table, range(40, 60))
    found = task.linear_baseline(train_rows, references[:40], test_rows, references[40:])
    assert found is not None
    assert found > 0.9


def test_an_embedding_is_the_first_tokens_state(tiny_model_folder: ModelFactory) -> None:
    spec = TaskSpec(task="image-feature-extraction", inputs=("pixel_values",), pooling="cls")
    task, model = task_for(spec), load_any(tiny_model_folder("vit", "Model"))
    inputs = {"pixel_values": torch.rand(2, 3, 16, 16)}
    with torch.inference_mode():
        outputs, states = task.forward(model, inputs, hidden=True)
        exported = task.exportable(model)
        assert isinstance(exported, Embedder)
        torch.testing.assert_close(exported(**inputs)["image_embeds"], outputs)
        torch.testing.assert_close(model(**inputs).last_hidden_state[:, 0], outputs)
    assert [tuple(state.shape) for state in states] == [(2, 17, 32)] * 3


def test_a_vocabulary_that_is_not_there_is_not_pruned(tiny_model_folder: ModelFactory) -> None:
    folder = tiny_model_folder("vit", "ForImageClassification")
    model = load_any(folder)
    pruned = Pruned(model, PruningRecord.dense(model, ""), load_image_reader(folder))
    with pytest.raises(UsageError, match="vocabulary: the model reads images"):
        prune_vocabulary(VocabularyStep(method="vocabulary"), pruned, None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="factor_embeddings: the model reads images"):
        factor_embeddings(FactorEmbeddingsStep(method="factor_embeddings", rank=8), pruned, None)  # type: ignore[arg-type]


# Builds


@pytest.fixture
def place(tiny_model_folder: ModelFactory, tmp_path: Path) -> Path:
    """A folder with a ViT, images, a pipeline and a target; nothing made yet."""
    shutil.copytree(tiny_model_folder("vit", "Model", layers=3), tmp_path / "model")
    write_rows(tmp_path / "data.jsonl", image_rows(tmp_path, 40))
    (tmp_path / "here.yaml").write_text(target_text("here", runner=None), encoding="utf-8")
    write_pipeline(tmp_path, [{"method": "structured", "keep_heads": 0.5, "keep_ffn": 0.5, "align": 8}])
    return tmp_path


def write_pipeline(place: Path, steps: list[dict[str, Any]]) -> None:
    stages = {"prepare": {"epochs": 1, "batch_size": 8}, "prune": {"steps": steps}}
    content = {"schema_version": 1, "name": "tiny", "description": "Tiny", "stages": stages}
    (place / "tiny.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def build(place: Path, *flags: object, task: str = "image-classification") -> Ran:
    return call(
        "build", place / "model", "--task", task, "--data", place / "data.jsonl", "--offline", "--pipeline",
        place / "tiny.yaml", "--target", place / "here.yaml", "--store", place / "store", "--output", place / "dist", *flags,
    )  # fmt: skip


def refused(done: Ran, *words: str) -> None:
    """One sentence that says the words, exit code 2, and no traceback."""
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert len(done.complaints) == 1, done.err
    for word in words:
        assert word in done.err, done.err


def break_image(place: Path, row: int, content: bytes | None) -> None:
    path = place / f"images/{row - 1}.png"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda _: None, "can't be read: No such file or directory"),
        (lambda _: b"", "can't be used: it is no image of a known format"),
        (lambda _: b"<html>", "can't be used: it is no image of a known format"),
        (lambda whole: whole[: len(whole) // 2], "can't be used: "),
    ],
)
def test_a_bad_image_ends_the_build_before_anything_is_trained(
    place: Path, content: Callable[[bytes], bytes | None], words: str
) -> None:
    break_image(place, 7, content((place / "images/6.png").read_bytes()))
    refused(build(place), "data.jsonl row 7: the image", "images/6.png", words)
    assert not list(place.glob("store/*/*/manifest.json"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--set", "stages.prepare.max_length=64"], "stages.prepare.max_length cuts texts, but the model reads images"),
        (
            ["--set", "target.workload.lengths=64"],
            "times texts of 64 tokens (workload.lengths), but the model reads images",
        ),
        (["--image-column", "photo"], "has no column 'photo' (--image-column); it has image, label"),
        (["--pair-column", "label"], "--pair-column names a second text, but this task's rows have one image"),
    ],
)
def test_what_images_do_not_have_is_refused(place: Path, flags: list[str], words: str) -> None:
    refused(build(place, *flags), words)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"method": "vocabulary"}, "prunes a vocabulary"),
        ({"method": "factor_embeddings", "rank": 8}, "factors a token embedding"),
    ],
)
def test_a_step_on_tokens_is_refused_before_anything_runs(place: Path, step: dict[str, Any], words: str) -> None:
    write_pipeline(place, [step])
    refused(build(place), f"stages.prune.steps.0 {words}, but the model reads images")


def test_a_task_on_texts_is_refused(place: Path) -> None:
    refused(
        build(place, task="text-classification"), "the model reads images, but text-classification is not for these"
    )


def test_a_model_that_does_not_say_how_images_are_made_is_refused(place: Path) -> None:
    settings = place / "model/preprocessor_config.json"
    settings.write_text(json.dumps({"size": {"height": 32, "width": 32}}), encoding="utf-8")
    refused(build(place), "makes images of 32 x 32 pixels, but config.json's image_size is 16 x 16")
    settings.unlink()
    refused(build(place), "holds no preprocessor_config.json")


def test_texts_in_the_place_of_images_are_refused(place: Path) -> None:
    write_rows(place / "data.jsonl", [{"text": "a", "label": "red"}] * 40)
    refused(build(place), "none called 'image' or the like; name it with --image-column")


def test_attention_is_drawn_over_texts_only(place: Path) -> None:
    done = call("inspect", place / "model", "--attention", "A text.", "--store", place / "store", "--output", place)
    refused(done, "reads images; attention is drawn over the tokens of a text")


def test_importance_is_drawn_for_images_too(place: Path) -> None:
    done = call(
        "inspect", place / "model", "--importance", "--task", "image-classification", "--data", place / "data.jsonl",
        "--store", place / "store", "--output", place, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["tokens"] == 17
    assert (place / "importance.png").stat().st_size > 1000


def test_every_method_prunes_a_model_of_images(place: Path) -> None:
    steps = [
        {"method": "structured", "allocation": "multiply_adds", "keep_heads": 0.75, "keep_ffn": 0.75, "align": 8},
        {"method": "structured", "importance": "activation", "keep_heads": 0.5, "keep_ffn": 0.5, "align": 8},
        {"method": "reconstruct", "samples": 16},
        {"method": "layers", "remove": 1, "choose": "metric", "shortlist": 2, "samples": 16},
        {"method": "gradient", "sparsity": 0.25, "batches": 2, "batch_size": 4},
        {"method": "magnitude", "sparsity": 0.5},
    ]  # fmt: skip
    write_pipeline(place, steps)
    options = BuildOptions(
        str(place / "model"), data=str(place / "data.jsonl"), pipeline=str(place / "tiny.yaml"),
        target=str(place / "here.yaml"), task="image-classification", store=place / "store", output=place / "dist",
    )  # fmt: skip
    plan = make_plan(read_request(options))
    *_, (_, done) = run_nodes(plan.nodes[:2], plan.subject, Store(place / "store"))
    pruned = done.artifact
    record = read_pruning(pruned.file("checkpoint"))
    assert record is not None
    assert (len(record.layers), record.sparse) == (2, True)
    assert pruned.manifest.metrics.scores["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert np.isfinite(pruned.manifest.metrics.metric.value)  # type: ignore[union-attr]
    assert (pruned.file("checkpoint") / "preprocessor_config.json").is_file()

"""Every bad input gives its exit code and one clear sentence, never a traceback, and leaves no artifact behind."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeprune.store.store import Store
from tests.conftest import ModelFactory
from tests.support.e2e import Built, Ran, call, run, write_data

STAGE_COUNT = 7
"""Artifacts of the shared build's own plan, benchmark left out."""


def refused(done: Ran, code: int, *words: str) -> str:
    """The one sentence, after checking that it is one and says `words`."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert len(done.complaints) == 1, done.err
    (sentence,) = done.complaints
    start = done.err.index(sentence)
    whole = done.err[start:]
    for word in words:
        assert word in whole, whole
    return whole


def stages_in(store: Path) -> set[str]:
    """The stages that have an artifact, and those that left a draft of one."""
    made = {artifact.manifest.stage for artifact in Store(store).artifacts()}
    drafts = {path.parent.name for path in store.glob("*/.*") if path.parent.name != "locks"}
    return made | drafts


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a refused build would have kept its artifacts and packages."""
    return tmp_path / "place"


def build(built: Built, place: Path, *flags: object, model: Path | None = None, data: Path | None = None) -> Ran:
    """The shared build with another model or data, into an empty store."""
    return call(
        "build", model or built.model, "--task", "text-classification", "--data", data or built.data, "--offline",
        "--pipeline", built.pipeline, "--target", built.target, "--store", place / "store", "--output",
        place / "dist", "--no-report", *flags,
    )  # fmt: skip


def nothing_made(place: Path) -> bool:
    return stages_in(place / "store") == set() and not (place / "dist").exists()


# Models


@pytest.fixture
def model(built: Built, tmp_path: Path) -> Path:
    """A copy of the model that a test may break."""
    return Path(shutil.copytree(built.model, tmp_path / "broken-model"))


def test_a_folder_without_a_model(built: Built, place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(build(built, place, model=tmp_path / "empty"), 2, "holds no config.json", "give a folder with")
    assert nothing_made(place)


def test_no_folder_at_all(built: Built, place: Path, tmp_path: Path) -> None:
    refused(build(built, place, model=tmp_path / "nowhere"), 2, "no folder", "package:NAME/FOLDER")
    assert nothing_made(place)


def test_a_file_instead_of_a_folder(built: Built, place: Path) -> None:
    refused(build(built, place, model=built.model / "config.json"), 2, "is a file; give the folder")
    assert nothing_made(place)


def test_a_config_without_weights(built: Built, place: Path, model: Path) -> None:
    (model / "model.safetensors").unlink()
    refused(build(built, place, model=model), 2, "holds no model.safetensors")
    assert nothing_made(place)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickled_weights_only(built: Built, place: Path, model: Path, name: str) -> None:
    (model / "model.safetensors").rename(model / name)
    refused(build(built, place, model=model), 2, f"pickled weights only ({name})", "save_pretrained")
    assert nothing_made(place)


@pytest.mark.parametrize("left", [0, 4, 500, -1])
def test_truncated_safetensors(built: Built, place: Path, model: Path, left: int) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    refused(build(built, place, model=model), 2, "model.safetensors is damaged or cut short", "fetch it again")
    assert nothing_made(place)


def test_a_config_that_is_not_json(built: Built, place: Path, model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "bert",', encoding="utf-8")
    refused(build(built, place, model=model), 2, "config.json can't be read as JSON")
    assert nothing_made(place)


def edit_config(model: Path, **changes: object) -> None:
    path = model / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_a_decoder_only_model(built: Built, place: Path, model: Path) -> None:
    edit_config(model, model_type="gpt2", architectures=["GPT2LMHeadModel"])
    refused(build(built, place, model=model), 2, "edgeprune prunes the encoders bert", "this is a 'gpt2' model")
    assert nothing_made(place)


def test_an_encoder_that_is_configured_as_a_decoder(built: Built, place: Path, model: Path) -> None:
    edit_config(model, is_decoder=True)
    refused(build(built, place, model=model), 2, "this is a 'bert' decoder")
    assert nothing_made(place)


@pytest.mark.parametrize("family", ["t5", "vit", "never-heard-of"])
def test_an_unsupported_architecture(built: Built, place: Path, model: Path, family: str) -> None:
    edit_config(model, model_type=family)
    refused(build(built, place, model=model), 2, family)
    assert nothing_made(place)


def test_an_architecture_that_belongs_to_no_task(built: Built, place: Path, tiny_model_folder: ModelFactory) -> None:
    done = call(
        "build", tiny_model_folder(head="ForMaskedLM"), "--data", built.data, "--store", place / "store", "--output",
        place / "dist",
    )  # fmt: skip
    refused(done, 2, "BertForMaskedLM", "say it with --task")
    assert nothing_made(place)


def test_a_model_without_a_tokenizer(built: Built, place: Path, model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    refused(build(built, place, model=model), 2, "tokenizer")
    assert nothing_made(place)


def test_texts_longer_than_the_model_takes(built: Built, place: Path) -> None:
    refused(build(built, place, "--set", "stages.prepare.max_length=500"), 2, "max_length is 500", "66 tokens at most")
    assert nothing_made(place)


def test_an_unknown_task_or_problem_type(built: Built, place: Path) -> None:
    refused(build(built, place, "--problem-type", "ranking"), 2, "'ranking' is not one of")
    refused(build(built, place, "--task", "translation"), 2, "'translation' is not one of")
    assert nothing_made(place)


# Definitions

PIPELINE_FAULTS = """\
schema_version: 1
name: mine
description: Wrong in five places
rounds: 0
stages:
  prepare: {epochs: many}
  prune:
    steps:
      - {method: structured, keep_heads: 1.4, keep_ffn: 0.5}
  finetune: {epoch: 2, distill: {temprature: 2}}
"""
PIPELINE_SENTENCES = [
    "rounds: 0 is not above 0",
    "stages.prepare.epochs: 'many' should be",
    "stages.prune.steps.0.keep_heads: 1.4 is above 1",
    "stages.finetune.epoch: unknown key; did you mean 'epochs'?",
    "stages.finetune.distill.temprature: unknown key; did you mean 'temperature'?",
]
TARGET_FAULTS = """\
schema_version: 1
name: mine
description: Wrong in five places
device: {arch: x86_46, isa: [avx2]}
runtime: {provider: CPUExecutionProvider, threads: 0}
precision: {mode: int8-dynamik}
budget: {latency_ms: 3, metric_drop: 2}
runner: null
"""
TARGET_SENTENCES = [
    "device.arch: 'x86_46' is not one of 'x86_64', 'aarch64' or 'wasm32'; did you mean 'x86_64'?",
    "runtime.threads: 0 is not above 0",
    "precision.mode: 'int8-dynamik' is not one of",
    "budget.latency_ms: unknown key; did you mean 'latency_p",
    "budget.metric_drop: 2 is above 1",
]


@pytest.mark.parametrize(
    ("flag", "text", "sentences"),
    [("--pipeline", PIPELINE_FAULTS, PIPELINE_SENTENCES), ("--target", TARGET_FAULTS, TARGET_SENTENCES)],
)
def test_every_fault_of_a_definition_at_once(
    built: Built, place: Path, tmp_path: Path, flag: str, text: str, sentences: list[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    whole = refused(build(built, place, flag, path), 2, f"{path} is not a valid", *sentences)
    assert len(whole.splitlines()) == 1 + len(sentences), "one line a fault and no more"
    assert nothing_made(place)
    kind = "pipelines" if flag == "--pipeline" else "targets"
    checked = call(kind, "validate", path)
    assert checked.code == 2
    assert all(sentence in checked.err for sentence in sentences)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stages: [\n\n", ["is not valid YAML", "line 3"]),
        ("- a\n- b\n", ["should hold a mapping"]),
        ("name: a\nname: b\n", ["the key 'name' stands twice", "line 2"]),
        ("", ["should hold a mapping"]),
    ],
)
def test_a_definition_that_is_not_yaml(built: Built, place: Path, tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    refused(build(built, place, "--pipeline", path), 2, *words)
    assert nothing_made(place)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--target", "raspbery-pi-4"], ["did you mean 'raspberry-pi-4'?"]),
        (["--pipeline", "structurd"], ["did you mean 'structured'?"]),
        (["--pipeline", "nowhere/mine.yaml"], ["no file nowhere/mine.yaml"]),
        (["--set", "stages.finetune.epoch=1"], ["--set stages.finetune.epoch=1: unknown key; did you mean 'epochs'?"]),
        (["--set", "target.budget.size=1"], ["--set target.budget.size=1: unknown key; did you mean 'size_mb'?"]),
        (["--set", "stages.finetune.epochs"], ["--set needs path.to.key=value"]),
        (["--set", "stages.prune.steps.7.align=8"], ["has no item '7'"]),
        (["--set", "name.x=1"], ["--set name.x=1: name is a value"]),
        (["--name", "a/b"], ["--name 'a/b'"]),
        (["--release", "1 0"], ["--release '1 0'"]),
        (["--no-such-flag"], ["--no-such-flag", "edgeprune build --help"]),
        (["--max-rows", "3"], ["--max-rows", "edgeprune build --help"]),
    ],
)
def test_a_flag_that_cannot_be_used(built: Built, place: Path, flags: list[str], words: list[str]) -> None:
    done = build(built, place, *flags, "--json")
    sentence = refused(done, 2, *words)
    assert nothing_made(place)
    assert done.document["exit_code"] == 2
    assert done.document["error"] in sentence


# Data


@pytest.mark.parametrize(
    ("name", "text", "flags", "words"),
    [
        ("no-text.jsonl", '{"words": "a film", "label": "pos"}\n' * 40, [], ["words, label", "--text-column"]),
        ("no-label.jsonl", '{"text": "a film", "stars": 3}\n' * 40, [], ["text, stars", "--label-column"]),
        ("two.csv", "text,review,label\n" + "a,b,pos\n" * 40, [], ["several that could hold the text (text, review)"]),
        ("named.csv", "text,label\n" + "a,pos\n" * 40, ["--text-column", "body"], ["no column 'body'", "text, label"]),
        (
            "empty-text.jsonl",
            '{"text": "a", "label": "pos"}\n' * 6
            + '{"text": "  ", "label": "neg"}\n'
            + '{"text": "b", "label": "neg"}\n' * 40,
            [],
            ["row 7", "'text' should hold a text, got '  '"],
        ),
        ("null-text.jsonl", '{"text": "a", "label": "x"}\n{"text": null, "label": "y"}\n', [], ["row 2", "got None"]),
        ("no-label-value.csv", "text,label\na,pos\nb,\n", [], ["row 2", "'label' has no label"]),
        ("zero-rows.csv", "text,label\n", [], ["zero-rows.csv", "no rows"]),
        ("zero-bytes.jsonl", "", [], ["has no rows: the file is empty"]),
        (
            "broken.jsonl",
            '{"text": "a", "label": "pos"}\n' * 4
            + '{"text": "a", "label": \n'
            + '{"text": "a", "label": "pos"}\n' * 40,
            [],
            ["broken.jsonl line 5 is not valid JSON"],
        ),
        ("list.jsonl", '{"text": "a", "label": "pos"}\n' * 4 + "[1, 2]\n", [], ["line 5 should be an object"]),
        ("one-label.jsonl", '{"text": "a film", "label": "pos"}\n' * 40, [], ["one label only (pos)"]),
        ("few.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n', [], ["give more data"]),
        (
            "words.jsonl",
            '{"text": "a", "label": "high"}\n{"text": "b", "label": "low"}\n' * 20,
            ["--problem-type", "regression"],
            ["a regression's label should be a number, got"],
        ),
        ("numbers.csv", "text,label\n" + "a,0.5\nb,1.25\n" * 20, [], ["say --problem-type regression"]),
        ("data.xlsx", "what", [], ["should be a file that ends in .jsonl"]),
    ],
)
def test_data_that_cannot_be_used(
    built: Built, place: Path, tmp_path: Path, name: str, text: str, flags: list[str], words: list[str]
) -> None:
    data = tmp_path / name
    data.write_text(text, encoding="utf-8")
    done = build(built, place, *flags, "--json", data=data)
    sentence = refused(done, 2, *words)
    assert len(sentence.splitlines()) == 1
    assert done.document["exit_code"] == 2
    assert nothing_made(place)


def test_no_data_file(built: Built, place: Path, tmp_path: Path) -> None:
    refused(build(built, place, data=tmp_path / "nowhere.jsonl"), 2, "no data file", "nowhere.jsonl")
    assert nothing_made(place)


def test_a_label_that_the_trained_head_does_not_have(built: Built, place: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.jsonl", 40)
    with data.open("a", encoding="utf-8") as file:
        file.write('{"text": "an odd one", "label": "mixed"}\n')
    done = call(
        "build", built.artifact("prepare", 0).file("checkpoint"), "--data", data, "--pipeline", built.pipeline,
        "--target", built.target, "--store", place / "store", "--output", place / "dist",
    )  # fmt: skip
    refused(done, 2, "the label 'mixed' is not one the model has (neg, pos)", "row 41")
    assert nothing_made(place)


def test_a_label_of_the_test_data_that_training_never_saw(built: Built, place: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "test.jsonl", 20, seed=3)
    with data.open("a", encoding="utf-8") as file:
        file.write('{"text": "an odd one", "label": "mixed"}\n')
    refused(build(built, place, "--test-data", data), 2, "row 21", "the label 'mixed' is not one the model has")
    assert nothing_made(place)


# Places


def test_a_store_that_cannot_be_written(built: Built, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    done = call(*built.arguments, "--store", tmp_path / "file" / "store", "--output", tmp_path / "dist", "--json")
    refused(done, 8, "could not write", "choose another place with --store")
    assert done.document["exit_code"] == 8
    assert not (tmp_path / "dist").exists()


def test_an_output_that_cannot_be_written(built: Built, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    refused(built.again(output=tmp_path / "file" / "dist"), 8, "could not write", "--output")


def test_an_event_log_that_cannot_be_written(built: Built, tmp_path: Path) -> None:
    done = built.again("--events", tmp_path / "no" / "such" / "folder" / "events.jsonl", output=tmp_path / "dist")
    assert done.code in (2, 8), done.err
    refused(done, done.code, "events.jsonl")


@pytest.mark.parametrize("limit_bytes", [4_000, 20_000, 120_000, 200_000])
def test_files_that_may_not_grow(built: Built, tmp_path: Path, limit_bytes: int) -> None:
    # RLIMIT_FSIZE: the limit is met in checkpoints, in Trainer's resume state or in what is written first.
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    store = tmp_path / "store"
    done = run(*built.arguments, "--store", store, "--output", tmp_path / "dist", "--json", preexec_fn=limit)
    refused(done, 8, "could not write")
    assert done.document["exit_code"] == 8
    assert "prepare" not in stages_in(store) or limit_bytes > 120_000
    assert not any(path.name.startswith((".tmp", ".old")) for path in store.glob("*/*"))
    assert not (tmp_path / "dist").exists()


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("mounting a small file system isn't possible here")
    try:
        yield folder
    finally:
        # Lazily: a traceback in this process may still hold a file of it.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root mounts file systems")
@pytest.mark.parametrize("size_bytes", [40 << 10, 150 << 10, 400 << 10, 700 << 10])
def test_no_space_left(built: Built, tmp_path: Path, size_bytes: int) -> None:
    with small_disk(tmp_path / "disk", size_bytes) as disk:
        done = call(*built.arguments, "--store", disk / "store", "--output", tmp_path / "dist", "--json")
        refused(done, 8, "could not write", "no space left")
        assert done.document["exit_code"] == 8
        made = list(Store(disk / "store").artifacts())
        assert len(made) < STAGE_COUNT
        for artifact in made:
            assert Store(disk / "store").find(artifact.manifest.stage, artifact.key) is not None, (
                "what is there is whole"
            )
        assert not any(path.name.startswith((".tmp", ".old")) for path in (disk / "store").glob("*/*"))
        assert not (tmp_path / "dist").exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root mounts file systems")
def test_no_space_left_for_the_package(built: Built, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 20 << 10) as disk:
        refused(built.again(output=disk / "dist"), 8, "could not write", "no space left")
        assert not (disk / "dist" / built.package.name).exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root mounts file systems")
def test_no_space_left_for_a_model_package(built: Built, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 20 << 10) as disk:
        done = call("package", "merge", built.package, "--output", disk / "release")
        refused(done, 8, "could not write", "no space left")
        assert [path.name for path in disk.iterdir()] == [".edgeprune.lock"]


# Manifests


def edit_manifest(built: Built, store: Path, change: Callable[[dict[str, object]], None]) -> Path:
    artifact = built.artifact("prune")
    path = store / "prune" / artifact.key / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_manifest_of_a_newer_schema(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    path = edit_manifest(built, store, lambda content: content.update(schema_version=3, something_new=True))
    before = path.read_bytes()
    done = call(*built.arguments, "--store", store, "--output", tmp_path / "dist", "--json")
    refused(done, 2, f"{path} has schema_version 3, but this edgeprune reads 2", "--store")
    assert path.read_bytes() == before, "it is not ours to replace"
    for command in (["store", "list"], ["store", "gc", "--older-than", "0"]):
        refused(call(*command, "--store", store), 2, "schema_version 3")
    assert not (tmp_path / "dist").exists()


def test_a_build_json_of_a_newer_schema(built: Built, tmp_path: Path) -> None:
    path = tmp_path / "build.json"
    path.write_text(json.dumps({**built.report, "schema_version": 2}), encoding="utf-8")
    refused(call("compare", path), 2, "schema_version")
    path.write_text("{}", encoding="utf-8")
    refused(call("compare", path), 2)
    path.write_text('{"a": ', encoding="utf-8")
    refused(call("compare", path), 2, "is not a build.json")


def test_a_pruning_record_of_a_newer_schema(built: Built, place: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(built.artifact("finetune").file("checkpoint"), tmp_path / "pruned"))
    record = json.loads((model / "pruning.json").read_text(encoding="utf-8"))
    (model / "pruning.json").write_text(json.dumps({**record, "schema_version": 2}), encoding="utf-8")
    refused(build(built, place, model=model), 2, "pruning.json has schema_version 2")
    assert nothing_made(place)
    (model / "pruning.json").write_text(
        json.dumps({**record, "layers": [{"index": 0, "heads": [0], "neurons": [0]}]}), encoding="utf-8"
    )
    refused(build(built, place, model=model), 2, "the files don't belong together")
    (model / "pruning.json").write_text(
        json.dumps({**record, "layers": [{"heads": [0], "neurons": [0]}]}), encoding="utf-8"
    )
    refused(build(built, place, model=model), 2, "is not a valid pruning record: layers.0.index")
    (model / "pruning.json").write_text(json.dumps(record)[:-20], encoding="utf-8")
    refused(build(built, place, model=model), 2, "is not a valid pruning record")
    assert nothing_made(place)


# A command that says nothing


def test_no_command_and_an_unknown_one() -> None:
    done = call("bild")
    assert done.code == 2
    assert len(done.complaints) == 1
    assert "bild" in done.complaints[0]
    done = call("build")
    assert done.code == 2
    assert len(done.complaints) == 1

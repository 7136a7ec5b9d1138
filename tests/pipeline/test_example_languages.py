"""edgeprune/pipeline/example_languages.py: what is refused before anything is trained."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ModelFactory
from tests.support.e2e import Ran, build_structured, refused_untrained, write_rows


def build(folder: Path, model: Path, languages: str, *more: str, task: str = "text-classification") -> Ran:
    return build_structured(folder, model, "--set", f"stages.package.examples={languages}", *more, task=task)


@pytest.mark.parametrize(
    ("languages", "named", "rest"),
    [("[js, cpp]", "cpp", "leave it out"), ("[cpp, java]", "cpp, java", "leave them out")],
)
def test_a_language_that_needs_the_graph_that_reads_texts(
    tiny_model_folder: ModelFactory, tmp_path: Path, languages: str, named: str, rest: str
) -> None:
    assert refused_untrained(build(tmp_path, tiny_model_folder(), languages), tmp_path) == (
        f"stages.package.examples names {named}, whose program reads texts with the graph of stages.package.tokenizer: graph; set "
        f"that too, or {rest}"
    )


def test_a_task_that_needs_more_than_tokens(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    done = build(tmp_path, tiny_model_folder(head="ForMaskedLM"), "[js]", task="fill-mask")
    assert refused_untrained(done, tmp_path) == (
        "stages.package.examples names js, which is for text-classification and feature-extraction, but this build is for "
        "fill-mask; leave it out"
    )


def test_pairs_of_texts(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"text": "good .", "other": "bad .", "label": "pos"}] * 30)
    done = build(tmp_path, tiny_model_folder(), "[js]", "--pair-column", "other")
    assert "which takes one text, but --pair-column names a second one" in refused_untrained(done, tmp_path)


def test_a_tokenizer_that_splits_special_tokens(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    (model / "tokenizer_config.json").write_text(
        json.dumps(settings | {"split_special_tokens": True}), encoding="utf-8"
    )
    assert refused_untrained(build(tmp_path, model, "[js]"), tmp_path) == (
        "stages.package.examples names js, but this tokenizer splits special tokens that stand in a text, which tokenizers for Node "
        "can't be told; leave js out"
    )


@pytest.mark.parametrize(
    ("languages", "said"),
    [
        ("[cobol]", ": stages.package.examples.0: 'cobol' is not one of 'cpp', 'js', 'java' or 'kotlin'"),
        ("[js, js]", "js is named twice; name each language once"),
    ],
)
def test_languages_that_cannot_be(tiny_model_folder: ModelFactory, tmp_path: Path, languages: str, said: str) -> None:
    done = build(tmp_path, tiny_model_folder(), languages)
    assert refused_untrained(done, tmp_path).startswith(f"--set stages.package.examples={languages}: ")
    assert said in done.err


def test_what_can_be_written_is_planned(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    done = build(
        tmp_path,
        tiny_model_folder(head="Model"),
        "[cpp, js, java, kotlin]",
        "--set",
        "stages.package.tokenizer=graph",
        "--set",
        "stages.prepare.max_length=16",
        "--plan",
        "--json",
    )
    assert done.code == 0, done.err
    assert "examples" in [row["stage"] for row in done.document["stages"]]

import json
from pathlib import Path

import pytest

from edgeprune.base.errors import ModelError
from edgeprune.models.sentence_settings import SentenceSettings, read_sentence_settings


def folder_of(folder: Path, **files: object) -> Path:
    for name, content in {"modules": [], **files}.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_bare_encoder_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    assert read_sentence_settings(tmp_path) == SentenceSettings()


@pytest.mark.parametrize("name", ["sentence_bert_config", "sentence_roberta_config", "sentence_xlm-roberta_config"])
def test_length_and_case_are_read_under_all_names(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, **{name: {"max_seq_length": 256, "do_lower_case": True}})
    assert read_sentence_settings(folder) == SentenceSettings(lowercase=True, max_length=256)


@pytest.mark.parametrize(("given", "read"), [(128, 128), (1e30, None), (None, None)])
def test_newer_folders_have_the_length_with_the_tokenizer(
    tmp_path: Path, given: float | None, read: int | None
) -> None:
    folder = folder_of(tmp_path, tokenizer_config={"model_max_length": given}, sentence_bert_config={})
    assert read_sentence_settings(folder).max_length == read


def test_prompts_that_are_not_written_by_default_are_named(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "document": "", "title": "title: "}
    folder = folder_of(tmp_path, config_sentence_transformers={"prompts": prompts, "default_prompt_name": None})
    assert read_sentence_settings(folder).prompts == ("query", "title")


def test_a_prompt_that_is_written_by_default_is_refused(tmp_path: Path) -> None:
    described = {"prompts": {"query": "query: ", "none": ""}, "default_prompt_name": "query"}
    folder = folder_of(tmp_path, config_sentence_transformers=described)
    with pytest.raises(
        ModelError, match=r"writes the prompt 'query' \('query: '\) before every text, packages write none"
    ):
        read_sentence_settings(folder)
    folder_of(tmp_path, config_sentence_transformers={**described, "default_prompt_name": "none"})
    assert read_sentence_settings(folder).prompts == ("query",)


@pytest.mark.parametrize("content", ["{", "[1]", '{"prompts": [1]}'])
def test_a_description_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ModelError, match=r"config_sentence_transformers\.json"):
        read_sentence_settings(folder_of(tmp_path, config_sentence_transformers=content))

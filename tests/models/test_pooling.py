import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import ModelError
from edgeprune.models.pooling import Pooling, read_pooling

KINDS = ("Transformer", "Pooling", "Normalize", "Dense")


def sentence_model(folder: Path, config: object, kinds: tuple[str, ...] = KINDS[:2]) -> Path:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    modules = [{"idx": index, "type": f"sentence_transformers.models.{kind}"} for index, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def test_a_bare_encoder_says_nothing(tmp_path: Path):
    assert read_pooling(tmp_path) is None


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "word_embedding_dimension": 384}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
    ],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_mean_and_first_token_are_read_in_both_formats(tmp_path: Path, config: Any, mode: Any, normalize: bool):
    folder = sentence_model(tmp_path, config, KINDS[:3] if normalize else KINDS[:2])
    assert read_pooling(folder) == Pooling(mode, normalize)


@pytest.mark.parametrize(
    ("config", "kinds", "named"),
    [
        ({"pooling_mode": "max"}, KINDS[:2], "max"),
        ({"pooling_mode_max_tokens": True}, KINDS[:2], "pooling_mode_max_tokens"),
        ({"pooling_mode": ["mean", "cls"]}, KINDS[:2], "mean + cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, KINDS[:2], "mean + cls"),
        ({"pooling_mode_mean_tokens": False}, KINDS[:2], "no pooling"),
        ({"pooling_mode": "mean"}, KINDS, "Dense"),
    ],
)
def test_another_pooling_is_refused_by_its_name(tmp_path: Path, config: Any, kinds: tuple[str, ...], named: str):
    with pytest.raises(ModelError) as caught:
        read_pooling(sentence_model(tmp_path, config, kinds))
    assert f"sentence embeddings by {named} are not handled; mean and cls pooling are" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("modules.json", "{"), ("modules.json", "[1]"), ("modules.json", '[{"idx": 0}]'), ("modules.json", "[" * 100_000)],
)
def test_a_description_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: str):
    folder = sentence_model(tmp_path, {"pooling_mode": "mean"})
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match="can't be read"):
        read_pooling(folder)


@pytest.mark.parametrize("content", ["[]", "null"])
def test_a_pooling_that_is_no_mapping_is_refused(tmp_path: Path, content: str):
    folder = sentence_model(tmp_path, {})
    (folder / "1_Pooling" / "config.json").write_text(content)
    with pytest.raises(ModelError, match="can't be read"):
        read_pooling(folder)

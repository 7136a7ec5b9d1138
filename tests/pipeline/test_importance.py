"""edgeprune/pipeline/importance.py and edgeprune/pruning/pictures.py: `edgeprune inspect --importance` and `--attention`."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.pruning.importance import Scores, open_scores
from edgeprune.pruning.pictures import _sorted_bins, importance_map
from tests.conftest import ModelFactory
from tests.support.e2e import Built, call

PNG = b"\x89PNG\r\n\x1a\n"


def test_scores_are_spread_over_the_dense_model() -> None:
    units = (0, 1, 2, 3)
    dense = PruningRecord(
        base_digest="", head_dim=8, layers=tuple(LayerRecord(index=i, heads=units, neurons=units) for i in range(3))
    )
    scores = Scores([np.array([5.0, 6.0])], [np.array([1.0])], (LayerRecord(index=2, heads=(1, 3), neurons=(0,)),))
    found = importance_map([scores], dense, None)
    nan = np.nan
    np.testing.assert_array_equal(found.heads, [[nan] * 4, [nan] * 4, [nan, 5, nan, 6]])
    np.testing.assert_array_equal(found.neurons, [[nan] * 4, [nan] * 4, [1, nan, nan, nan]])


def test_of_several_steps_a_unit_has_the_last_scores() -> None:
    whole = tuple(LayerRecord(index=i, heads=(0, 1), neurons=(0, 1)) for i in range(2))
    dense = PruningRecord(base_digest="", head_dim=8, layers=whole)
    first = Scores([np.array([1.0, 2.0])] * 2, [np.array([3.0, 4.0])] * 2, whole)
    second = Scores([np.array([9.0])], [np.array([8.0, 7.0])], (LayerRecord(index=1, heads=(1,), neurons=(0, 1)),))
    found = importance_map([first, second], dense, None)
    np.testing.assert_array_equal(found.heads, [[1, 2], [1, 9]])
    np.testing.assert_array_equal(found.neurons, [[3, 4], [8, 7]])


def test_neurons_that_were_kept_are_drawn_first_whatever_their_scores() -> None:
    whole = (LayerRecord(index=0, heads=(0, 1), neurons=(0, 1, 2, 3)),)
    kept = PruningRecord(base_digest="", head_dim=8, layers=(LayerRecord(index=0, heads=(1,), neurons=(0, 2)),))
    scores = Scores([np.array([1.0, 2.0])], [np.array([1.0, 4.0, 3.0, 2.0])], whole)
    dense = PruningRecord(base_digest="", head_dim=8, layers=whole)
    assert _sorted_bins(importance_map([scores], dense, kept)).tolist() == [[3, 1, 4, 2]]
    assert _sorted_bins(importance_map([scores], dense, None)).tolist() == [[4, 3, 2, 1]]


@pytest.mark.parametrize("what", ["prune", "finetune", "package"])
def test_what_was_pruned_is_drawn_from_the_scores_it_was_pruned_by(built: Built, tmp_path: Path, what: str) -> None:
    path = built.package if what == "package" else built.artifact(what).path
    done = call("inspect", path, "--importance", "--store", built.store, "--output", tmp_path, "--json")
    assert done.code == 0, done.err
    assert done.document["pictures"] == [str(tmp_path / "importance.png"), str(tmp_path / "importance.html")]
    picture = (tmp_path / "importance.png").read_bytes()
    assert picture.startswith(PNG)
    page = (tmp_path / "importance.html").read_text(encoding="utf-8")
    record = json.loads(built.artifact("prune").file("checkpoint/pruning.json").read_text(encoding="utf-8"))
    for layer in record["layers"]:
        heads = " ".join(map(str, layer["heads"]))
        assert f"<tr><td>{layer['index']}</td><td>{heads}</td><td>{len(layer['neurons'])}</td></tr>" in page
    assert "White outlines: what was kept" in page


def test_a_dense_model_is_scored_on_data_once(built: Built, tmp_path: Path) -> None:
    store, dense = tmp_path / "store", built.artifact("prepare", 0).path
    arguments = ["inspect", dense, "--importance", "--data", built.data, "--store", store, "--output", tmp_path]
    first = call(*arguments)
    assert first.code == 0, first.err
    assert "prune 1: from the store" not in first.err
    (scores,) = store.glob("prune/*/scores.safetensors")
    heads = open_scores(scores).scores[0].heads
    assert [len(one) for one in heads] == [4, 4]
    assert all((one > 0).all() for one in heads)
    again = call(*arguments)
    assert again.code == 0
    assert "prune 1: from the store" in again.err
    assert "White outlines" not in (tmp_path / "importance.html").read_text(encoding="utf-8")


def test_without_scores_and_data_there_is_nothing_to_draw(built: Built, tmp_path: Path) -> None:
    done = call("inspect", built.artifact("prepare", 0).path, "--importance", "--output", tmp_path)
    assert done.code == 2
    assert "carries no scores; give --data to compute them on" in done.complaints[0]
    ignored = call(
        "inspect", built.artifact("prune").path, "--importance", "--criterion", "taylor", "--output", tmp_path
    )
    assert ignored.code == 2
    assert "--criterion would not be read: without --data importance is read, not computed" in ignored.complaints[0]
    for option in (["--criterion", "taylor"], ["--data", str(built.data)]):
        alone = call("inspect", built.artifact("prune").path, *option)
        assert alone.code == 2
        assert f"{option[0]} would not be read: importance isn't computed; add --importance" in alone.complaints[0]
    wrong = call(
        "inspect", built.model, "--importance", "--data", built.data, "--criterion", "fischer", "--task",
        "text-classification", "--store", tmp_path / "store",
    )  # fmt: skip
    assert wrong.code == 2
    assert "'fischer' is not one of" in wrong.err
    assert "did you mean 'fisher'?" in wrong.err


@pytest.mark.parametrize("stage", ["prepare", "finetune"])
def test_attention_is_drawn_over_the_tokens_of_a_text(built: Built, tmp_path: Path, stage: str) -> None:
    path = built.artifact(stage, 0 if stage == "prepare" else 1).path
    done = call("inspect", path, "--attention", "the film was great", "--output", tmp_path)
    assert done.code == 0, done.err
    page = (tmp_path / "attention.html").read_text(encoding="utf-8")
    for token in ("[CLS]", "the", "film", "was", "great", "[SEP]"):
        assert f'"{token}"' in page


def test_a_layer_that_is_gone_through_twice_is_drawn_twice(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    done = call("inspect", tiny_model_folder("albert"), "--attention", "the film was great", "--output", tmp_path)
    assert done.code == 0, done.err
    page = (tmp_path / "attention.html").read_text(encoding="utf-8")
    (drawn,) = re.findall(r"const params = ({.*?}); // HACK", page)
    assert [len(layer) for layer in json.loads(drawn)["attention"][0]["attn"]] == [4, 4]


@pytest.mark.parametrize("flags", [["--importance"], ["--attention", "good"]])
def test_a_picture_that_cannot_be_written(built: Built, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    done = call(
        "inspect",
        built.artifact("prune").path,
        *flags,
        "--store",
        built.store,
        "--output",
        tmp_path / "file" / "folder",
    )
    assert done.code == 8
    assert "could not write" in done.complaints[0]


def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bertviz", None)
    done = call("inspect", built.artifact("prune").path, "--attention", "good", "--output", tmp_path)
    assert done.code == 2
    assert "this picture needs bertviz; install it with: pip install 'edgeprune[viz]'" in done.complaints[0]

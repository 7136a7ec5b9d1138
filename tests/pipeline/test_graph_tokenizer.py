"""edgeprune/pipeline/graph_tokenizer.py: what is refused before anything is trained."""

import shutil
import sys
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer

from tests.conftest import ModelFactory
from tests.support.e2e import Ran, build_structured, refused_untrained, write_rows
from tests.support.trained_tokenizers import trained

GRAPH = ("--set", "stages.package.tokenizer=graph")


def build(folder: Path, model: Path, *more: str, task: str = "text-classification") -> Ran:
    return build_structured(folder, model, *GRAPH, *more, task=task)


@pytest.mark.parametrize(
    ("model_type", "kind", "fault"),
    [
        ("roberta", "BPE", "its model is BPE (Lowercase, ByteLevel), not WordPiece"),
        ("modernbert", "BPE", "its model is BPE (Lowercase, ByteLevel), not WordPiece"),
        ("xlm-roberta", "Unigram", "its model is Unigram (Lowercase, Metaspace), not WordPiece"),
        ("albert", "Unigram", "its model is Unigram (Lowercase, Metaspace), not WordPiece"),
        ("deberta-v2", "Unigram", "its model is Unigram (Lowercase, Metaspace), not WordPiece"),
        ("bert", "WordPiece", "its normalizer is Lowercase, not BertNormalizer"),
    ],
)
def test_families_of_other_kinds(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str, kind: str, fault: str
) -> None:
    model = shutil.copytree(tiny_model_folder(model_type), tmp_path / "model")
    trained(kind).save_pretrained(model)
    assert refused_untrained(build(tmp_path, model), tmp_path) == (
        f"stages.package.tokenizer is graph, which reads BERT's kind of tokenizer, but this {model_type} model has another one: "
        f"{fault}; leave it out: the package has a tokenizer.json"
    )


def test_an_added_token_that_no_graph_can_tell(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model_folder(), tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("one\ttwo", normalized=False)])
    tokenizer.save(str(model / "tokenizer.json"))
    assert refused_untrained(build(tmp_path, model), tmp_path) == (
        "the added token 'one\\ttwo' can't be told from the text around it in a graph; leave stages.package.tokenizer out"
    )


def test_tasks_that_need_more_than_tokens(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    done = build(tmp_path, tiny_model_folder(head="ForMaskedLM"), task="fill-mask")
    assert refused_untrained(done, tmp_path) == (
        "stages.package.tokenizer is graph, which is for text-classification and feature-extraction, but this build is for "
        "fill-mask; leave it out: the package has a tokenizer.json"
    )


def test_pairs_of_texts(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"text": "good .", "other": "bad .", "label": "pos"}] * 30)
    done = build(tmp_path, tiny_model_folder(), "--pair-column", "other")
    assert "which takes one text, but --pair-column names a second one" in refused_untrained(done, tmp_path)


def test_an_opset_that_cannot_split_texts(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    done = build(tmp_path, tiny_model_folder(), "--set", "stages.export.opset=19")
    assert refused_untrained(done, tmp_path) == (
        "stages.package.tokenizer is graph, which takes opset 20, but stages.export.opset is 19; raise it, or leave "
        "stages.package.tokenizer out"
    )


def test_without_the_extra(tiny_model_folder: ModelFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_extensions", None)  # Python's own way to say that it isn't there
    assert refused_untrained(build(tmp_path, tiny_model_folder()), tmp_path) == (
        "stages.package.tokenizer: graph needs onnxruntime_extensions; install it with: pip install 'edgeprune[tokenizer-graph]'"
    )


def test_what_is_covered_is_planned(tiny_model_folder: ModelFactory, tmp_path: Path) -> None:
    model = tiny_model_folder(head="Model")
    done = build(tmp_path, model, "--set", "stages.prepare.max_length=16", "--plan", "--json")
    assert done.code == 0, done.err
    assert "text-graph" in [row["stage"] for row in done.document["stages"]]

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from edgeprune.base.errors import ModelError, UsageError
from edgeprune.models.checkpoint import load_any, load_checkpoint, load_tokenizer, save_checkpoint
from edgeprune.profiles.steps import VocabularyStep
from edgeprune.pruning import vocabulary
from edgeprune.pruning.vocabulary import kept_tokens, prune_vocabulary, shrink_tokenizer
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.pruning_context import TinyContext
from tests.support.trained_tokenizers import CORPUS, KINDS, trained


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_the_corpus_are_read_as_before(kind: str):
    tokenizer = trained(kind)
    used = {token for row in tokenizer(CORPUS)["input_ids"] for token in row}
    keep = kept_tokens(tokenizer, used, floor=1, keep_first=0)
    assert len(keep) < len(tokenizer)
    smaller = shrink_tokenizer(tokenizer, keep)
    assert len(smaller) == len(keep)
    for text in CORPUS:
        ids = smaller(text)["input_ids"]
        assert [keep[number] for number in ids] == tokenizer(text)["input_ids"]
        assert smaller.convert_ids_to_tokens(ids) == tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    for name in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(smaller, f"{name}_token") == getattr(tokenizer, f"{name}_token")
        assert keep[getattr(smaller, f"{name}_token_id")] == getattr(tokenizer, f"{name}_token_id")


@pytest.mark.parametrize("kind", KINDS)
def test_other_words_are_spelt_in_smaller_pieces(kind: str):
    tokenizer = trained(kind)
    used = {token for row in tokenizer(CORPUS)["input_ids"] for token in row}
    smaller = shrink_tokenizer(tokenizer, kept_tokens(tokenizer, used, floor=1, keep_first=0))
    ids = smaller("preposterous zebras")["input_ids"]
    assert smaller.unk_token_id not in ids
    assert len(ids) > len(tokenizer("preposterous zebras")["input_ids"])


def test_the_floor_is_filled_from_the_front():
    tokenizer = trained("WordPiece")
    least = kept_tokens(tokenizer, set(), floor=1, keep_first=0)
    more = kept_tokens(tokenizer, set(), floor=len(least) + 7, keep_first=0)
    assert len(more) == len(least) + 7
    added = sorted(set(more) - set(least))
    assert added == [number for number in range(added[-1] + 1) if number not in least]
    assert set(range(9)) <= set(kept_tokens(tokenizer, set(), floor=1, keep_first=9))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "distilbert", "electra"])
def test_outputs_for_the_corpus_stay_and_the_checkpoint_loads(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str
):
    context = TinyContext(tiny_model_folder(model_type), rows=4)
    before, rows = context.outputs(), context.pruned.model.get_input_embeddings().num_embeddings
    prune_vocabulary(VocabularyStep(method="vocabulary", floor=1), context.pruned, context)
    assert context.pruned.model.get_input_embeddings().num_embeddings < rows
    np.testing.assert_allclose(context.outputs(), before, atol=1e-6)
    save_checkpoint(
        context.pruned.model, tmp_path / "saved", record=context.pruned.record, reader=context.pruned.reader
    )
    loaded, tokenizer = load_checkpoint(tmp_path / "saved", context.task.auto_class), load_tokenizer(tmp_path / "saved")
    inputs = tokenizer(context.contents, padding=True, return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**inputs).logits, context.pruned.model(**inputs).logits, atol=0, rtol=0)
    assert f"of {rows:,} tokens are left" in context.notes[-1]


class WithMoreTexts(TinyContext):
    """A context with a text beside those that are learned from with labels."""

    @property
    def corpus(self) -> list[str]:
        return [*self.contents, "superb"]


def test_texts_without_labels_are_counted_too(tiny_model_folder: ModelFactory):
    folder, found = tiny_model_folder(), []
    for kind in (TinyContext, WithMoreTexts):
        context = kind(folder, rows=1)
        (token,) = load_tokenizer(folder)("superb", add_special_tokens=False)["input_ids"]
        context.contents = ["bad"]
        prune_vocabulary(VocabularyStep(method="vocabulary", floor=1), context.pruned, context)
        found.append(token in (context.pruned.record.vocabulary or ()))
    assert found == [False, True]


def test_a_second_time_ids_are_still_the_dense_models(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder(), rows=12)
    prune_vocabulary(VocabularyStep(method="vocabulary", floor=1), context.pruned, context)
    context.contents = context.contents[:2]
    before = context.outputs()
    prune_vocabulary(VocabularyStep(method="vocabulary", floor=1), context.pruned, context)
    np.testing.assert_allclose(context.outputs(), before, atol=1e-6)
    batch = next(iter(context.batches(2)))
    dense = load_any(context.folder)
    with torch.inference_mode():
        ours = context.run(context.pruned.model, batch)
        torch.testing.assert_close(context.run(dense, context.dense_batch(batch)), ours, atol=1e-6, rtol=1e-6)


def test_a_corpus_of_ones_own(tiny_model_folder: ModelFactory, tmp_path: Path):
    context = TinyContext(tiny_model_folder(), rows=4)
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "good\u2028film ."}\n\n{"text": "bad plot ."}\n', encoding="utf-8")
    prune_vocabulary(VocabularyStep(method="vocabulary", corpus=path, floor=1), context.pruned, context)
    assert {"good", "film", "bad", "plot"} <= set(context.pruned.reader.tokenizer.get_vocab())
    assert "superb" not in context.pruned.reader.tokenizer.get_vocab()


def test_a_corpus_is_read_to_its_end_in_parts(
    tiny_model_folder: ModelFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vocabulary, "_TEXTS_AT_ONCE", 2)
    context = TinyContext(tiny_model_folder(), rows=4)
    path = tmp_path / "corpus.txt"
    path.write_text("good\ngood\nfilm\nbad\nplot\n", encoding="utf-8")
    prune_vocabulary(VocabularyStep(method="vocabulary", corpus=path, floor=1, min_count=2), context.pruned, context)
    kept = context.pruned.reader.tokenizer.get_vocab()
    assert "good" in kept
    assert not {"film", "bad", "plot"} & set(kept), "counts are of the whole corpus"
    other = TinyContext(tiny_model_folder(), rows=4)
    prune_vocabulary(VocabularyStep(method="vocabulary", corpus=path, floor=1), other.pruned, other)
    assert {"good", "film", "bad", "plot"} <= set(other.pruned.reader.tokenizer.get_vocab())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "\n \n"),
        ("c.jsonl", "{"),
        ("c.jsonl", '{"body": "x"}'),
        ("c.jsonl", '{"text": null}'),
        ("c.txt", None),
    ],
)
def test_a_corpus_that_is_none(tiny_model_folder: ModelFactory, tmp_path: Path, name: str, content: str | None):
    context = TinyContext(tiny_model_folder(), rows=4)
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="the corpus"):
        prune_vocabulary(VocabularyStep(method="vocabulary", corpus=tmp_path / name), context.pruned, context)


def test_another_kind_of_tokenizer_is_refused():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), unk_token="[UNK]"
    )
    with pytest.raises(
        ModelError, match="model is WordLevel; only a vocabulary of WordPiece, BPE or Unigram can be pruned"
    ):
        shrink_tokenizer(tokenizer, [0, 1])


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_masked_language_model_predicts_the_tokens_that_are_left(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str
):
    folder = tiny_model_folder(model_type, "ForMaskedLM", spare=2)
    context = TinyContext(folder)
    model, inputs = context.pruned.model, context.pruned.reader.tokenizer("the film was good", return_tensors="pt")
    with torch.inference_mode():
        before = model(**inputs).logits
    prune_vocabulary(VocabularyStep(method="vocabulary", floor=1), context.pruned, context)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    kept = list(context.pruned.record.vocabulary or ())
    assert len(kept) == before.shape[-1] - 2
    save_checkpoint(model, tmp_path, record=context.pruned.record, reader=context.pruned.reader)
    inputs = context.pruned.reader.tokenizer("the film was good", return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs).logits, before[..., kept])
        torch.testing.assert_close(load_any(tmp_path)(**inputs).logits, before[..., kept])

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.base.errors import ModelError
from edgeprune.models.checkpoint import load_any
from edgeprune.models.text_reader import TextReader, load_text_reader
from edgeprune.ondevice.postprocess_fill_mask import CANDIDATES, answer, decision, kept
from edgeprune.pruning.vocabulary import kept_tokens, shrink_tokenizer
from edgeprune.tasks.evaluation import to_batch
from edgeprune.tasks.example import IGNORED, Example
from edgeprune.tasks.fill_mask import FillMask, _word_of_characters
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.trained_tokenizers import CORPUS, KINDS, trained

TEXT = "naïve café crowds loved the preposterous film and its unbelievably clever ending"


def masker(max_length: int = 64) -> FillMask:
    task = task_for(TaskSpec(task="fill-mask", max_length=max_length, inputs=("input_ids",)))
    assert isinstance(task, FillMask)
    return task


@pytest.mark.parametrize("kind", KINDS)
def test_whole_words_are_masked_and_are_the_targets(kind: str):
    tokenizer = trained(kind)
    whole = tokenizer(TEXT)["input_ids"]
    (example,) = masker().encode(TextReader(tokenizer, 64), [TEXT])
    (again,) = masker().encode(TextReader(tokenizer, 64), [TEXT])
    assert example.inputs == again.inputs
    assert example.target is not None
    masked = example.target != IGNORED
    ids = np.array(example.inputs["input_ids"])
    assert (ids[masked] == tokenizer.mask_token_id).all()
    assert (ids[~masked] == np.array(whole)[~masked]).all()
    assert (example.target[masked] == np.array(whole)[masked]).all()
    offsets = tokenizer(TEXT, return_offsets_mapping=True)["offset_mapping"]
    hidden = {place for (start, end), one in zip(offsets, masked, strict=True) if one for place in range(start, end)}
    found = [match for match in re.finditer(r"\S+", TEXT) if hidden & set(range(*match.span()))]
    assert len(found) == len({int(row[2]) for row in example.reads}) == round(0.15 * 12) == 2
    assert all(set(range(*match.span())) <= hidden for match in found), "a word is hidden whole"


def test_the_same_words_are_masked_whatever_the_tokenizer():
    tokenizer = trained("WordPiece")
    used = {token for row in tokenizer(CORPUS)["input_ids"] for token in row}
    smaller = shrink_tokenizer(tokenizer, kept_tokens(tokenizer, used, floor=1, keep_first=0))
    words = []
    for one in (tokenizer, smaller):
        (example,) = masker().encode(TextReader(one, 64), [TEXT])
        assert example.target is not None
        offsets = one(TEXT, return_offsets_mapping=True)["offset_mapping"]
        hit = {char for (start, end), on in zip(offsets, example.target != IGNORED, strict=True) if on
               for char in range(start, end)}  # fmt: skip
        words.append({word for word in TEXT.split() if TEXT.index(word) in hit})
    assert words[0] == words[1]
    assert len(smaller(TEXT)["input_ids"]) > len(tokenizer(TEXT)["input_ids"])


@given(st.integers(0, 1000))
def test_a_word_is_right_when_all_of_its_tokens_are(seed: int):
    generator = np.random.default_rng(seed)
    raw = generator.normal(size=(6, 9)).astype(np.float32)
    reads = np.array([(1, 3, 0), (2, 5, 0), (4, int(raw[4].argmax()), 1)])
    found = masker().read(raw, Example({}, reads=reads))
    probabilities = torch.tensor(raw).log_softmax(-1).numpy()
    assert found[0, 0] == (raw[1].argmax() == 3 and raw[2].argmax() == 5)
    assert found[0, 1] == pytest.approx(probabilities[1, 3] + probabilities[2, 5], abs=1e-5)
    assert found[1].tolist() == [1, pytest.approx(probabilities[4].max(), abs=1e-5)]


def test_accuracy_and_pseudo_perplexity():
    task = masker()
    outputs = [np.array([[1, np.log(0.5)], [0, np.log(0.125)]]), np.array([[1, np.log(0.25)]]), np.zeros((0, 2))]
    found = task.summary(task.statistics(outputs, [None] * 3))
    assert found == {"masked_accuracy": pytest.approx(2 / 3), "pseudo_perplexity": pytest.approx(4)}
    assert task.metric_name == "masked_accuracy"
    assert np.isfinite(task.summary(np.array([[0, -1e9, 1]]))["pseudo_perplexity"])


def test_a_text_that_is_cut_masks_the_words_that_are_left():
    tokenizer = trained("WordPiece")
    (example,) = masker(max_length=6).encode(TextReader(tokenizer, 64), [TEXT])
    assert example.target is not None
    assert (example.target != IGNORED).any()
    assert len(example.inputs["input_ids"]) == 6


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_masked_tokens_alone_are_computed_and_teach(tiny_model_folder: ModelFactory, model_type: str):
    folder = tiny_model_folder(model_type, "ForMaskedLM")
    task, model, reader = masker(), load_any(folder), load_text_reader(folder, 64)
    examples = task.encode(reader, ["the film was good and the plot of it", "a stale story ."])
    batch = to_batch(examples, reader)
    targets = batch["targets"]
    whole, _ = task.forward(model, {name: value for name, value in batch.items() if name != "targets"})
    masked, states = task.forward(model, batch, hidden=True)
    assert masked.shape == (int((targets != IGNORED).sum()), whole.shape[-1])
    torch.testing.assert_close(masked, whole[targets != IGNORED])
    assert states[-1].shape[:2] == targets.shape
    expected = torch.nn.functional.cross_entropy(whole.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(task.label_loss(masked, targets), expected)
    torch.testing.assert_close(task.label_loss(masked, targets, "sum"), expected * len(masked))


def test_a_teacher_speaks_of_the_students_tokens():
    outputs = torch.arange(12.0).view(1, 3, 4)
    assert masker().among(outputs, torch.tensor([3, 1])).tolist() == [[[3, 1], [7, 5], [11, 9]]]


def test_a_tokenizer_without_a_mask_is_refused():
    tokenizer = trained("WordPiece")
    tokenizer.mask_token = None
    with pytest.raises(ModelError, match="has no mask token"):
        masker().encode(TextReader(tokenizer, 64), [TEXT])


def test_a_package_gives_the_best_tokens_of_every_mask():
    tokenizer = SimpleNamespace(token_to_id={"[MASK]": 4}.__getitem__, id_to_token="t{}".format)
    model = SimpleNamespace(config={"mask_token": "[MASK]"}, inputs=SimpleNamespace(tokenizer=tokenizer))
    encoding = SimpleNamespace(ids=[2, 4, 7, 4, 3])
    output = np.random.default_rng(0).normal(size=(5, 1200))
    found = answer(output, encoding, "…", model)["masks"]
    for row, candidates in zip((1, 3), found, strict=True):
        best = np.argsort(-output[row])[:CANDIDATES]
        assert [one["token"] for one in candidates] == [f"t{number}" for number in best]
    np.testing.assert_array_equal(kept(output, encoding, model), output[[1, 3]][:, ::2])
    assert decision({"masks": found}) == [one[0]["token"] for one in found]


def test_a_golden_text_asks_for_a_word_that_is_not_cut():
    tokenizer = trained("WordPiece")
    assert masker().golden_text("the film was good", tokenizer) == "the film [MASK] good"
    task = masker(max_length=8)
    text = str(task.golden_text("the film was good and " * 50, tokenizer))
    ids = tokenizer(text, truncation=True, max_length=8)["input_ids"]
    assert ids.count(tokenizer.mask_token_id) == 1


def test_scripts_without_spaces_are_masked_by_letter():
    text = "今日は映画館で ผมดูหนัง good films 영화가"
    words = _word_of_characters(text)
    assert words[:7] == list(range(7))
    assert words[7] == -1
    thai = words[8 : text.index(" good")]
    assert len(set(thai)) >= 6
    assert len(set(words[text.index("good") : text.index("good") + 4])) == 1
    assert len(set(words[-3:])) == 1


def test_words_that_the_tokenizer_does_not_know_are_not_asked_for():
    tokenizer = trained("WordPiece")
    (example,) = masker().encode(TextReader(tokenizer, 64), ["Ω ✓ film ✓ ✓ ✓ ✓"])
    assert example.reads[:, 1].tolist() == [tokenizer.convert_tokens_to_ids("film")]

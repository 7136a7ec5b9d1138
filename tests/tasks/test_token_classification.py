from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from edgeprune.base.errors import DataError
from edgeprune.data.table import Table
from edgeprune.models.text_reader import TextReader
from edgeprune.ondevice.postprocess_token_classification import answer, first_tokens, spans, words
from edgeprune.tasks.example import IGNORED, Example
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.roles import Task
from edgeprune.tasks.spec import TaskSpec
from tests.support.trained_tokenizers import KINDS, trained

LABELS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
TEXT = "the naïve films unbelievably was good , and preposterous"


def tagger(labels: tuple[str, ...] = LABELS, max_length: int = 64) -> Task:
    return task_for(TaskSpec(task="token-classification", labels=labels, max_length=max_length, inputs=("input_ids",)))


def rows_of(tags: list[list[str]]) -> list[np.ndarray]:
    return [np.eye(len(LABELS), dtype=np.float32)[[LABELS.index(tag) for tag in row]] for row in tags]


tag_rows = st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=8), min_size=1, max_size=6)


@given(st.lists(st.sampled_from([*LABELS, "E-LOC", "S-LOC", "E-PER", "S-PER"]), max_size=10))
def test_spans_are_seqevals(tags: list[str]):
    assert spans(tags) == [(label, first, last + 1) for label, first, last in get_entities(tags)]


@pytest.mark.filterwarnings("ignore")
@given(tag_rows, st.randoms(use_true_random=False))
def test_f1_is_seqevals(tags: list[list[str]], random: "np.random.Generator"):
    predicted = [[random.choice([tag, "O", "B-LOC"]) for tag in row] for row in tags]
    task = tagger()
    references = task.references(Table([" ".join("w" * len(row)) for row in tags], tags), where="here")  # type: ignore[arg-type]
    found = task.summary(task.statistics(rows_of(predicted), references))
    assert task.metric_name == "f1"
    for name, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert found[name] == pytest.approx(score(tags, predicted, zero_division=0))
    flat = [a == b for one, other in zip(tags, predicted, strict=True) for a, b in zip(one, other, strict=True)]
    assert found["accuracy"] == pytest.approx(np.mean(flat))


def test_labels_that_are_no_spans_are_counted_by_word():
    task = tagger(("ADJ", "NOUN"))
    assert task.metric_name == "accuracy"
    found = task.summary(task.statistics([np.eye(2)[[0, 1, 1]]], [("ADJ", "NOUN", "ADJ")]))
    assert found == {"accuracy": pytest.approx(2 / 3)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_has_the_label_of_its_first_token(kind: str):
    tokenizer = trained(kind)
    there = TEXT.split(" ")
    tags = [LABELS[number % 5] for number in range(len(there))]
    task = tagger()
    references = task.references(Table([TEXT], [tags]), where="here")
    (example,) = task.encode(TextReader(tokenizer, 64), [TEXT], references)
    assert example.target is not None
    assert example.reads is not None
    tokens = tokenizer(TEXT, return_offsets_mapping=True)["offset_mapping"]
    assert len(tokens) > len(there) + 2, "some words have several tokens"
    assert (example.target != IGNORED).sum() == len(there)
    assert example.target[example.reads].tolist() == [LABELS.index(tag) for tag in tags]
    for word, token in zip(there, example.reads, strict=True):
        start, end = tokens[token]
        piece = TEXT[start:end].strip()
        assert piece
        assert word.startswith(piece)
    raw = np.random.default_rng(0).normal(size=(len(tokens), 5)).astype(np.float32)
    np.testing.assert_array_equal(task.read(raw, example), raw[example.reads])


def test_words_behind_the_cut_are_outside():
    tokenizer = trained("WordPiece")
    task = tagger(max_length=5)
    references = task.references(Table([TEXT], [["B-LOC"] * 9]), where="here")
    (example,) = task.encode(TextReader(tokenizer, 64), [TEXT], references)
    found = task.read(np.ones((5, 5), np.float32) * np.arange(5)[::-1], example)
    assert found.shape == (9, 5)
    summary = task.summary(task.statistics([found], references))
    seen = int((example.reads >= 0).sum())
    assert 1 <= seen <= 3
    assert summary["accuracy"] == pytest.approx(seen / 9)
    assert summary["precision"] == 1
    assert summary["recall"] == pytest.approx(seen / 9)
    assert task.behind_cut([example]) == pytest.approx(1 - seen / 9)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["O"], "row 7: expected a label for each of 2 words, got 1"),
        ("O", "row 7: expected a label for each of 2 words, got 'O'"),
        (["O", "B-X"], "row 7: the label 'B-X' is not one the model has (B-LOC, B-PER, I-LOC, I-PER, O)"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_their_row(labels: object, message: str):
    with pytest.raises(DataError) as caught:
        tagger().references(Table(["two words"], [labels], [7]), where="train")  # type: ignore[list-item]
    assert message in str(caught.value)


def test_only_tokens_with_a_target_teach():
    task, targets = tagger(), torch.tensor([[IGNORED, 1, IGNORED], [2, IGNORED, IGNORED]])
    student, teacher = torch.randn(2, 2, 3, 5)
    teacher[targets != IGNORED] = student[targets != IGNORED]
    assert task.distill_loss(student, teacher, 2.0, targets).item() == pytest.approx(0, abs=1e-6)
    expected = torch.nn.functional.cross_entropy(student.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(task.label_loss(student, targets), expected)
    assert task.label_loss(student, torch.full((2, 3), IGNORED)).item() == 0


def test_a_package_gives_spans_with_their_characters():
    model = SimpleNamespace(config={"labels": list(LABELS)})
    encoding = SimpleNamespace(offsets=[(0, 0), (0, 3), (3, 6), (6, 7), (8, 11), (12, 14), (0, 0)])
    text = "ParisX, New Yo"
    logits = np.full((7, 5), -9.0)
    for token, label in ((1, "B-LOC"), (2, "O"), (3, "O"), (4, "B-PER"), (5, "I-PER")):
        logits[token, LABELS.index(label)] = 9
    found = answer(logits, encoding, text, model)["spans"]
    assert [(one["label"], one["text"]) for one in found] == [("LOC", "ParisX"), ("PER", "New Yo")]
    assert all(text[one["start"] : one["end"]] == one["text"] for one in found)
    assert found[0]["score"] == pytest.approx(1, abs=1e-3)


def test_a_token_of_several_words_makes_them_one():
    model = SimpleNamespace(config={"labels": list(LABELS)})
    encoding = SimpleNamespace(offsets=[(0, 0), (0, 3), (4, 7), (0, 0)])
    logits = np.zeros((4, 5))
    logits[1:3, LABELS.index("B-LOC")] = 9
    found = answer(logits, encoding, "a#b XYZ", model)["spans"]
    assert [(one["start"], one["end"], one["text"]) for one in found] == [(0, 3, "a#b"), (4, 7, "XYZ")]
    assert answer(logits, encoding, " ", model) == {"spans": []}


def test_words_of_a_text_are_those_of_the_fields_data():
    text = "The U.N. and Jean-Paul O'Neill paid $3.5m, or 1,000 yen. 北京 good,bad"
    assert [text[start:end] for start, end in words(text, "")] == [
        "The", "U.N.", "and", "Jean-Paul", "O'Neill", "paid", "$", "3.5m", ",", "or", "1,000", "yen", ".", "北", "京",
        "good", ",", "bad",
    ]  # fmt: skip


def test_other_names_of_the_same_tags():
    assert spans(["U-PER", "O", "B-LOC", "I-LOC", "L-LOC", "U-LOC"]) == [("PER", 0, 1), ("LOC", 2, 5), ("LOC", 5, 6)]


def test_words_are_found_in_tokens_that_begin_before_them():
    assert first_tokens([(0, 3), (4, 6), (7, 8)], [(0, 0), (0, 1), (1, 3), (3, 6), (0, 0)]) == [1, 3, -1]


def test_a_reported_span_is_one_that_run_py_answers():
    """Signs that cut the data's words belong to them; what a model says of these words, the package says of the text."""
    tokenizer, signs = trained("WordPiece"), "&+@"
    task = task_for(
        TaskSpec(task="token-classification", labels=LABELS, max_length=64, inputs=("input_ids",), word_signs=signs)
    )
    text, tags = "the @film of act&film was good+", ["O", "B-PER", "O", "B-LOC", "O", "I-LOC"]
    references = task.references(Table([text], [tags]), where="here")
    assert references == [tuple(tags)]
    (example,) = task.encode(TextReader(tokenizer, 64), [text], references)
    raw = np.eye(5, dtype=np.float32)[[LABELS.index("O") if one == IGNORED else one for one in example.target]]
    output = task.read(raw, example)
    summary = task.summary(task.statistics([output], references))
    assert summary == {"f1": 1, "precision": 1, "recall": 1, "accuracy": 1}
    tokens = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    model = SimpleNamespace(config={"labels": list(LABELS), "word_signs": signs})
    answered = answer(raw, SimpleNamespace(offsets=tokens), text, model)
    assert [one["text"] for one in answered["spans"]] == ["@film", "act&film", "good+"]
    assert [{name: one[name] for name in ("label", "start", "end")} for one in answered["spans"]] == task.said(
        output, text
    )["spans"]


def test_a_word_of_the_data_that_is_several_is_measured_as_several():
    task = tagger()
    (reference,) = task.references(Table(["St. Louis ,"], [["B-LOC", "I-LOC", "O"]]), where="here")
    assert reference == ("B-LOC", "I-LOC", "I-LOC", "O")
    whole, cut = (rows_of([list(tags)])[0] for tags in (reference, ("B-LOC", "O", "B-LOC", "O")))
    assert task.metric([whole], [reference]) == 1
    assert task.metric([cut], [reference]) == 0


def test_words_that_share_a_token_are_one_for_metric_and_answer():
    task, text = tagger(), "a#b XYZ"
    offsets = [(0, 0), (0, 3), (4, 7), (0, 0)]
    raw = np.zeros((4, 5), np.float32)
    raw[1:3, LABELS.index("B-LOC")] = 9
    output = task.read(raw, Example({}, reads=np.array(first_tokens(words(text, ""), offsets))))
    expected = [{"label": "LOC", "start": 0, "end": 3}, {"label": "LOC", "start": 4, "end": 7}]
    assert task.said(output, text) == {"spans": expected}
    reference = ("B-LOC", "I-LOC", "I-LOC", "B-LOC")
    assert task.summary(task.statistics([output], [reference])) == {"f1": 1, "precision": 1, "recall": 1, "accuracy": 1}

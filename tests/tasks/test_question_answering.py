from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.base.errors import DataError
from edgeprune.data.table import Table
from edgeprune.models.text_reader import TextReader
from edgeprune.ondevice.postprocess_question_answering import LONGEST, answer, best_span
from edgeprune.tasks.example import IGNORED, Example
from edgeprune.tasks.question_answering import QuestionAnswering, squad_scores
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.support.trained_tokenizers import KINDS, trained

QUESTION, CONTEXT = "the plot was", "a stale story with a clever ending , and with actors who act"


def reader(max_length: int = 64, *, unanswerable: bool = False) -> QuestionAnswering:
    spec = TaskSpec(
        task="question-answering", pair=True, max_length=max_length, inputs=("input_ids",), unanswerable=unanswerable
    )
    task = task_for(spec)
    assert isinstance(task, QuestionAnswering)
    return task


def label(text: str, start: int | None = None) -> dict[str, Any]:
    return {"text": [text], "answer_start": [CONTEXT.rindex(text) if start is None else start]}


@pytest.mark.parametrize(
    ("found", "right", "f1", "exact"),
    [
        ("The Clever, ending!", ["clever ending"], 1.0, 1.0),
        ("a clever ending", ["ending"], 2 / 3, 0.0),
        ("story", ["ending", "stale story"], 2 / 3, 0.0),
        ("ending", ["story", "ending"], 1.0, 1.0),
        ("ending ending", ["ending"], 2 / 3, 0.0),
        ("story", ["ending"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("story", [], 0.0, 0.0),
        ("", ["story"], 0.0, 0.0),
    ],
)
def test_scores_are_squads(found: str, right: list[str], f1: float, exact: float):
    """Values by hand, by the rules of SQuAD's own script."""
    assert squad_scores(found, right) == pytest.approx((f1, exact))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["a stale", "clever ending ,", "act", "story"])
def test_a_model_that_points_at_the_target_answers_it(kind: str, text: str):
    tokenizer, task = trained(kind), reader()
    table = Table([(QUESTION, CONTEXT)], [label(text)])
    references = task.references(table, where="here")
    (example,) = task.encode(TextReader(tokenizer, 64), table.texts, references)
    assert example.target is not None
    raw = np.zeros((len(example.inputs["input_ids"]), 2), np.float32)
    raw[example.target[0], 0] = raw[example.target[1], 1] = 5
    outputs = [task.read(raw, example)]
    assert outputs[0][0] == 10
    assert task.summary(task.statistics(outputs, references)) == {"f1": 1, "exact_match": 1}


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("clever", ("clever",)),
        (["clever", "a clever ending"], ("clever", "a clever ending")),
        ({"text": "clever"}, ("clever",)),
        ({"text": "clever", "answer_start": 21}, ("clever",)),
        ([{"text": "clever", "answer_start": 21}, {"text": "ending", "answer_start": 28}], ("clever", "ending")),
    ],
)
def test_the_forms_that_answers_come_in(given: Any, texts: tuple[str, ...]):
    (found,) = reader().references(Table([(QUESTION, CONTEXT)], [given]), where="here")
    assert (found.start, found.texts) == (CONTEXT.index("clever"), texts)


@pytest.mark.parametrize("given", [[], {"text": [], "answer_start": []}])
def test_the_forms_that_no_answer_comes_in(given: Any):
    (found,) = reader().references(Table([(QUESTION, CONTEXT)], [given]), where="here")
    assert (found.start, found.texts) == (-1, ())


def test_a_question_without_room_for_a_context_is_refused():
    with pytest.raises(DataError, match=r"the question 'the plot .*' alone has 30 tokens, but texts are cut to 16"):
        reader(max_length=16).encode(TextReader(trained("WordPiece"), 64), [("the plot was " * 10, CONTEXT)])


def test_an_answer_that_ends_in_a_space_is_its_words():
    task = reader()
    references = task.references(Table([(QUESTION, CONTEXT)], [label("story ")]), where="here")
    (example,) = task.encode(TextReader(trained("WordPiece"), 64), [(QUESTION, CONTEXT)], references)
    assert example.target is not None
    assert example.target[0] == example.target[1] != IGNORED


def test_a_row_whose_answer_is_cut_weighs_nothing_in_the_others():
    task, outputs = reader(), torch.randn(3, 5, 2)
    cut = torch.tensor([[1, 2], [IGNORED, IGNORED], [3, 3]])
    whole = torch.tensor([[1, 2], [3, 3]])
    for loss in (task.label_loss, lambda *given: task.label_loss(*given, "sum")):
        torch.testing.assert_close(loss(outputs, cut), loss(outputs[[0, 2]], whole))
    assert task.behind_cut([Example({}, target) for target in cut.numpy()]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "row 3: the answer 'nowhere' is not in its context"),
        (label("story", 3), "row 3: the answer 'story' is not in its context at character 3"),
        ({"answer": "story"}, "row 3: answers should be a text, several texts, or {"),
        ({"text": [None]}, "row 3: answers should be"),
        ({"text": ["story"], "answer_start": ["x"]}, "row 3: answers should be"),
        ({"text": ["story"], "answer_start": [8, 9]}, "row 3: answers should be"),
        ([3], "row 3: answers should be"),
        ([" "], "row 3: answers should be"),
    ],
)
def test_an_answer_that_is_not_there_is_refused_with_its_row(given: Any, message: str):
    with pytest.raises(DataError) as caught:
        reader().references(Table([(QUESTION, CONTEXT)], [given], [3]), where="train")
    assert message in str(caught.value)


def test_an_answer_behind_the_cut_teaches_nothing_and_is_missed():
    task = reader(max_length=12)
    table = Table([(QUESTION, CONTEXT)], [label("act")])
    references = task.references(table, where="here")
    (example,) = task.encode(TextReader(trained("WordPiece"), 64), table.texts, references)
    assert len(example.inputs["input_ids"]) == 12
    assert example.target is not None
    assert example.target.tolist() == [IGNORED, IGNORED]
    loss = task.label_loss(torch.randn(1, 12, 2), torch.as_tensor(example.target)[None])
    assert loss.item() == 0
    outputs = [task.read(np.zeros((12, 2), np.float32), example)]
    assert task.metric(outputs, references) == 0


def test_no_answer_is_the_first_token_where_there_may_be_none():
    task = reader(unanswerable=True)
    table = Table([(QUESTION, CONTEXT)], [{"text": [], "answer_start": []}])
    references = task.references(table, where="here")
    (example,) = task.encode(TextReader(trained("WordPiece"), 64), table.texts, references)
    assert example.target is not None
    assert example.target.tolist() == [0, 0]
    raw = np.zeros((len(example.inputs["input_ids"]), 2), np.float32)
    raw[0] = 1
    assert task.metric([task.read(raw, example)], references) == 1
    raw[0] = -1
    raw[-2] = 1  # "act"
    assert task.metric([task.read(raw, example)], references) == 0


@given(st.integers(0, 1000), st.integers(1, 60), st.booleans())
def test_the_best_span_is_the_best_of_all(seed: int, tokens: int, unanswerable: bool):
    generator = np.random.default_rng(seed)
    output = generator.normal(size=(tokens, 2))
    offsets = [(10 * n, 10 * n + 5) if generator.random() < 0.7 else (-1, -1) for n in range(tokens)]
    options = [
        (output[i, 0] + output[j, 1], (offsets[i][0], offsets[j][1]))
        for i in range(tokens)
        for j in range(i, min(tokens, i + LONGEST))
        if offsets[i] != (-1, -1) and offsets[j] != (-1, -1)
    ]
    none = output[0].sum()
    score, place = max(options, default=(none, (-1, -1)))
    if unanswerable and none > score:
        score, place = none, (-1, -1)
    start, end, found = best_span(output, offsets, unanswerable)
    assert ((start, end), found) == (place, pytest.approx(score))


@pytest.mark.parametrize(("end", "found"), [(LONGEST - 1, True), (LONGEST, False)])
def test_an_answer_has_so_many_tokens_at_most(end: int, found: bool):
    output, offsets = np.zeros((40, 2)), [(10 * n, 10 * n + 5) for n in range(40)]
    output[0, 0] = output[end, 1] = 5
    assert (best_span(output, offsets, False)[2] == 10) is found


def test_an_answer_that_is_cut_in_its_middle_teaches_nothing():
    tokenizer, text = trained("WordPiece"), "with a clever ending"
    whole = len(tokenizer(QUESTION, CONTEXT[: CONTEXT.index(text) + len(text)])["input_ids"])
    for max_length, seen in ((whole, True), (whole - 1, False)):
        task = reader(max_length=max_length)
        references = task.references(Table([(QUESTION, CONTEXT)], [label(text)]), where="here")
        (example,) = task.encode(TextReader(tokenizer, 64), [(QUESTION, CONTEXT)], references)
        assert example.target is not None
        assert bool(example.target[0] != IGNORED) is seen


def test_padding_changes_no_loss():
    task = reader()

    def model(input_ids: torch.Tensor, **_: Any) -> Any:
        logits = input_ids.float()
        return SimpleNamespace(start_logits=logits, end_logits=-logits, hidden_states=())

    ids, mask, target = torch.tensor([[3, 1, 2]]), torch.ones(1, 3), torch.tensor([[1, 2]])
    padded = {"input_ids": torch.tensor([[3, 1, 2, 9, 9]]), "attention_mask": torch.tensor([[1, 1, 1, 0, 0]])}
    short, _ = task.forward(model, {"input_ids": ids, "attention_mask": mask})  # type: ignore[arg-type]
    long, _ = task.forward(model, padded)  # type: ignore[arg-type]
    torch.testing.assert_close(task.label_loss(long, target), task.label_loss(short, target))
    torch.testing.assert_close(task.distill_loss(long, long * 2, 2.0), task.distill_loss(short, short * 2, 2.0))


def test_a_package_gives_the_answers_characters():
    model = SimpleNamespace(config={"unanswerable": True})
    encoding = SimpleNamespace(
        offsets=[(0, 0), (0, 3), (0, 0), (0, 2), (2, 6), (0, 0)], sequence_ids=[None, 0, None, 1, 1, None]
    )
    output = np.zeros((6, 2))
    output[4] = 3
    found = answer(output, encoding, ["who", "it was"], model)
    assert found == {"answer": "was", "start": 3, "end": 6, "score": 6.0}
    output[0] = 4
    assert answer(output, encoding, ["who", "it was"], model)["answer"] == ""

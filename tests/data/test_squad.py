from typing import Any

import pytest

from edgeprune.base.errors import DataError
from edgeprune.data.squad import is_squad, squad_rows

ANSWERS = [{"text": "Anna", "answer_start": 8}]


def squad(*questions: dict[str, Any]) -> dict[str, Any]:
    paragraph = {"context": "made by Anna", "qas": list(questions)}
    return {"version": "1.1", "data": [{"title": "films", "paragraphs": [paragraph]}]}


def test_every_question_is_a_row():
    found = squad_rows(
        squad(
            {"id": "1", "question": "who?", "answers": ANSWERS},
            {"id": "2", "question": "when?", "answers": [], "plausible_answers": ANSWERS, "is_impossible": True},
        ),
        "here",
    )
    shared = {"title": "films", "context": "made by Anna"}
    assert found == [
        {"id": "1", **shared, "question": "who?", "answers": ANSWERS},
        {"id": "2", **shared, "question": "when?", "answers": []},
    ]


@pytest.mark.parametrize("value", [None, [], {}, {"data": []}, {"data": [1]}, {"data": [{"text": "a"}]}])
def test_other_files_are_not_squads(value: Any):
    assert not is_squad(value)


@pytest.mark.parametrize("paragraphs", [None, [1], [{"context": "a"}], [{"context": "a", "qas": [{"question": "b"}]}]])
def test_what_is_half_of_it_is_refused(paragraphs: Any):
    with pytest.raises(DataError, match="here: article 1 of data is not as in SQuAD, which has paragraphs"):
        squad_rows({"data": [{"paragraphs": paragraphs}]}, "here")

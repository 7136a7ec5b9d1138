import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import DataError
from edgeprune.data.table import Text
from edgeprune.models.text_reader import TextReader
from edgeprune.ondevice.preprocess_text import Inputs
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.support.tasks import SINGLE
from tests.support.trained_tokenizers import KINDS, trained

LONG = "the film was good and the plot was stale , with actors who act and crowds"
INPUTS = ("input_ids", "token_type_ids", "attention_mask")


def task_of(max_length: int, *, pair: bool = False) -> Any:
    return task_for(
        TaskSpec(
            task="text-classification", problem_type=SINGLE, labels=("a", "b"), max_length=max_length, inputs=INPUTS, pair=pair
        )
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("text", [LONG, (LONG, "a clever ending"), ("a clever ending", LONG), ("naïve [MASK]", "good")])
def test_training_and_package_are_given_what_transformers_gives(
    tmp_path: Path, kind: str, side: str, text: Text
) -> None:
    tokenizer = trained(kind)
    tokenizer.truncation_side = side
    task, reader = task_of(12, pair=not isinstance(text, str)), TextReader(tokenizer, 12)
    (example,) = task.encode(reader, [text])
    reader.save(tmp_path)
    config = json.loads(json.dumps({**task.reading(reader), "inputs": task.spec.inputs}))
    package = Inputs(tmp_path, config)
    assert {name: values[0].tolist() for name, values in package.feed(package.encode(text)).items()} == example.inputs
    texts = (text,) if isinstance(text, str) else text
    expected = tokenizer(*texts, truncation=True, max_length=12, return_token_type_ids=True)
    assert example.inputs == {name: expected[name] for name in INPUTS}
    assert task.reading_notes(reader) == f"Texts are cut to their {'last' if side == 'left' else 'first'} 12 tokens."


def test_special_tokens_that_are_to_be_split_are_split_in_packages_too(tmp_path: Path) -> None:
    tokenizer = trained("BPE")
    tokenizer.split_special_tokens = True
    task, reader = task_of(64), TextReader(tokenizer, 64)
    (example,) = task.encode(reader, ["good [MASK] film"])
    assert tokenizer.mask_token_id not in example.inputs["input_ids"]
    reader.save(tmp_path)
    package = Inputs(tmp_path, {**task.reading(reader), "inputs": ["input_ids"]})
    assert package.encode("good [MASK] film").ids == example.inputs["input_ids"]


def test_a_text_that_cannot_be_cut_is_refused() -> None:
    task = task_of(5, pair=True)
    task.truncation = "only_second"
    with pytest.raises(
        DataError,
        match=r"'the film was .*' can't be cut to 5 tokens: .*; leave it out, or raise stages\.prepare\.max_length",
    ):
        task.encode(TextReader(trained("WordPiece"), 5), [(LONG, "good")])

"""edgeprune/graph/text_graph.py"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from scipy.special import expit, softmax
from tokenizers import Tokenizer

from edgeprune.base.errors import ModelError
from edgeprune.graph.text_graph import text_session, write_text_graph
from edgeprune.models.spelling import Spelling, spelling_of
from edgeprune.models.wordpiece import read_wordpiece
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.tasks.spec import TaskSpec
from tests.models.test_wordpiece import VOCABULARY, of_bert
from tests.support.graphs import numbers, written

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LABELS = ("bad", "good", "très bien")
TEXTS = ["a", "ab a", "", "c", "a " * 50, "ab"]
MODEL = """
(int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask, int64[batch, sequence] token_type_ids)
=> (float[batch, labels] OUTPUT) {
    label = Gather(table, input_ids)
    scores = ReduceSum<keepdims=0>(label, one)
    masked = ReduceMin<keepdims=0>(attention_mask, one)
    typed = ReduceMax<keepdims=0>(token_type_ids, one)
    fits = Sub(masked, typed)
    fits_wide = Unsqueeze(fits, one)
    text = Cast<to=1>(fits_wide)
    OUTPUT = Mul(scores, text)
}
"""
"""Sums a row of the table for each token, if all tokens are to be read and of the first type. Its values have names that the
outputs get."""
TABLE = numbers(len(VOCABULARY), len(LABELS), seed=1)  # several answers, and none


@cache
def spelling() -> Spelling:
    """The same for every tokenizer here."""
    return spelling_of(of_bert())


def graph_of(folder: Path, spec: TaskSpec, *, output: str = "logits", tokenizer: Tokenizer | None = None) -> Path:
    columns = 1 if spec.problem_type == "regression" else len(LABELS)
    model = written(MODEL.replace("OUTPUT", output), table=TABLE[:, :columns], one=np.array([1]))
    onnx_ir.save(model, folder / "model.onnx")
    tokenizer = tokenizer or of_bert()
    write_text_graph(
        folder / "model.onnx", folder / "text.onnx", spec, read_wordpiece(tokenizer), spelling(),
        max_length=8, from_left=False,
    )  # fmt: skip
    return folder / "text.onnx"


def answers(path: Path) -> list[dict[str, Any]]:
    session = text_session(path, SessionOptions(threads=1))
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("text", "tensor(string)", [1])
    names = [one.name for one in session.get_outputs()]
    return [
        dict(zip(names, session.run(None, {"text": np.array([text], dtype=object)}), strict=True)) for text in TEXTS
    ]


def sums(columns: int = len(LABELS)) -> list[np.ndarray]:
    """What the graph's outputs should be."""
    tokenizer = of_bert()
    tokenizer.enable_truncation(8)
    return [TABLE[tokenizer.encode(text).ids, :columns].sum(0) for text in TEXTS]


def spec_of(problem_type: str | None, task: str = "text-classification") -> TaskSpec:
    labels = () if problem_type in (None, "regression") else LABELS
    return TaskSpec.model_validate({"task": task, "problem_type": problem_type, "labels": labels, "inputs": INPUTS})


def test_one_label(tmp_path: Path) -> None:
    found = answers(graph_of(tmp_path, spec_of("single_label_classification")))
    for one, logits in zip(found, sums(), strict=True):
        assert list(one) == ["label", "scores", "input_ids"]
        assert one["label"].tolist() == [LABELS[int(logits.argmax())]]
        np.testing.assert_allclose(one["scores"], [softmax(logits)], rtol=1e-5)
    assert {one["label"][0] for one in found} > {"très bien"}, "more than one label, and one that isn't ASCII"
    assert found[4]["input_ids"].tolist() == [[2, 4, 4, 4, 4, 4, 4, 3]], "cut, and closed"


def test_several_labels(tmp_path: Path) -> None:
    found = answers(graph_of(tmp_path, spec_of("multi_label_classification")))
    for one, logits in zip(found, sums(), strict=True):
        assert one["labels"].tolist() == [label for label, value in zip(LABELS, logits, strict=True) if value > 0]
        np.testing.assert_allclose(one["scores"], [expit(logits)], rtol=1e-5)
    assert len({len(one["labels"]) for one in found}) > 1


def test_a_number(tmp_path: Path) -> None:
    found = answers(graph_of(tmp_path, spec_of("regression")))
    np.testing.assert_allclose([one["value"] for one in found], sums(1), rtol=1e-5)
    assert list(found[0]) == ["value", "input_ids"]


def test_a_graph_without_a_mask_and_types(tmp_path: Path) -> None:
    text = """(int64[batch, sequence] input_ids) => (float[batch, labels] logits) {
        rows = Gather(table, input_ids)
        logits = ReduceSum<keepdims=0>(rows, one)
    }"""
    onnx_ir.save(written(text, table=TABLE[:, :1], one=np.array([1])), tmp_path / "model.onnx")
    write_text_graph(
        tmp_path / "model.onnx", tmp_path / "text.onnx", spec_of("regression"), read_wordpiece(of_bert()), spelling(),
        max_length=8, from_left=False,
    )  # fmt: skip
    np.testing.assert_allclose([one["value"] for one in answers(tmp_path / "text.onnx")], sums(1), rtol=1e-5)


def test_an_embedding(tmp_path: Path) -> None:
    path = graph_of(tmp_path, spec_of(None, "feature-extraction"), output="sentence_embedding")
    found = answers(path)
    assert list(found[0]) == ["sentence_embedding", "input_ids"]
    np.testing.assert_allclose([one["sentence_embedding"][0] for one in found], sums(), rtol=1e-5)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    tokenizer = of_bert()
    tokenizer.add_tokens([f"token{number}" for number in range(20)])
    (tmp_path / "again").mkdir()
    spec = spec_of("single_label_classification")
    first = graph_of(tmp_path, spec, tokenizer=tokenizer).read_bytes()
    again = Tokenizer.from_str(tokenizer.to_str())
    assert graph_of(tmp_path / "again", spec, tokenizer=again).read_bytes() == first


def test_the_file_is_what_onnx_says_a_file_is(tmp_path: Path) -> None:
    model = onnx.load(graph_of(tmp_path, spec_of("single_label_classification")))
    onnx.checker.check_model(model)
    assert {one.domain for one in model.opset_import} >= {"", "ai.onnx.contrib", "ai.onnx.ml"}
    assert [one.name for one in model.graph.input] == ["text"]


def test_a_model_above_two_gigabytes(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    with source.open("wb") as file:
        file.truncate(2_000_000_001)  # takes no space
    with pytest.raises(ModelError, match="the model is above 2 GB, which one ONNX file can't hold"):
        write_text_graph(
            source, tmp_path / "text.onnx", spec_of("regression"), read_wordpiece(of_bert()), spelling(),
            max_length=8, from_left=False,
        )  # fmt: skip

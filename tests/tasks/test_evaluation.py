from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgeprune.base.errors import ParityError
from edgeprune.graph.session import onnx_session, predict_onnx
from edgeprune.models.checkpoint import load_any
from edgeprune.models.reader import Encoding
from edgeprune.models.text_reader import TextReader, load_text_reader
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.tasks.evaluation import by_length, measure, predict_torch, to_batch, to_torch
from edgeprune.tasks.example import IGNORED, Example, model_inputs
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import MODEL_TYPES, ModelFactory, synthetic_rows


def spec_for(inputs: Sequence[str] = ("input_ids", "attention_mask"), max_length: int = 16) -> TaskSpec:
    return TaskSpec(
        task="text-classification",
        problem_type="single_label_classification",
        labels=("neg", "pos"),
        max_length=max_length,
        inputs=tuple(inputs),
    )


def encodings_of(lengths: list[int]) -> list[Encoding]:
    return [{"input_ids": list(range(1, n + 1)), "attention_mask": [1] * n} for n in lengths]


TASK = task_for(spec_for())
READER = TextReader(SimpleNamespace(pad_token_id=7, model_input_names=[]), 16)


def test_a_session_has_the_options_that_are_asked_for(tmp_path: Path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [result])
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "m.onnx")
    wanted = SessionOptions(threads=2, arena=False, config={"session.intra_op.allow_spinning": "0"})
    options = onnx_session(tmp_path / "m.onnx", wanted).get_session_options()
    assert (options.intra_op_num_threads, options.enable_cpu_mem_arena) == (2, False)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert onnx_session(tmp_path / "m.onnx").get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize("model_type", ["bert", "distilbert"])
def test_texts_are_cut_but_not_padded(tiny_model_folder: ModelFactory, model_type: str):
    reader = load_text_reader(tiny_model_folder(model_type), 6)
    tokenizer, spec = reader.tokenizer, spec_for(reader.inputs, max_length=6)
    short, long = (one.inputs for one in task_for(spec).encode(reader, ["good .", "the film was very very good ."]))
    assert tuple(short) == spec.inputs
    assert [len(values) for values in short.values()] == [4] * len(spec.inputs)
    assert [len(values) for values in long.values()] == [6] * len(spec.inputs)
    assert tokenizer.convert_ids_to_tokens(long["input_ids"]) == ["[CLS]", "the", "film", "was", "very", "[SEP]"]


def test_batches_are_padded_on_the_right():
    found = READER.collate(encodings_of([1, 3]))
    assert {name: values.tolist() for name, values in found.items()} == {
        "input_ids": [[1, 7, 7], [1, 2, 3]],
        "attention_mask": [[1, 0, 0], [1, 1, 1]],
    }
    assert {values.dtype for values in found.values()} == {np.dtype(np.int64)}
    assert READER.collate(encodings_of([1]), full=True)["input_ids"].tolist() == [[1, *[7] * 15]]
    assert torch.equal(to_torch(found)["input_ids"], torch.tensor([[1, 7, 7], [1, 2, 3]]))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [([None, None], None), ([2, 0], [2, 0]), ([[5], [6, 7, 8]], [[5, IGNORED, IGNORED], [6, 7, 8]])],
)
def test_targets_come_with_their_batch(targets: list[Any], expected: list[Any] | None):
    examples = [
        Example(inputs, None if target is None else np.array(target, np.int64))
        for inputs, target in zip(encodings_of([1, 3]), targets, strict=True)
    ]
    batch = to_batch(examples, READER)
    assert batch["input_ids"].tolist() == [[1, 7, 7], [1, 2, 3]]
    assert (batch["targets"].tolist() if "targets" in batch else None) == expected
    assert "labelled" not in batch


def test_a_batch_says_which_rows_have_targets_where_not_all_do():
    inputs = encodings_of([1, 3, 2])
    examples = [Example(inputs[0], np.int64(4)), Example(inputs[1]), Example(inputs[2], np.int64(5))]
    batch = to_batch(examples, READER)
    assert batch["targets"].tolist() == [4, 5]
    assert batch["labelled"].tolist() == [True, False, True]
    assert len(batch["input_ids"]) == 3
    assert not {"targets", "labelled"} & model_inputs(batch).keys()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(1, 200))
def test_batches_hold_every_row_once_within_their_tokens(lengths: list[int], tokens: int):
    batches = by_length(lengths, tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= tokens
    in_order = [lengths[row] for batch in batches for row in batch]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_outputs_come_in_the_order_of_the_texts_whatever_their_batch(tiny_model_folder: ModelFactory, model_type: str):
    folder = tiny_model_folder(model_type)
    model, reader = load_any(folder), load_text_reader(folder, 16)
    texts = [str(row["text"]) for row in synthetic_rows(200)]
    examples = task_for(spec_for(reader.inputs)).encode(reader, texts)
    assert len(by_length([reader.length(one.inputs) for one in examples], TASK.max_batch_tokens)) > 1
    found = np.stack(predict_torch(model, TASK, examples, reader))
    assert found.shape == (200, 2)
    assert np.ptp(found[:, 0]) > 0.01
    for row in (0, 17, 199):
        with torch.inference_mode():
            alone = model(**reader.tokenizer([texts[row]], return_tensors="pt")).logits.numpy()
        np.testing.assert_allclose(found[row], alone[0], atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_predicting_uses_no_dropout_and_leaves_the_mode(tiny_model_folder: ModelFactory, training: bool):
    folder = tiny_model_folder()
    model, reader = load_any(folder).train(training), load_text_reader(folder, 16)
    examples = task_for(spec_for(reader.inputs)).encode(reader, ["the film was good ."])
    first = predict_torch(model, TASK, examples, reader)
    assert np.array_equal(predict_torch(model, TASK, examples, reader), first)
    assert model.training is training


@pytest.fixture
def summing_graph(tmp_path: Path) -> Path:
    """An ONNX graph whose outputs are each text's sum of ids and its batch's number of tokens."""
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["read"]),
        helper.make_node("ReduceSum", ["read", "axis"], ["sum"]),
        helper.make_node("ReduceSum", ["attention_mask"], ["all"], keepdims=0),
        helper.make_node("Mul", ["all", "ones"], ["tokens"]),
        helper.make_node("Concat", ["sum", "tokens"], ["both"], axis=1),
        helper.make_node("Cast", ["both"], ["logits"], to=TensorProto.FLOAT),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("ones", TensorProto.INT64, [1, 1], [1]),
        ],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_onnx_outputs_are_those_of_every_text_alone(summing_graph: Path):
    session = onnx_session(summing_graph)
    found = predict_onnx(session, TASK, [Example(one) for one in encodings_of([3, 1, 2])], READER)
    assert [row.tolist() for row in found] == [[6, 3], [1, 1], [3, 2]]
    assert {row.dtype for row in found} == {np.dtype(np.float32)}


def logits(predicted: Sequence[int]) -> np.ndarray:
    return np.eye(2)[list(predicted)]


def test_a_dense_model_has_no_drop():
    found = measure(TASK, logits([0, 1, 1, 1]), np.array([0, 1, 1, 0]), dense_outputs=None, seed=0)
    assert (found.name, found.value, found.samples) == ("accuracy", 0.75, 4)
    assert (found.drop, found.drop_interval) == (None, None)


def test_a_drop_is_the_dense_metric_minus_this_one():
    references = np.array([0, 1] * 50)
    worse = references.copy()
    worse[:10] ^= 1
    down = measure(TASK, logits(worse), references, dense_outputs=logits(references), seed=0)
    up = measure(TASK, logits(references), references, dense_outputs=logits(worse), seed=0)
    assert (down.value, down.drop) == (0.9, pytest.approx(0.1))
    assert (up.value, up.drop) == (1.0, pytest.approx(-0.1))


def test_the_interval_is_paired():
    """Both models err on the same rows, so nothing is lost and nothing uncertain."""
    generator = np.random.default_rng(0)
    references = generator.integers(2, size=200)
    predicted = np.where(generator.random(200) < 0.7, references, 1 - references)
    found = measure(TASK, logits(predicted), references, dense_outputs=logits(predicted), seed=0)
    assert (found.drop, found.drop_interval) == (0, (0, 0))


def test_the_interval_is_as_wide_as_theory_says_and_repeats():
    """Every row's loss is 1 with probability 0.1: the drop's standard error is sqrt(0.1 · 0.9 / n)."""
    rows = 1000
    references = np.zeros(rows, np.int64)
    worse = np.array([1] * 100 + [0] * 900)
    found = measure(TASK, logits(worse), references, dense_outputs=logits(references), seed=0)
    assert found.drop_interval is not None
    low, high = found.drop_interval
    half = 1.96 * (0.1 * 0.9 / rows) ** 0.5
    assert low == pytest.approx(0.1 - half, abs=0.004)
    assert high == pytest.approx(0.1 + half, abs=0.004)
    assert measure(TASK, logits(worse), references, dense_outputs=logits(references), seed=0) == found


def test_the_interval_covers_the_true_drop_about_as_often_as_it_claims():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(40):
        references = np.zeros(60, np.int64)
        dense, ours = (generator.random((2, 60)) < [[0.1], [0.3]]).astype(int)
        found = measure(TASK, logits(ours), references, dense_outputs=logits(dense), seed=trial)
        assert found.drop_interval is not None
        covered += found.drop_interval[0] <= 0.2 <= found.drop_interval[1]
    assert 34 <= covered <= 40


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_not_measured(bad: float):
    outputs = np.zeros((4, 2), np.float32)
    outputs[2, 1] = bad
    with pytest.raises(ParityError, match="finite numbers, but some are not"):
        measure(TASK, outputs, np.zeros(4, np.int64), dense_outputs=None, seed=0)

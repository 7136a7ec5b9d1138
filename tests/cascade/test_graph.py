"""The graph of a cascade answers as its first stage does where that is sure, and as the encoder everywhere else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnxruntime import InferenceSession, SessionOptions

from edgeprune.cascade.bag import Bag, margins
from edgeprune.cascade.graph import write_cascade
from edgeprune.graph.requirements import oldest_runtime
from edgeprune.graph.session import onnx_session
from tests.support.e2e import Built

Tokens = npt.NDArray[np.int64]
Feed = dict[str, npt.NDArray[Any]]


def padded(texts: list[Tokens], width: int = 0, *, left: bool = False) -> Feed:
    """A batch of texts."""
    width = max(width, *map(len, texts))
    sides = [(width - len(text), 0) if left else (0, width - len(text)) for text in texts]
    ids, mask = (
        np.stack([np.pad(row, side) for row, side in zip(rows, sides, strict=True)])
        for rows in (texts, [np.ones_like(text) for text in texts])
    )
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="module")
def encoder(built: Built) -> Path:
    """An int8 graph with a mask, whose rows must be ones and then zeros."""
    return built.artifact("quantize").file("model.onnx")


@pytest.fixture(scope="module")
def vocabulary(encoder: Path) -> int:
    tables = [
        one.dims for one in onnx.load(encoder).graph.initializer if "word_embeddings" in one.name and len(one.dims) == 2
    ]
    return int(tables[0][0])


@pytest.fixture(scope="module")
def bag(vocabulary: int) -> Bag:
    generator = np.random.default_rng(0)
    table = generator.integers(-127, 128, (vocabulary + 64, 2)).astype(np.int8)
    return Bag(table, 0.02, np.array([0.1, -0.1], np.float32), vocabulary)


@pytest.fixture(scope="module")
def texts(vocabulary: int) -> list[Tokens]:
    generator = np.random.default_rng(1)
    return [generator.integers(5, vocabulary, size=length).astype(np.int64) for length in (1, 2, 3, 5, 8, 13) * 5]


@pytest.fixture(scope="module")
def threshold(bag: Bag, texts: list[Tokens]) -> float:
    """Half of the texts are above it."""
    return float(np.median(margins(bag.logits(texts))))


@pytest.fixture(scope="module")
def both(encoder: Path, bag: Bag, threshold: float, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cascade") / "model.onnx"
    write_cascade(encoder, path, bag, threshold)
    return path


Answer = Callable[[Feed], npt.NDArray[Any]]


def answering(session: InferenceSession) -> Answer:
    names = {value.name for value in session.get_inputs()}
    return lambda feed: np.asarray(session.run(None, {name: feed[name] for name in names})[0])


@pytest.fixture(scope="module")
def cascade(both: Path) -> Answer:
    return answering(onnx_session(both))


@pytest.fixture(scope="module")
def alone(encoder: Path) -> Answer:
    return answering(onnx_session(encoder))


def test_each_text_has_the_answer_of_the_stage_that_is_asked(
    cascade: Answer, alone: Answer, bag: Bag, texts: list[Tokens], threshold: float
) -> None:
    answers = bag.logits(texts)
    early = margins(answers) >= np.float32(threshold)
    assert 0 < early.sum() < len(texts)
    for text, answer, is_early in zip(texts, answers, early, strict=True):
        expected = answer if is_early else alone(padded([text]))[0]
        np.testing.assert_allclose(cascade(padded([text]))[0], expected, rtol=1e-6, atol=1e-6)
        assert np.abs(answer - alone(padded([text]))[0]).max() > 0.01  # else the stages couldn't be told apart


def test_padding_changes_no_answer_of_the_first_stage(
    cascade: Answer, bag: Bag, texts: list[Tokens], threshold: float
) -> None:
    answers = bag.logits(texts)
    for text, answer in zip(texts, answers, strict=True):
        if margins(answer[None])[0] >= np.float32(threshold):
            for feed in (padded([text], 20), padded([text], 20, left=True)):
                np.testing.assert_allclose(cascade(feed)[0], answer, rtol=1e-6, atol=1e-6)


def test_several_texts_are_answered_by_the_encoder_whatever_the_first_stage_thinks(
    cascade: Answer, alone: Answer, bag: Bag, texts: list[Tokens]
) -> None:
    surest = sorted(texts, key=lambda text: -margins(bag.logits([text]))[0])
    for rows in (surest[:2], [surest[0], surest[-1]], surest[:5]):
        np.testing.assert_allclose(cascade(padded(rows)), alone(padded(rows)), rtol=1e-6, atol=1e-6)


def test_the_encoder_still_refuses_a_wrong_mask(cascade: Answer, bag: Bag, texts: list[Tokens]) -> None:
    doubtful = min(texts[5:], key=lambda text: margins(bag.logits([text]))[0])
    with pytest.raises(Exception, match="attention_mask_must_be_ones_then_zeros"):
        cascade(padded([doubtful], 20, left=True))


def test_inputs_outputs_and_the_oldest_runtime_are_the_encoders(both: Path, encoder: Path) -> None:
    ours, theirs = (
        [
            [(value.name, value.type, value.shape) for value in values]
            for values in (one.get_inputs(), one.get_outputs())
        ]
        for one in (onnx_session(both), onnx_session(encoder))
    )
    assert ours == theirs
    assert oldest_runtime(both) == oldest_runtime(encoder)


def test_the_branch_is_fused_as_the_encoder_is(both: Path, encoder: Path, tmp_path: Path) -> None:
    """int8 products in the branch are ONNX Runtime's own fused ones."""
    counts = []
    for path in (both, encoder):
        made = tmp_path / "optimized.onnx"
        options = SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(made), 4
        InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [node.op_type for node in nodes_of(onnx.load(made).graph)]
        counts.append(
            {name: names.count(name) for name in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger")}
        )
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) > 0


def nodes_of(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [*graph.node, *(node for one in inner for node in nodes_of(one))]


def test_a_graph_without_a_mask_takes_one(encoder: Path, bag: Bag, texts: list[Tokens], tmp_path: Path) -> None:
    model = onnx.load(encoder)
    mask = next(value for value in model.graph.input if value.name == "attention_mask")
    model.graph.input.remove(mask)
    model.graph.node.insert(0, onnx.helper.make_node("Shape", ["input_ids"], ["sizes"]))
    one = onnx.numpy_helper.from_array(np.array([1], np.int64))
    model.graph.node.insert(1, onnx.helper.make_node("ConstantOfShape", ["sizes"], ["attention_mask"], value=one))
    plain, made = tmp_path / "plain.onnx", tmp_path / "made.onnx"
    onnx.save(model, plain)
    write_cascade(plain, made, bag, threshold=0.0)
    session = onnx_session(made)
    assert [value.name for value in session.get_inputs()] == ["input_ids"]
    for text in texts:
        np.testing.assert_allclose(answering(session)(padded([text])), bag.logits([text]), rtol=1e-6, atol=1e-6)

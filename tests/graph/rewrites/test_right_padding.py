"""edgeprune/graph/rewrites/right_padding.py: a graph that is given padded rows answers them as it does alone, or fails."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.rewrites.right_padding import RightPadding
from edgeprune.profiles.variant import RewriteName
from tests.conftest import MODEL_TYPES
from tests.support.graphs import content, feed, run, session_of, written

Exported = Callable[[str], Path]

SETS: tuple[tuple[RewriteName, ...], ...] = (
    ("right-padding",),
    ("narrow-reads", "standard-attention", "right-padding"),
    ("narrow-reads", "packed-projections", "fused-attention", "right-padding"),
)
COMPLAINT = "attention_mask_must_be_ones_then_zeros"


def fed_by_a_loader(session: onnxruntime.InferenceSession, given_: dict[str, np.ndarray]) -> np.ndarray:
    """Feed a session as transformers.js and optimum-onnx do: inputs that the graph doesn't have are dropped in silence."""
    (logits,) = session.run(None, {one.name: given_[one.name] for one in session.get_inputs()})
    return np.asarray(logits)


@pytest.fixture(scope="module")
def sessions(exported_graph: Exported) -> Callable[[str, tuple[RewriteName, ...]], onnxruntime.InferenceSession]:
    @cache
    def session(model_type: str, rewrites: tuple[RewriteName, ...]) -> onnxruntime.InferenceSession:
        model = onnx_ir.load(exported_graph(model_type))
        for name in rewrites:
            REWRITES[name](model)
        return session_of(model)

    return session


@pytest.mark.parametrize("rewrites", SETS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_any_batch_and_any_mask(
    sessions: Callable[[str, tuple[RewriteName, ...]], onnxruntime.InferenceSession],
    model_type: str,
    rewrites: tuple[RewriteName, ...],
) -> None:
    session = sessions(model_type, rewrites)

    @given(
        arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.integers(0, 1)), st.booleans()
    )
    def answered_as_alone_or_refused(mask: np.ndarray, on_the_right: bool) -> None:
        if on_the_right:  # random masks rarely are
            mask = -np.sort(-mask, axis=1)
            mask[:, 0] = 1
        values = feed(("input_ids", "attention_mask", "token_type_ids"), *mask.shape, padded=False)
        values["attention_mask"] = mask
        texts_first = bool((mask[:, 0] == 1).all() and (np.diff(mask, axis=1) <= 0).all())
        if not texts_first:
            with pytest.raises(InvalidArgument, match=COMPLAINT):
                fed_by_a_loader(session, values)
            return
        found = fed_by_a_loader(session, values)
        for row, length in enumerate(mask.sum(axis=1)):
            alone = {name: array[row : row + 1, :length] for name, array in values.items()}
            np.testing.assert_allclose(found[row : row + 1], fed_by_a_loader(session, alone), atol=5e-6)

    answered_as_alone_or_refused()


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_mask_that_is_left_out_fails(
    sessions: Callable[[str, tuple[RewriteName, ...]], onnxruntime.InferenceSession], model_type: str
) -> None:
    session = sessions(model_type, SETS[-1])
    values = feed([one.name for one in session.get_inputs()], 2, 5, padded=True)
    del values["attention_mask"]
    with pytest.raises(ValueError, match="attention_mask"):
        session.run(None, values)


def test_texts_of_no_tokens_and_batches_of_no_texts(
    sessions: Callable[[str, tuple[RewriteName, ...]], onnxruntime.InferenceSession],
) -> None:
    session = sessions("bert", SETS[-1])
    names = [one.name for one in session.get_inputs()]
    with pytest.raises(Exception, match="last_token"):
        session.run(None, {name: np.ones((2, 0), np.int64) for name in names})
    (none,) = session.run(None, {name: np.ones((0, 5), np.int64) for name in names})
    assert none.shape == (0, 2)


def test_padding_is_left_out_by_the_operator_itself(exported_graph: Exported) -> None:
    model = onnx_ir.load(exported_graph("bert"))
    REWRITES["fused-attention"](model)
    operators = [node.op_type for node in model.graph]
    assert operators.count("MultiHeadAttention") == 2
    assert not {"Where", "GatherND", "And"} & set(operators), "nothing makes a mask of every query and token"
    for node in model.graph:
        if node.op_type == "MultiHeadAttention":
            assert [value is None for value in node.inputs][3:5] == [True, False]


@pytest.mark.parametrize(
    "mask",
    [
        "f = Cast<to = 1>(attention_mask)  g = Sub(f, one)  h = Mul(g, large)  u = Unsqueeze(h, axes)  mask = Add(u, window)",
        "f = Cast<to = 9>(attention_mask)  u = Unsqueeze(f, axes)  mask = Where(u, window, least)",
    ],
)
def test_a_window_stays_a_mask_of_every_query_and_token(mask: str) -> None:
    """A mask that also leaves out tokens of texts is not the padding's."""
    text = """(int64[b, s] attention_mask, int64[b, s] input_ids, float[b, s, 8] q, float[b, 1, s, s] window) => (y) {
      MASK
      n = Shape<start = 0, end = 1>(q)  m = Shape<start = 1, end = 2>(q)
      to = Concat<axis = 0>(n, m, two, four)  back = Concat<axis = 0>(n, m, eight)
      q4 = Reshape(q, to)  k4 = Reshape(q, to)  v4 = Reshape(q, to)
      qt = Transpose<perm = [0, 2, 1, 3]>(q4)  kt = Transpose<perm = [0, 2, 3, 1]>(k4)
      vt = Transpose<perm = [0, 2, 1, 3]>(v4)
      qk = MatMul(qt, kt)  scores = Add(qk, mask)  p = Softmax<axis = -1>(scores)  o = MatMul(p, vt)
      ot = Transpose<perm = [0, 2, 1, 3]>(o)  r = Reshape(ot, back)  y = Relu(r)
    }"""
    constants = {
        "two": [2], "four": [4], "eight": [8], "one": [1.0], "large": [1e9], "least": [-1e9], "axes": [1, 2],
    }  # fmt: skip
    model = written(text.replace("MASK", mask), **constants)
    values = {
        "attention_mask": np.array([[1, 1, 1], [1, 1, 0]]), "input_ids": np.zeros((2, 3), np.int64),
        "q": np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32),
        "window": np.random.default_rng(1).normal(size=(2, 1, 3, 3)).astype(np.float32),
    }  # fmt: skip
    expected = run(model, values)
    assert REWRITES["fused-attention"](model).places == 1
    assert "key_padding_mask" not in [output.name for node in model.graph for output in node.outputs]
    np.testing.assert_allclose(run(model, values)["y"], expected["y"], atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "(int64[b, s] input_ids, float[b, s, 4] x) => (float[b, s, 4] y) { y = Relu(x) }",
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (y) { y = Abs(input_ids) }",
        "(int64[b, s] attention_mask, int64[b, t] input_ids) => (y) { y = Cast<to = 1>(attention_mask) }",
        "(int32[b, s] attention_mask, int64[b, s] input_ids) => (y, z) { y = Abs(input_ids)  z = Abs(attention_mask) }",
    ],
    ids=["no mask", "not used", "another length", "another type"],
)
def test_where_there_is_nothing_to_check(text: str) -> None:
    model = written(text)
    before = content(model)
    assert RightPadding()(model).places == 0
    assert content(model) == before


def test_names_that_are_taken_stay_whose_they_are() -> None:
    model = written(
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (y)"
        "{ tokens = Neg(input_ids)  zero = Shape(input_ids)  n = Mul(tokens, attention_mask)  y = Add(n, zero) }"
    )
    values = {"attention_mask": np.array([[1, 1], [1, 0]]), "input_ids": np.array([[3, 4], [5, 6]])}
    expected = run(model, values)["y"]
    assert RightPadding()(model).places == 1
    np.testing.assert_array_equal(run(model, values)["y"], expected)

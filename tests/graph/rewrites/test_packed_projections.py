from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import pytest

from edgeprune.graph.rewrites.packed_projections import PackedProjections
from tests.support.graphs import assert_same, content, numbers, run, written

X = {"x": numbers(3, 5, 8)}
CONSTANTS = {"w": numbers(8, 4), "v": numbers(8, 6, seed=1), "a": numbers(4, seed=2), "c": numbers(6, seed=3)}


def packed(text: str, fewer: int, feeds: dict[str, np.ndarray] = X, **constants: object) -> onnx_ir.Model:
    """Rewrite a graph: so many products fewer, outputs are what they were; 0, and so are the bytes."""
    model = written(text, **CONSTANTS | constants)
    expected, before = run(model, feeds), content(model)
    assert PackedProjections()(model).places == fewer
    assert (content(model) == before) is (fewer == 0)
    assert_same(run(model, feeds), expected)
    return model


def test_projections_of_different_widths_are_one_product():
    model = packed(
        "(float[b, s, 8] x) => (float[b, s, 4] y, float[b, s, 6] z)"
        "{ h = MatMul(x, w)  k = Add(h, a)  i = MatMul(x, v)  j = Add(c, i)  y = Relu(k)  z = Tanh(j) }",
        1,
    )
    assert [node.op_type for node in model.graph] == ["MatMul", "Add", "Split", "Relu", "Tanh"]
    assert set(model.graph.initializers) == {"packed_0_weight", "packed_0_bias", "packed_0_widths"}


def test_names_that_are_taken_stay_whose_they_are():
    packed(
        "(float[b, s, 8] x) => (float[b, s, 4] y, float[b, s, 6] z) { packed_0_sum = MatMul(x, w)"
        "  packed_0_1 = Add(packed_0_sum, packed_0_weight)  i = MatMul(x, v)  j = Add(c, i)"
        "  packed_0_product = Relu(packed_0_1)  y = Add(packed_0_product, packed_0_weight)  z = Tanh(j) }",
        1, packed_0_weight=numbers(4, seed=4),
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "{ h = MatMul(x, w)  y = Add(h, a)  i = MatMul(x, v)  z = Add(i, c) }",  # outputs of the graph
        "{ h = MatMul(x, w)  y = Relu(h)  i = MatMul(x, v)  z = Relu(i) }",  # no biases
        "{ h = MatMul(x, w)  k = Add(h, a)  y = Add(k, h)  i = MatMul(x, v)  j = Add(i, c)  z = Relu(j) }",  # read twice
        "{ h = MatMul(x, w1)  k = Add(h, a)  y = Relu(k)  i = MatMul(x, v)  j = Add(i, c)  z = Relu(j) }",  # 3 axes
        "{ h = MatMul(x, w)  k = Add(h, one)  y = Relu(k)  i = MatMul(x, v)  j = Add(i, c)  z = Relu(j) }",  # a scalar
        "{ r = Relu(x)  h = MatMul(r, w)  k = Add(h, a)  y = Relu(k)  i = MatMul(x, v)  j = Add(i, c)  z = Relu(j) }",
    ],
)
def test_other_products_are_left_alone(text: str):
    packed(
        f"(float[b, s, 8] x) => (float[b, s, 4] y, float[b, s, 6] z) {text}", 0, w1=numbers(1, 8, 4), one=[1.0]
    )  # fmt: skip


def test_products_with_vectors_are_left_alone():
    packed(
        "(float[b, s, 8] x) => (float[b, s] y, float[b, s] z)"
        "{ h = MatMul(x, row)  k = Add(h, one)  y = Relu(k)  i = MatMul(x, row)  j = Add(i, one)  z = Tanh(j) }",
        0, row=numbers(8), one=np.float32(1),
    )  # fmt: skip


def test_a_bias_that_a_caller_may_replace_is_left_alone():
    packed(
        "(float[b, s, 8] x, float[4] a) => (float[b, s, 4] y, float[b, s, 6] z)"
        "{ h = MatMul(x, w)  k = Add(h, a)  y = Relu(k)  i = MatMul(x, v)  j = Add(i, c)  z = Relu(j) }",
        0, X | {"a": numbers(4, seed=9)},
    )  # fmt: skip


def test_layers_that_share_weights_still_share_them(exported_graph: Callable[[str], Path]):
    model = onnx_ir.load(exported_graph("albert"))
    assert PackedProjections()(model).places == 4
    assert [name for name in model.graph.initializers if "packed" in name and "weight" in name] == ["packed_0_weight"]


def test_uneven_layers_are_packed_in_their_widths(exported_graph: Callable[[str], Path]):
    model = onnx_ir.load(exported_graph("bert"))
    PackedProjections()(model)
    shapes = [list(value.shape) for name, value in model.graph.initializers.items() if name.endswith("_weight")]
    assert shapes == [[32, 24], [32, 72]]

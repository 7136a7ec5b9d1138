from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from transformers import AutoModel

from edgeprune.graph.rewrites.unpadded import Unpadded
from edgeprune.ondevice.agent import STATES_OUTPUT
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import ModelFactory
from tests.support.graphs import assert_same, content, export, feed, numbers, run, session_of, written

INPUTS = ("input_ids", "attention_mask")
IDS = np.arange(15).reshape(3, 5)
W = numbers(4, 4)


def without_mask(
    text: str, feeds: dict[str, np.ndarray], *, mask: type = np.int64, **constants: object
) -> onnx_ir.Model:
    """Rewrite a graph: it loses the mask, and outputs are what they were for a mask of ones."""
    model = written(text, **constants)
    expected = run(model, feeds | {"input_ids": IDS, "attention_mask": np.ones((3, 5), mask)})
    assert Unpadded()(model).places > 0
    assert "attention_mask" not in [value.name for value in model.graph.inputs]
    assert_same(run(model, feeds | {"input_ids": IDS}), expected)
    return model


def unchanged(text: str, **constants: object) -> None:
    model = written(text, **constants)
    before = content(model)
    assert Unpadded()(model).places == 0
    assert content(model) == before


def operators(model: onnx_ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_a_mask_that_is_given_all_the_same_is_refused(exported_graph: Callable[[str], Path]):
    model = onnx_ir.load(exported_graph("roberta"))
    Unpadded()(model)
    with pytest.raises(InvalidArgument, match="Invalid input name: attention_mask"):
        session_of(model).run(None, feed(INPUTS, 1, 5, padded=False))


def test_no_operation_on_the_mask_is_left(exported_graph: Callable[[str], Path]):
    model = onnx_ir.load(exported_graph("bert"))
    before = operators(model)
    assert "Where" in before
    assert before.count("Add") - 2 == operators(model).count("Add") - Unpadded()(model).places
    assert not {"Where", "GatherND", "Expand", "And"} & set(operators(model))


@pytest.mark.parametrize("length", [3, 9, 30, 64])
def test_the_window_of_local_attention_stays(exported_graph: Callable[[str], Path], length: int):
    path = exported_graph("modernbert")
    model = onnx_ir.load(path)
    Unpadded()(model)
    values = feed(INPUTS, 2, length, padded=False)
    assert_same(run(model, values), run(onnx_ir.load(path), values))
    assert "Where" in operators(model)


def test_a_mean_over_tokens_counts_them(tiny_model_folder: ModelFactory, tmp_path: Path):
    spec = TaskSpec(task="feature-extraction", labels=(), max_length=64, inputs=INPUTS, pooling="mean", normalize=False)
    module = task_for(spec).exportable(AutoModel.from_pretrained(tiny_model_folder("bert", "Model")))
    export(module, tmp_path / "model.onnx", INPUTS, [STATES_OUTPUT, "sentence_embedding"])
    model = onnx_ir.load(tmp_path / "model.onnx")
    assert Unpadded()(model).places
    for batch, length in ((1, 1), (3, 7)):
        values = feed(INPUTS, batch, length, padded=False)
        assert_same(run(model, values), run(onnx_ir.load(tmp_path / "model.onnx"), values))


@pytest.mark.parametrize(
    ("dtype", "mask"), [("int64", np.int64), ("int32", np.int32), ("float", np.float32), ("bool", np.bool_)]
)
def test_a_mask_of_each_type_that_is_summed(dtype: str, mask: type):
    without_mask(
        f"({dtype}[b, s] attention_mask, int64[b, s] input_ids, float[b, s, 4] x) => (float[b, 4] y, float[b, 1] n)"
        "{ f = Cast<to = 1>(attention_mask)  u = Unsqueeze(f, last)  m = Mul(x, u)  t = ReduceSum<keepdims = 0>(m, one)"
        "  n = ReduceSum(f, one)  y = Div(t, n) }",
        {"x": numbers(3, 5, 4)}, mask=mask, last=[-1], one=[1],
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "(int64[b, s] input_ids, float[b, s, 4] x) => (float[b, s, 4] y) { y = Relu(x) }",
        "(int64[b, s] attention_mask, float[b, s, 4] x) => (y) { f = Cast<to = 1>(attention_mask)  y = MatMul(f, x) }",
        "(int64[b, s] attention_mask, int64[b, t] input_ids) => (y) { y = Cast<to = 1>(attention_mask) }",
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (y) { y = Abs(input_ids) }",
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (int64[b, s] attention_mask, y) { y = Abs(attention_mask) }",
    ],
    ids=["no mask", "no text", "another length", "not used", "given back"],
)
def test_where_there_is_nothing_to_take_its_place_it_stays(text: str):
    unchanged(text)


def test_a_shape_of_the_mask_is_the_texts():
    model = without_mask(
        "(int64[b, s] attention_mask, float[b, 1, 4] x, int64[b, s] input_ids) => (y)"
        "{ n = Shape(attention_mask)  to = Concat<axis = 0>(n, four)  y = Expand(x, to) }",
        {"x": numbers(3, 1, 4)}, four=[4],
    )  # fmt: skip
    assert operators(model) == ["Shape", "Concat", "Expand"]


def test_an_output_keeps_its_name_though_0_is_added_to_it():
    without_mask(
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (int64[b, s] y, int64[b, s] z)"
        "{ n = Sub(attention_mask, one)  y = Add(input_ids, n)  z = Mul(y, attention_mask) }",
        {}, one=[1],
    )  # fmt: skip


def test_names_that_are_taken_stay_whose_they_are():
    without_mask(
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (y)"
        "{ ones = Abs(input_ids)  text_shape = Neg(ones)  n = ReduceSum(attention_mask)  y = Add(text_shape, n) }",
        {}, one=[1],
    )  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    [
        "t = Mul(attention_mask, three)  n = Div(t, two)",  # 1, not 1.5
        "t = Sub(attention_mask, three)  n = Div(t, three)",  # 0, not -1
        "n = Max(attention_mask, two, three)",
        "n = Min(attention_mask, two, three)",
        "n = Max(attention_mask)",
        "t = Neg(attention_mask)  n = Abs(t)",
        "e = Equal(attention_mask, one)  n = Where(e, two, three)",
        "e = Greater(attention_mask, two)  n = Where(e, two, three)",
        "e = Cast<to = 9>(attention_mask)  f = Not(e)  n = Cast<to = 7>(f)",
        "e = Less(input_ids, five)  n = Where(e, attention_mask, two)",
        "n = CumSum(attention_mask, axis)",
        "n = Slice(attention_mask, far, first, axis_list, back)",
        "t = Concat<axis = 1>(attention_mask, zeros)  n = Slice(t, one, six, axis_list)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("operation", ["Mul", "Add", "Sub"])
def test_what_is_computed_from_ones(expression: str, operation: str):
    without_mask(
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (y)"
        f"{{ {expression}  r = {operation}(input_ids, n)  y = Neg(r) }}",
        {}, one=[1], two=[2], three=[3], five=[5], six=[6], axis=np.int64(1), far=[99], first=[-99], axis_list=[-1],
        back=[-1], zeros=np.zeros((3, 1), np.int64),
    )  # fmt: skip


def test_the_result_is_as_large_as_it_was_where_the_mask_made_it_large():
    # u would be [1, s] for a scalar in the place of k: only one of u and z may be.
    without_mask(
        "(int64[b, s] attention_mask, int64[b, s] input_ids, float[1, s] a, float[1, s] c) => (float[b, s] y)"
        "{ f = Cast<to = 1>(attention_mask)  k = Mul(f, two)  v = Mul(k, a)  z = Mul(k, c)  u = Add(v, a)  w = Add(u, z)"
        "  y = Relu(w) }",
        {"a": numbers(1, 5), "c": numbers(1, 5, seed=1)}, two=[2.0],
    )  # fmt: skip


@pytest.mark.parametrize("product", [True, False])
def test_an_addition_that_repeats_a_value_stays(product: bool):
    without_mask(
        "(int64[b, s] attention_mask, int64[b, s] input_ids, float[b, ?, 4] x) => (y) <float[b, ?, 4] h, float[b, s, 4] z>"
        "{ f = Cast<to = 1>(attention_mask)  g = Sub(f, one)  u = Unsqueeze(g, last)  z = Mul(u, flat)  h = Add(x, z)  y = "
        + ("MatMul(h, w)" if product else "Add(h, h)") + " }",
        {"x": numbers(3, 1, 4)}, one=[1.0], last=[-1], flat=np.ones((1, 1, 4)), w=W,
    )  # fmt: skip


def test_a_least_number_may_overflow():
    model = without_mask(
        "(int64[b, s] attention_mask, int64[b, s] input_ids, float[b, s] x) => (y)"
        "{ f = Cast<to = 1>(attention_mask)  g = Sub(one, f)  m = Mul(g, least)  a = Add(x, m)  h = Mul(f, least)"
        "  i = Add(h, least)  l = Max(a, i)  y = Relu(l) }",
        {"x": numbers(3, 5)}, one=[1.0], least=np.float32([np.finfo(np.float32).min]),
    )  # fmt: skip
    assert operators(model) == ["Max", "Relu"]


def test_operators_of_another_domain_are_not_known():
    model = written(
        "(int64[b, s] attention_mask, int64[b, s] input_ids) => (int64[b, s] y)"
        "{ n = custom.Abs(attention_mask)  t = custom.Add(input_ids, attention_mask)  r = Mul(t, n)  y = Neg(r) }"
    )
    Unpadded()(model)
    assert operators(model) == ["Shape", "Expand", "Abs", "Add", "Mul", "Neg"]

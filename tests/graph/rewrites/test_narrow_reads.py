from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

from edgeprune.graph.rewrites.narrow_reads import NarrowReads
from edgeprune.graph.rewrites.pooled_only import PooledOnly
from edgeprune.ondevice.agent import STATES_OUTPUT
from edgeprune.tasks.registry import task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import ModelFactory
from tests.support.graphs import assert_same, content, export, feed, numbers, randomise, run, written

W, V = numbers(8, 8), numbers(8, 8, seed=1)
INPUTS = ("input_ids", "attention_mask")


def narrowed(text: str, products: int, feeds: dict[str, np.ndarray], **constants: object) -> onnx_ir.Model:
    """Rewrite a graph: so many products became smaller, outputs are what they were; 0 products, and so are the bytes."""
    model = written(text, w=W, v=V, **constants)
    expected, before = run(model, feeds), content(model)
    assert NarrowReads()(model).places == products
    assert (content(model) == before) is (products == 0)
    assert_same(run(model, feeds), expected)
    return model


def shapes(model: onnx_ir.Model, op_type: str) -> list[list[object]]:
    return [
        [str(size) for size in node.outputs[0].shape] for node in model.graph if node.op_type == op_type
    ]  # fmt: skip


def test_what_is_read_at_one_position_is_computed_there():
    model = narrowed(
        "(float[b, s, 8] x) => (float[b, 8] y)"
        "{ h = MatMul(x, w)  r = Relu(h)  t = Add(r, x)  g = MatMul(t, v)  y = Gather<axis = 1>(g, i) }",
        2, {"x": numbers(3, 5, 8)}, i=np.int64(0),
    )  # fmt: skip
    assert shapes(model, "MatMul") == [["b", "1", "8"]] * 2
    assert [value.name for value in model.graph.inputs] == ["x"]


@pytest.mark.parametrize("index", [np.int64(2), np.int32(2), np.array([2])])
def test_another_position_than_the_first(index: np.ndarray):
    text = "(float[b, s, 8] x) => ({} y) {{ h = MatMul(x, w)  r = Add(h, x)  y = Gather<axis = -2>(r, i) }}"
    shape = "float[b, 1, 8]" if np.ndim(index) else "float[b, 8]"
    narrowed(text.format(shape), 1, {"x": numbers(3, 5, 8)}, i=index)


@pytest.mark.parametrize("index", [np.int64(-1), np.array([0, 1])])
def test_a_position_from_the_end_and_several_are_left_alone(index: np.ndarray):
    shape = "float[b, 2, 8]" if np.ndim(index) else "float[b, 8]"
    narrowed(
        f"(float[b, s, 8] x) => ({shape} y) {{ h = MatMul(x, w)  y = Gather<axis = 1>(h, i) }}",
        0, {"x": numbers(3, 5, 8)}, i=index,
    )  # fmt: skip


def test_an_index_that_a_caller_may_replace_is_left_alone():
    narrowed(
        "(float[b, s, 8] x, int64 i) => (float[b, 8] y) { h = MatMul(x, w)  y = Gather<axis = 1>(h, i) }",
        0, {"x": numbers(3, 5, 8), "i": np.int64(3)}, i=np.int64(0),
    )  # fmt: skip


def test_a_value_read_at_two_positions_stays_whole():
    narrowed(
        "(float[b, s, 8] x) => (float[b, 8] y)"
        "{ h = MatMul(x, w)  p = Gather<axis = 1>(h, i)  q = Gather<axis = 1>(h, j)  y = Add(p, q) }",
        0, {"x": numbers(3, 5, 8)}, i=np.int64(0), j=np.int64(1),
    )  # fmt: skip


@pytest.mark.parametrize("other", [0, 1])
def test_two_branches_read_one_value_at_their_positions(other: int):
    model = narrowed(
        "(float[b, s, 8] x) => (float[b, 8] y) { h = MatMul(x, w)  k = MatMul(x, v)"
        "  p = Gather<axis = 1>(h, i)  q = Gather<axis = 1>(k, j)  y = Sub(p, q) }",
        2, {"x": numbers(3, 5, 8)}, i=np.int64(0), j=np.int64(other),
    )  # fmt: skip
    assert shapes(model, "MatMul") == [["b", "1", "8"]] * 2


def test_outputs_of_the_graph_stay_whole():
    text = (
        "(float[b, s, 8] x) => (float[b, 8] y, float[b, s, 8] {})"
        "{{ h = MatMul(x, w)  r = Relu(h)  g = MatMul(r, v)  y = Gather<axis = 1>(g, i) }}"
    )
    for output, products in (("g", 0), ("r", 1), ("h", 1)):
        narrowed(text.format(output), products, {"x": numbers(2, 5, 8)}, i=np.int64(0))


@pytest.mark.parametrize(
    ("operation", "products"),
    [
        ("Softmax<axis = 1>(h)", 1),
        ("Softmax<axis = -1>(h)", 2),
        ("Softmax(h)", 2),
        ("Slice(h, one, far, second_to_last)", 1),
        ("Slice(h, one, far)", 1),
        ("Slice(h, last, before_first, last, last)", 2),
        ("Slice(h, last, before_first, second_to_last, last)", 1),
        ("Transpose<perm = [0, 1, 2]>(h)", 2),
        ("CumSum(h, axis)", 1),
        ("Concat<axis = 2>(h, h)", 2),
        ("Concat<axis = -2>(h, h)", 1),
        ("MatMul(h, w1)", 3),
        ("Where(yes, h, x)", 2),
        ("Clip(h)", 1),
    ],
)  # fmt: skip
def test_hoisting_stops_where_positions_mix(operation: str, products: int):
    narrowed(
        "(float[b, s, 8] x) => (y) { h = MatMul(x, w)  t = " + operation + "  u = Slice(t, zero, four, last)"
        "  g = MatMul(u, square)  y = Gather<axis = 1>(g, i) }",
        products, {"x": numbers(2, 5, 8)}, i=np.int64(1), one=[1], far=[99], second_to_last=[-2], last=[-1], zero=[0],
        four=[4], before_first=[-99], axis=np.int64(1), w1=numbers(1, 8, 8), yes=np.array([True] * 3 + [False] * 5),
        square=numbers(4, 4),
    )  # fmt: skip


def test_a_batch_axis_of_both_operands_is_left_alone():
    narrowed(
        "(float[b, 3, s, 8] x) => (float[b, s, 8] y) { h = MatMul(x, each)  y = Gather<axis = 1>(h, i) }",
        0, {"x": numbers(2, 3, 5, 8)}, i=np.int64(1), each=numbers(3, 8, 8),
    )  # fmt: skip


@pytest.mark.parametrize("length", [1, 5])
def test_an_operand_that_may_have_one_position_is_not_read_at_another(length: int):
    narrowed(
        "(float[b, s, 8] x, float[b, t, 8] z) => (float[b, 8] y)"
        "{ a = MatMul(z, v)  r = Add(x, a)  h = MatMul(r, w)  y = Gather<axis = 1>(h, i) }",
        1, {"x": numbers(2, 5, 8), "z": numbers(2, length, 8)}, i=np.int64(1),
    )  # fmt: skip


def test_a_reshape_that_moves_positions_is_left_alone():
    narrowed(
        "(float[b, ?, 8] x) => (float[b, 4] y) <float[b, ?, 8] h, float[b, ?, 4] r>"
        "{ h = MatMul(x, w)  n = Shape<start = 0, end = 1>(x)  to = Concat<axis = 0>(n, rest, width)"
        "  r = Reshape(h, to)  g = MatMul(r, square)  y = Gather<axis = 1>(g, i) }",
        1, {"x": numbers(2, 5, 8)}, i=np.int64(1), rest=[-1], width=[4], square=numbers(4, 4),
    )  # fmt: skip


def test_one_position_out_of_one_is_left_alone():
    narrowed(
        "(float[b, 1, 8] x) => (float[b, 8] y) { h = MatMul(x, w)  y = Gather<axis = 1>(h, i) }",
        0, {"x": numbers(2, 1, 8)}, i=np.int64(0),
    )  # fmt: skip


def test_an_operator_of_another_domain_is_not_known():
    model = written(
        "(float[b, s, 8] x) => (float[b, 8] y)"
        "{ h = MatMul(x, w)  r = custom.Relu(h)  g = MatMul(r, v)  y = Gather<axis = 1>(g, i) }",
        w=W, v=V, i=np.int64(0),
    )  # fmt: skip
    for node in model.graph:
        for value in node.outputs:
            value.shape = onnx_ir.Shape(["b", "s", 8])
    assert NarrowReads()(model).places == 1


@pytest.mark.parametrize("model_type", ["bert", "deberta-v2", "modernbert"])
def test_the_last_layers_products_have_one_row(exported_graph: Callable[[str], Path], model_type: str):
    model = onnx_ir.load(exported_graph(model_type))
    products = NarrowReads()(model).places
    rows = [str(node.outputs[0].shape[-2]) for node in model.graph if node.op_type == "MatMul"]
    assert rows.count("1") == products


@pytest.mark.parametrize("kind", ["classifier, mean", "tagger", "encoder, mean", "encoder, cls"])
def test_only_what_reads_one_position_becomes_smaller(tiny_model_folder: ModelFactory, tmp_path: Path, kind: str):
    task, outputs, products = None, ["logits"], 0
    if kind == "classifier, mean":
        model = AutoModelForSequenceClassification.from_pretrained(
            tiny_model_folder("modernbert"), classifier_pooling="mean"
        )
    elif kind == "tagger":
        model = AutoModelForTokenClassification.from_pretrained(tiny_model_folder("bert", "ForTokenClassification"))
    else:
        pooling = kind.rpartition(" ")[2]
        task = task_for(
            TaskSpec(
                task="feature-extraction", labels=(), max_length=64, inputs=INPUTS, pooling=pooling, normalize=True
            )
        )
        model, outputs = (
            AutoModel.from_pretrained(tiny_model_folder("bert", "Model")),
            [STATES_OUTPUT, "sentence_embedding"],
        )
        products = 6 if pooling == "cls" else 0
    randomise(model)
    path = tmp_path / "model.onnx"
    export(task.exportable(model) if task else model, path, INPUTS, outputs)
    graph = onnx_ir.load(path)
    PooledOnly()(graph)  # states that somebody reads are computed for all tokens
    before = content(graph)
    assert NarrowReads()(graph).places == products
    assert (content(graph) == before) is (products == 0)
    values = feed(INPUTS, 3, 7, padded=True)
    expected = run(onnx_ir.load(path), values)
    assert_same(run(graph, values), {outputs[-1]: expected[outputs[-1]]})

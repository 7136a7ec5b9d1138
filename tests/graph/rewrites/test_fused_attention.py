from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import pytest

from edgeprune.graph.rewrites.fused_attention import FusedAttention, StandardAttention
from tests.support.graphs import assert_same, content, numbers, run, written

GRAPH = """(float[b, s, 8] q, float[b, t, 8] k, float[b, t, 8] v, float[b, 1, s, t] mask, float[b, 1, 1, t] row,
            float[1, 2, s, t] heads, float[s, t] flat) => (y) {
  n = Shape<start = 0, end = 1>(q)  m = Shape<start = 1, end = 2>(q)  l = Shape<start = 1, end = 2>(k)
  to_q = Concat<axis = 0>(n, m, two, four)  to_k = Concat<axis = 0>(n, l, two, four)  back = Concat<axis = 0>(n, m, eight)
  q4 = Reshape(q, to_q)  k4 = Reshape(k, to_k)  v4 = Reshape(v, to_k)
  qt = Transpose<perm = [0, 2, 1, 3]>(q4)  kt = Transpose<perm = [0, 2, 3, 1]>(k4)  vt = Transpose<perm = [0, 2, 1, 3]>(v4)
  qk = MatMul(qt, kt)  scaled = Mul(qk, scale)  scores = Add(scaled, mask)
  p = Softmax<axis = -1>(scores)  o = MatMul(p, vt)  ot = Transpose<perm = [0, 2, 1, 3]>(o)  r = Reshape(ot, back)  y = Relu(r)
}"""
CONSTANTS = {"two": [2], "four": [4], "eight": [8], "scale": np.float32(0.7)}


def fused(text: str, attentions: int, queries: int = 5, tokens: int = 5) -> onnx_ir.Model:
    """Rewrite a graph: so many attentions, outputs are what they were; 0, and so are the bytes."""
    model = written(text, **CONSTANTS)
    values = {
        "q": numbers(3, queries, 8), "k": numbers(3, tokens, 8, seed=1), "v": numbers(3, tokens, 8, seed=2),
        "mask": numbers(3, 1, queries, tokens, seed=3), "row": numbers(3, 1, 1, tokens, seed=4),
        "heads": numbers(1, 2, queries, tokens, seed=5), "flat": numbers(queries, tokens, seed=6),
    }  # fmt: skip
    expected, before = run(model, values), content(model)
    assert StandardAttention()(model).places == attentions
    assert (content(model) == before) is (attentions == 0)
    assert_same(run(model, values), expected)
    model = written(text, **CONSTANTS)
    assert FusedAttention()(model).places == attentions
    assert (content(model) == before) is (attentions == 0)
    assert_same(run(model, values), expected)
    return model


def changed(*changes: tuple[str, str]) -> str:
    text = GRAPH
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(("queries", "tokens"), [(5, 5), (1, 1), (1, 6), (4, 7)])
def test_an_attention_is_one_operator(queries: int, tokens: int):
    model = fused(GRAPH, 1, queries, tokens)
    assert [node.op_type for node in model.graph] == ["MultiHeadAttention", "Relu"]


@pytest.mark.parametrize(
    "changes",
    [
        [("Add(scaled, mask)", "Add(mask, scaled)")],
        [("Add(scaled, mask)", "Add(scaled, heads)")],  # another bias a head, the same in all texts
        [("scores = Add(scaled, mask)", ""), ("(scores)", "(scaled)")],
        [("scaled = Mul(qk, scale)", ""), ("Add(scaled, mask)", "Add(qk, mask)")],
        [("Mul(qk, scale)", "Div(qk, scale)")],
        [("Softmax<axis = -1>", "Softmax<axis = 3>")],
        [
            ("scores = Add(scaled, mask)", "added = Mul(mask, scale)  scores = Add(scaled, added)")
        ],  # a mask that is a product
    ],
)
def test_each_way_to_write_it(changes: list[tuple[str, str]]):
    fused(changed(*changes), 1)


@pytest.mark.parametrize(
    "changes",
    [
        [("Add(scaled, mask)", "Add(scaled, flat)")],
        [("Softmax<axis = -1>", "Softmax<axis = 2>")],
        [("scaled = Mul(qk, scale)  scores = Add(scaled, mask)", "added = Add(qk, mask)  scores = Mul(added, scale)")],
        [("=> (y)", "=> (y, p)")],  # what is attended to is told
        [("=> (y)", "=> (y, qk)")],  # scores are told
        [("y = Relu(r)", "z = Relu(scores)  y = Relu(r)"), ("=> (y)", "=> (y, z)")],
        [("scaled = Mul(qk, scale)", "scaled = Mul(qk, flat)")],
        [("=> (y)", "=> (r)"), ("y = Relu(r)", "")],
        [("Concat<axis = 0>(n, m, eight)", "Concat<axis = 0>(m, n, eight)")],
        [("to_q = Concat<axis = 0>(n, m, two, four)", "to_q = Concat<axis = 0>(m, n, two, four)"), ("scaled = Mul(qk, scale)  scores = Add(scaled, mask)", "scores = Mul(qk, scale)"), ("Concat<axis = 0>(n, l", "Concat<axis = 0>(l, n"), ("(n, m, eight)", "(m, n, eight)")],
        [("to_q = Concat<axis = 0>(n, m, two, four)", "to_q = Concat<axis = 0>(m, n, two, four)"), ("scaled = Mul(qk, scale)  scores = Add(scaled, mask)", "scores = Mul(qk, scale)"), ("Concat<axis = 0>(n, l", "Concat<axis = 0>(l, n")],
        [("ot = Transpose<perm = [0, 2, 1, 3]>(o)", "ot = Transpose<perm = [0, 2, 3, 1]>(o)")],
        [("MatMul(p, vt)", "MatMul(p, vu)"), ("p = Softmax", "vu = Relu(vt)  p = Softmax")],
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_left_alone(changes: list[tuple[str, str]]):
    fused(changed(*changes), 0)


@pytest.mark.parametrize(("queries", "tokens"), [(5, 5), (1, 6), (4, 7)])
def test_a_mask_of_tokens_alone_is_repeated_for_every_query(queries: int, tokens: int):
    model = fused(changed(("Add(scaled, mask)", "Add(scaled, row)")), 1, queries, tokens)
    assert [node.op_type for node in model.graph] == ["Shape", "Concat", "Expand", "MultiHeadAttention", "Relu"]


def test_a_mask_is_repeated_once_for_all_layers(exported_graph: Callable[[str], Path]):
    model = onnx_ir.load(exported_graph("bert"))
    StandardAttention()(model)
    attentions = [node for node in model.graph if node.op_type == "Attention"]
    assert len({node.inputs[3] for node in attentions}) == 1
    assert attentions[0].inputs[3].producer().op_type == "Expand"


def test_names_that_are_taken_stay_whose_they_are():
    fused(changed(("y = Relu(r)", "attention_0 = Relu(r)  y = Neg(attention_0)")), 1)


def test_the_standards_operator_raises_the_opset_to_the_first_that_has_it():
    model = written(GRAPH, **CONSTANTS)
    StandardAttention()(model)
    assert [node.op_type for node in model.graph] == ["Attention", "Relu"]
    assert (model.opset_imports[""], model.ir_version) == (23, 11)


@pytest.mark.parametrize(
    ("model_type", "left"), [("bert", 0), ("albert", 0), ("mpnet", 2), ("deberta-v2", 2), ("modernbert", 2)]
)
def test_no_softmax_is_left_where_attention_is_plain(exported_graph: Callable[[str], Path], model_type: str, left: int):
    for rewrite, operator in ((StandardAttention(), "Attention"), (FusedAttention(), "MultiHeadAttention")):
        model = onnx_ir.load(exported_graph(model_type))
        assert rewrite(model).places == 2 - left
        operators = [node.op_type for node in model.graph]
        assert (operators.count("Softmax"), operators.count(operator)) == (left, 2 - left)


def test_every_layer_has_its_own_number_of_heads(exported_graph: Callable[[str], Path]):
    model = onnx_ir.load(exported_graph("bert"))
    StandardAttention()(model)
    attentions = [node for node in model.graph if node.op_type == "Attention"]
    for name in ("q_num_heads", "kv_num_heads"):
        assert [node.attributes.get_int(name) for node in attentions] == [1, 3]
    model = onnx_ir.load(exported_graph("bert"))
    FusedAttention()(model)
    attentions = [node for node in model.graph if node.op_type == "MultiHeadAttention"]
    assert [node.attributes.get_int("num_heads") for node in attentions] == [1, 3]

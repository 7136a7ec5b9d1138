import numpy as np
import onnx_ir
import pytest

from edgeprune.graph.folded_embeddings import FoldedEmbeddings
from edgeprune.graph.rewrites import REWRITES
from tests.conftest import MODEL_TYPES
from tests.support.graphs import SHAPES, RawExport, assert_same, content, feed, numbers, run, written

NAMES = ("input_ids", "attention_mask")
TYPED = (*NAMES, "token_type_ids")
SAVED = dict.fromkeys(MODEL_TYPES, 0) | {"bert": 5, "roberta": 5, "xlm-roberta": 5, "electra": 5, "albert": 5}
"""Nodes that a family's export has fewer, where its texts aren't given token types. The others have no types, or no positions."""

SUM = """(int64[b, s] ids) => (y) <int64[b, s] kind, int64[1, s] place> {
  w = Gather(words, ids)  shape = Shape(ids)  kind = Expand(one, shape)  t = Gather(types, kind)
  n = Shape<start = 1, end = 2>(ids)  place = Slice(places, from, n, axis)  p = Gather(positions, place)
  wt = Add(w, t)  y = Add(wt, p)
}"""
CONSTANTS = {
    "words": numbers(9, 4), "types": numbers(2, 4, seed=1), "positions": numbers(7, 4, seed=2), "one": np.int64(1),
    "places": np.arange(7)[None], "from": [0], "axis": [1],
}  # fmt: skip


def folded(text: str, places: int, **constants: object) -> onnx_ir.Model:
    """Rewrite a graph in so many places; outputs are what they were."""
    values = {"ids": np.arange(6).reshape(2, 3), "kinds": np.array([[0, 1, 1], [1, 1, 0]])}
    model = written(text, **{**CONSTANTS, **constants})
    expected, before = run(model, values), content(model)
    assert FoldedEmbeddings()(model).places == places
    assert (content(model) == before) is (places == 0)
    assert_same(run(model, values), expected)
    return model


def changed(*changes: tuple[str, str]) -> str:
    text = SUM
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("Add(w, t)", "Add(t, w)")],
        [("Add(wt, p)", "Add(p, wt)")],
        [("Add(w, t)", "Add(w, p)"), ("Add(wt, p)", "Add(wt, t)")],
        [("Add(w, t)", "Add(t, p)"), ("Add(wt, p)", "Add(w, wt)")],
    ],
)
def test_a_type_that_all_tokens_have_is_folded_into_positions(changes: list[tuple[str, str]]):
    model = folded(changed(*changes), 1)
    assert [node.op_type for node in model.graph] == ["Gather", "Shape", "Slice", "Gather", "Add"]
    (table,) = [value for name, value in model.graph.initializers.items() if name == "positions_and_type"]
    np.testing.assert_array_equal(table.const_value.numpy(), CONSTANTS["positions"] + CONSTANTS["types"][1])
    assert {"types", "positions"}.isdisjoint(model.graph.initializers)


@pytest.mark.parametrize(
    "changes",
    [
        [("(int64[b, s] ids)", "(int64[b, s] ids, int64[b, s] kinds)"), ("Gather(types, kind)", "Gather(types, kinds)"), ("kind = Expand(one, shape)", "")],
        [("p = Gather(positions, place)", "p = Gather(positions, ids)")],  # tokens' table, which a decoder may share
        [("=> (y)", "=> (y, wt)")],
        [("=> (y)", "=> (y, t)")],
        [("=> (y)", "=> (y, p)")],
        [("=> (y)", "=> (y, z)"), ("y = Add", "z = MatMul(w, other)  y = Add"), ("Gather(positions, place)", "Gather(positions, place)  other = Transpose(positions)")],
        [("p = Gather(positions, place)", "p = Gather(positions, first)"), ("place = Slice(places, from, n, axis)", "first = Mul(kind, zero)")],
        [("w = Gather(words, ids)", "one_word = Gather(words, from)  w = Unsqueeze(one_word, from)")],  # the type makes the sum longer
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_left_alone(changes: list[tuple[str, str]]):
    folded(changed(*changes), 0, zero=np.int64(0))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_family_with_types_has_fewer_nodes_and_the_same_outputs(raw_export: RawExport, model_type: str):
    path = raw_export(model_type, NAMES)
    raw, model = onnx_ir.load(path), onnx_ir.load(path)
    assert FoldedEmbeddings()(model).modified is (SAVED[model_type] > 0)
    assert len(raw.graph) - len(model.graph) == SAVED[model_type]
    for batch, length in SHAPES:
        values = feed(NAMES, batch, length, padded=True)
        assert_same(run(model, values), run(raw, values))


@pytest.mark.parametrize("model_type", ["bert", "electra"])
def test_a_graph_without_types_computes_what_one_does_that_is_given_type_0(raw_export: RawExport, model_type: str):
    model = onnx_ir.load(raw_export(model_type, NAMES))
    FoldedEmbeddings()(model)
    told = onnx_ir.load(raw_export(model_type, TYPED))
    assert not FoldedEmbeddings()(told).modified
    assert {value.name for value in told.graph.inputs} == set(TYPED)
    for batch, length in SHAPES:
        values = feed(TYPED, batch, length, padded=True)
        assert_same(run(model, values), run(told, values))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_rewrite_still_applies(raw_export: RawExport, model_type: str):
    found = []
    for fold in (False, True):
        for name, rewrite in REWRITES.items():
            model = onnx_ir.load(raw_export(model_type, NAMES))
            if fold:
                FoldedEmbeddings()(model)
            found.append((name, rewrite(model).modified))
    assert found[: len(REWRITES)] == found[len(REWRITES) :]

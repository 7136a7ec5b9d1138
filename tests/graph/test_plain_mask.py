import numpy as np
import onnx_ir
import pytest

from edgeprune.graph.plain_mask import PlainMask
from edgeprune.graph.rewrites import REWRITES
from tests.conftest import MODEL_TYPES
from tests.support.graphs import SHAPES, RawExport, assert_same, content, feed, run, written

NAMES = ("input_ids", "attention_mask")
SAVED = dict.fromkeys(MODEL_TYPES, 19) | {"mpnet": 17, "deberta-v2": 0, "modernbert": 17}
"""Nodes that a family's export has fewer. MPNet's and ModernBERT's positions need the tokens' places too; DeBERTa's mask is
another one, a product of two masks."""

GRID = """(int64[b, s] attention_mask, float[b, 2, s, s] scores) => (y)
  <int64[b] rows, int64[s] tokens, int64[b, 1, 1, s, 2] places, bool[b, 1, 1, s] found> {
  m = Cast<to = 9>(attention_mask)  b1 = Shape<start = 0, end = 1>(m)  s1 = Shape<start = 1, end = 2>(m)
  b0 = Squeeze(b1)  s0 = Squeeze(s1)  rows = Range(zero, b0, one)  tokens = Range(zero, s0, one)
  r = Unsqueeze(rows, last_three)  k = Unsqueeze(tokens, first_three)  q = Unsqueeze(tokens, around)
  all = GreaterOrEqual(q, zero)  most = Max(r, k)  shape = Shape(most)
  rs = Expand(r, shape)  ks = Expand(k, shape)  ru = Unsqueeze(rs, last)  ku = Unsqueeze(ks, last)
  places = Concat<axis = -1>(ru, ku)  found = GatherND(m, places)  both = And(all, found)
  added = Where(both, nothing, much)  y = Add(scores, added)
}"""
CONSTANTS = {
    "zero": np.int64(0), "one": np.int64(1), "last": [-1], "last_three": [1, 2, 3], "first_three": [0, 1, 2],
    "around": [0, 1, 3], "nothing": np.float32(0), "much": np.float32(-1e9),
}  # fmt: skip


def plain(text: str, places: int, **constants: object) -> onnx_ir.Model:
    """Rewrite a graph in so many places; outputs are what they were."""
    mask = np.ones((3, 5), np.int64)
    mask[1, 3:], mask[2, 1:] = 0, 0
    scores = np.random.default_rng(0).normal(size=(3, 2, 5, 5)).astype(np.float32)
    values = {"attention_mask": mask, "scores": scores}
    model = written(text, **{**CONSTANTS, **constants})
    expected, before = run(model, values), content(model)
    assert PlainMask()(model).places == places
    assert (content(model) == before) is (places == 0)
    assert_same(run(model, values), expected)
    return model


def changed(*changes: tuple[str, str]) -> str:
    text = GRID
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_a_grid_of_all_tokens_is_the_mask_itself():
    model = plain(GRID, 2)
    assert [node.op_type for node in model.graph] == ["Cast", "Unsqueeze", "Where", "Add"]
    shapes = [[str(size) for size in node.outputs[0].shape] for node in model.graph]
    assert shapes == [["b", "s"], ["b", "1", "1", "s"], ["b", "1", "1", "s"], ["b", "2", "s", "s"]]


@pytest.mark.parametrize(
    ("changes", "constants"),
    [
        ([("Range(zero, b0, one)", "Range(start, b0, one)")], {"start": np.int64(-3)}),
        ([("Range(zero, s0, one)", "Range(zero, twice, two)"), ("s0 = Squeeze(s1)", "s0 = Squeeze(s1)  twice = Mul(s0, two)"), ("k = Unsqueeze(tokens, first_three)", "half = Div(tokens, two)  k = Unsqueeze(half, first_three)")], {"two": np.int64(2)}),
        ([("Concat<axis = -1>(ru, ku)", "Concat<axis = -1>(ku, ru)")], {}),
    ],
)  # fmt: skip
def test_another_lookup_is_left_alone(changes: list[tuple[str, str]], constants: dict[str, object]):
    model = written(changed(*changes), **{**CONSTANTS, **constants})
    PlainMask()(model)
    assert [node.op_type for node in model.graph].count("GatherND") == 1


@pytest.mark.parametrize(
    "changes",
    [
        [("=> (y)", "=> (y, both)")],  # told whole
        [("=> (y)", "=> (y, added)")],
        [("y = Add(scores, added)", "y = Concat<axis = 1>(scores, added)")],  # not repeated by itself
        [("y = Add(scores, added)", "y = Softmax<axis = 2>(added)")],
    ],
)
def test_a_mask_that_is_read_whole_stays_whole(changes: list[tuple[str, str]]):
    model = plain(changed(*changes), 1)
    assert "And" in [node.op_type for node in model.graph]


def test_readers_of_a_mask_that_keeps_its_shape_may_be_any():
    turned = "turned = Transpose<perm = [0, 3, 1, 2]>(both)  back = Transpose<perm = [0, 2, 3, 1]>(turned)  added = Where(back"
    model = plain(
        changed(("And(all, found)", "And(yes, found)"), ("added = Where(both", turned)), 2, yes=np.bool_(True)
    )
    assert [node.op_type for node in model.graph] == ["Cast", "Unsqueeze", "Transpose", "Transpose", "Where", "Add"]


def test_a_window_stays():
    window = "away = Sub(q, k)  far = Abs(away)  near = LessOrEqual(far, one)  local = And(near, all)  both = And(local, found)"
    model = plain(changed(("both = And(all, found)", window)), 2)
    assert [node.op_type for node in model.graph].count("And") == 1
    assert [node.op_type for node in model.graph][-4:] == ["LessOrEqual", "And", "Where", "Add"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_familys_export_has_fewer_nodes_and_the_same_outputs(raw_export: RawExport, model_type: str):
    path = raw_export(model_type, NAMES)
    raw, model = onnx_ir.load(path), onnx_ir.load(path)
    assert PlainMask()(model).modified is (SAVED[model_type] > 0)
    assert len(raw.graph) - len(model.graph) == SAVED[model_type]
    for batch, length in SHAPES:
        values = feed(NAMES, batch, length, padded=True)
        assert_same(run(model, values), run(raw, values))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_rewrite_still_applies(raw_export: RawExport, model_type: str):
    path = raw_export(model_type, NAMES)

    def applied(*, plain: bool) -> list[str]:
        found = []
        for name, rewrite in REWRITES.items():
            model = onnx_ir.load(path)
            if plain:
                PlainMask()(model)
            found += [name] if rewrite(model).modified else []
        return found

    assert applied(plain=True) == applied(plain=False)


@pytest.mark.parametrize("model_type", ["bert", "mpnet", "modernbert"])
@pytest.mark.parametrize("names", [("narrow-reads", "standard-attention"), ("narrow-reads", "unpadded", "fused-attention"), ("packed-projections", "fused-attention", "right-padding")])  # fmt: skip
def test_rewrites_together_compute_the_same(raw_export: RawExport, model_type: str, names: tuple[str, ...]):
    path = raw_export(model_type, NAMES)
    raw, model = onnx_ir.load(path), onnx_ir.load(path)
    PlainMask()(model)
    for name in names:
        REWRITES[name](model)
    for batch, length in SHAPES:
        values = feed(NAMES, batch, length, padded="unpadded" not in names)
        assert_same(run(model, values), run(raw, values))

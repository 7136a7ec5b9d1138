from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnx_ir
import pytest

from edgeprune.graph.quantization import convert
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.serialization import write_onnx
from edgeprune.graph.session import onnx_session
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import RewriteName
from tests.conftest import MODEL_TYPES
from tests.support.graphs import SHAPES, content, feed, numbers, session_of, written

Exported = Callable[[str], Path]

ALL: tuple[RewriteName, ...] = tuple(name for name in REWRITES if name != "pooled-only")  # of embeddings alone
TOGETHER = (*((name,) for name in ALL), ("narrow-reads", "packed-projections", "fused-attention"), ALL)

COUNTS = {
    "bert": (6, 2, 4, 2, 2, 1), "roberta": (6, 2, 4, 2, 2, 1), "xlm-roberta": (6, 2, 4, 2, 2, 1),
    "electra": (6, 2, 4, 2, 2, 1), "distilbert": (6, 2, 4, 2, 2, 1), "albert": (6, 2, 4, 2, 2, 1), "mpnet": (6, 2, 4, 0, 0, 1),
    "deberta-v2": (3, 1, 7, 0, 0, 1),
    "modernbert": (5, 1, 0, 0, 0, 1),
}  # fmt: skip
"""Of each rewrite alone, in the table's order. MPNet adds a position bias beside the mask, DeBERTa relative positions,
ModernBERT rotates, and has its projections packed and without biases."""


def test_the_table_is_what_a_variant_can_name():
    assert get_args(RewriteName) == tuple(REWRITES)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_rewritten_graph_computes_the_same(exported_graph: Exported, model_type: str):
    path = exported_graph(model_type)
    before = session_of(onnx_ir.load(path))
    names = [one.name for one in before.get_inputs()]
    counts = []
    for rewrites in TOGETHER:
        model = onnx_ir.load(path)
        counts.append([REWRITES[name](model).places for name in rewrites])
        after = session_of(model)
        assert [(one.name, one.shape) for one in after.get_outputs()] == [("logits", ["batch", 2])]
        left = [one.name for one in after.get_inputs()]
        assert left == [name for name in names if name != "attention_mask" or "unpadded" not in rewrites]
        for batch, length in SHAPES:
            values = feed(names, batch, length, padded="attention_mask" in left)
            (expected,) = before.run(None, values)
            (found,) = after.run(None, {name: values[name] for name in left})
            np.testing.assert_allclose(found, expected, atol=5e-6, err_msg=f"{rewrites} {batch} {length}")
    assert tuple(alone for (alone,) in counts[: len(ALL)]) == COUNTS[model_type]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("name", ALL)
def test_fixed_shapes_and_nodes_without_names_change_nothing_of_what_is_computed(
    exported_graph: Exported, model_type: str, name: RewriteName
):
    proto = onnx.load(exported_graph(model_type))
    for value in [*proto.graph.input, *proto.graph.output]:
        for number, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.dim_value = dimension.dim_value or (3, 7)[number]
    for node in proto.graph.node:
        node.ClearField("name")
    del proto.graph.value_info[:]
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    before, model = session_of(onnx_ir.from_proto(proto)), onnx_ir.from_proto(proto)
    place = ALL.index(name)
    assert REWRITES[name](model).modified == bool(COUNTS[model_type][place]) or "attention" in name
    after = session_of(model)
    values = feed([one.name for one in before.get_inputs()], 3, 7, padded=name != "unpadded")
    (expected,) = before.run(None, values)
    (found,) = after.run(None, {one.name: values[one.name] for one in after.get_inputs()})
    np.testing.assert_allclose(found, expected, atol=5e-6)


@pytest.mark.parametrize("model_type", ["albert", "deberta-v2", "modernbert", "mpnet"])
def test_a_second_time_changes_nothing(exported_graph: Exported, model_type: str):
    model = onnx_ir.load(exported_graph(model_type))
    for name in ALL:
        REWRITES[name](model)
    before = content(model)
    for name, rewrite in REWRITES.items():
        assert not rewrite(model).modified, name
        assert content(model) == before, name


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=tuple(REWRITES))
def test_a_graph_without_attention_is_left_alone(rewrite: Rewrite):
    model = written("(float[b, s, 4] x) => (float[b, s, 4] y) { h = MatMul(x, w)  y = Softmax(h) }", w=numbers(4, 4))
    before = content(model)
    assert not rewrite(model).modified
    assert content(model) == before


@pytest.mark.parametrize("limit", [2**31, 1000])
def test_a_rewritten_graph_is_written_beside_or_inside_and_quantized(
    exported_graph: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
):
    source = exported_graph("bert")
    values = feed(("input_ids", "token_type_ids", "attention_mask"), 1, 9, padded=False)
    expected = onnx_session(source).run(None, values)[0]
    del values["attention_mask"]
    monkeypatch.setattr("edgeprune.graph.serialization._LIMIT_BYTES", limit)
    paths = [tmp_path / name / "model.onnx" for name in ("dense", "rewritten", "int8")]
    for path in paths:
        path.parent.mkdir()
    write_onnx(onnx_ir.load(source), paths[0])
    model = onnx_ir.load(paths[0])
    applied = [name for name, rewrite in REWRITES.items() if rewrite(model).modified]
    # There is one attention, and no mask any more.
    assert applied == [name for name in ALL if name not in ("fused-attention", "right-padding")]
    write_onnx(model, paths[1])
    found = onnx_session(paths[1]).run(None, values)[0]
    np.testing.assert_allclose(found, expected, atol=5e-6)
    convert(
        paths[1], paths[2],
        PrecisionSettings(mode="int8-dynamic", weight_type="int8", reduce_range=True, per_channel=True),
    )  # fmt: skip
    found = onnx_session(paths[2]).run(None, values)[0]
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert b"MatMulInteger" in paths[2].read_bytes()

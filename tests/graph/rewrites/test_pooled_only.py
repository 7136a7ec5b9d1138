"""edgeprune/graph/rewrites/pooled_only.py"""

import numpy as np
import onnx_ir

from edgeprune.graph.rewrites.narrow_reads import NarrowReads
from edgeprune.graph.rewrites.pooled_only import PooledOnly
from tests.support.graphs import assert_same, numbers, run, written

GRAPH = """
(float[batch, sequence, 4] x) => (float[batch, sequence, 4] last_hidden_state, float[batch, 4] sentence_embedding) {
  last_hidden_state = MatMul(x, w)
  sentence_embedding = Gather<axis = 1>(last_hidden_state, first)
}
"""


def graph() -> onnx_ir.Model:
    return written(GRAPH, w=numbers(4, 4), first=np.array(0))


def test_the_states_are_left_out_and_the_embedding_stays() -> None:
    model, feeds = graph(), {"x": numbers(3, 5, 4)}
    expected = run(model, feeds)["sentence_embedding"]
    assert PooledOnly()(model).places == 1
    assert [value.name for value in model.graph.outputs] == ["sentence_embedding"]
    assert_same(run(model, feeds), {"sentence_embedding": expected})


def test_the_last_layer_is_then_computed_for_the_token_that_is_read() -> None:
    model = graph()
    assert NarrowReads()(model).places == 0
    PooledOnly()(model)
    assert NarrowReads()(model).places == 1


def test_states_that_are_all_there_is_stay() -> None:
    model = written(
        "(float[batch, sequence, 4] x) => (float[batch, sequence, 4] last_hidden_state) { last_hidden_state = MatMul(x, w) }",
        w=numbers(4, 4),
    )
    assert PooledOnly()(model).places == 0

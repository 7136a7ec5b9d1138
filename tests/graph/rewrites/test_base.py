from collections.abc import Callable

import onnx_ir
import pytest
from onnx_ir.passes import PostconditionError, PreconditionError

from edgeprune.graph.rewrites.base import Rewrite
from tests.support.graphs import content, numbers, written

TEXT = "(float[b, 4] x) => (y) { h = MatMul(x, w)  g = Neg(h)  y = Relu(g) }"


class Given(Rewrite):
    """A rewrite that a test makes up."""

    def __init__(self, change: Callable[[onnx_ir.Graph], int]) -> None:
        self._change = change

    def change(self, model: onnx_ir.Model) -> int:
        return self._change(model.graph)


def model() -> onnx_ir.Model:
    return written(TEXT, w=numbers(4, 4))


def skip_the_product(graph: onnx_ir.Graph) -> int:
    graph[1].replace_input_with(0, graph.inputs[0])
    return 1


def move_the_product_to_the_end(graph: onnx_ir.Graph) -> int:
    product = graph[0]
    graph.remove(product)
    graph.append(product)
    return 1


def give_two_values_one_name(graph: onnx_ir.Graph) -> int:
    graph[1].outputs[0].name = "h"
    return 1


def give_two_nodes_one_name(graph: onnx_ir.Graph) -> int:
    graph[0].name = graph[1].name = "n"
    return 1


def test_what_nothing_reads_any_more_is_removed():
    changed = model()
    result = Given(skip_the_product)(changed)
    assert (result.model is changed, result.modified, result.places) == (True, True, 1)
    assert [node.op_type for node in changed.graph] == ["Neg", "Relu"]
    assert not changed.graph.initializers


def test_no_place_is_no_change():
    left = model()
    before = content(left)
    result = Given(lambda _: 0)(left)
    assert (result.modified, result.places) == (False, 0)
    assert content(left) == before


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (move_the_product_to_the_end, "Neg reads h before it is computed"),
        (give_two_values_one_name, "several values are called h"),
        (give_two_nodes_one_name, "several nodes are called n"),
    ],
)
def test_a_faulty_graph_is_neither_taken_nor_left(fault: Callable[[onnx_ir.Graph], int], words: str):
    faulty = model()
    with pytest.raises(PostconditionError, match=words):
        Given(fault)(faulty)
    with pytest.raises(PreconditionError, match=words):
        Given(lambda _: 0)(faulty)

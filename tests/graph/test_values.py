import numpy as np
import onnx_ir
import pytest

from edgeprune.graph.values import constant, constant_of, introduce, only_use, same_shape, same_size
from tests.support.graphs import content, written

RELU = "(float[n, 4] x) => (float[n, 4] y) { h = Add(x, w)  y = Relu(h) }"


def value_of(model: onnx_ir.Model, name: str) -> onnx_ir.Value:
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    return next(value for value in values if value.name == name)


def test_a_weight_is_known_and_what_is_computed_is_not():
    model = written(RELU, w=[1.0, 2, 3, 4])
    np.testing.assert_array_equal(constant_of(model.graph.initializers["w"]), np.float32([1, 2, 3, 4]))
    assert constant_of(value_of(model, "h")) is None
    assert constant_of(None) is None


def test_a_weight_that_a_caller_may_replace_is_not_known():
    model = written("(float[n, 4] x, float[4] w) => (float[n, 4] y) { y = Add(x, w) }", w=[1.0, 2, 3, 4])
    assert model.graph.initializers["w"].is_graph_input()
    assert constant_of(model.graph.initializers["w"]) is None


def test_sizes_of_which_nothing_is_known_are_not_the_same():
    model = written("(float[n, ?, 4] x, float[n, ?, 4] z, float[n, 3, 4] t) => (float[n, ?, 4] y) { y = Add(x, z) }")
    x, z, t = model.graph.inputs
    assert [same_size(*sizes) for sizes in zip(x.shape, z.shape, strict=True)] == [True, False, True]
    assert not same_shape(x, z)
    assert same_shape(t, t)
    assert not same_shape(t, None)
    assert not same_shape(t, model.graph.outputs[0])


@pytest.mark.parametrize("taken", ["x", "w", "h", "y"])
def test_a_new_value_never_has_a_name_that_is_taken(taken: str):
    model = written(RELU, w=[1.0, 2, 3, 4])
    added = constant(model.graph, taken, np.zeros(1))
    assert added.name == added.const_value.name == f"{taken}_1"
    assert constant(model.graph, taken, np.zeros(1)).name == f"{taken}_2"
    node = onnx_ir.node("Relu", [model.graph.inputs[0]])
    introduce(model.graph, node.outputs[0], taken, onnx_ir.DataType.FLOAT, onnx_ir.Shape([1]))
    assert node.outputs[0].name == f"{taken}_3"
    assert content(model)


def test_a_new_node_never_has_a_name_that_is_taken():
    model = written(RELU, w=[1.0, 2, 3, 4])
    model.graph[0].name = "new"
    node = onnx_ir.node("Relu", [model.graph.inputs[0]])
    introduce(model.graph, node.outputs[0], "new", None, None)
    assert (node.name, node.outputs[0].name) == ("new_1", "new_1")


def test_only_use_wants_one_standard_operator_and_no_output():
    model = written(
        "(float[n, 4] x) => (float[n, 4] y, float[n, 4] c)"
        "{ h = Add(x, w)  y = Relu(h)  z = Add(x, y)  b = custom.Relu(z)  c = Relu(b) }",
        w=[1.0, 2, 3, 4],
    )
    assert only_use(value_of(model, "h"), "Relu") is value_of(model, "y").producer()
    assert only_use(value_of(model, "h"), "Add") is None
    assert only_use(value_of(model, "x"), "Add") is None
    assert only_use(value_of(model, "y"), "Add") is None
    assert only_use(value_of(model, "z"), "Relu") is None

"""Put a first stage in front of a graph: one ONNX file that answers the texts that the first stage is sure of by itself.

    input_ids, attention_mask → the bag's logits → margin ≥ threshold and one text?
                                                    │ yes: the bag's logits
                                                    └ no:  the whole graph that was there before, as a branch

Inputs and outputs keep their names, types and shapes, so whatever opens the graph opens this one. A batch of several texts
has one branch for all of them, which is the encoder: an answer never depends on which other texts the bag is sure of.

The encoder's weights stay in the outer graph. ONNX Runtime fuses and packs them in the branch as it does without one.
"""

from pathlib import Path

import numpy as np
import onnx_ir

from edgeprune.cascade.bag import FIRST, SECOND, Bag
from edgeprune.graph.serialization import write_onnx

__all__ = ["write_cascade"]

_PREFIX = "first_stage"


def write_cascade(source: Path, destination: Path, bag: Bag, threshold: float) -> None:
    """Write a graph in which a bag answers the texts whose margin is at least `threshold`.

    Args:
        source: The encoder's graph: it reads `input_ids`, and gives one output, the logits.
        destination: The .onnx file to write.
        bag: The first stage.
        threshold: The smallest margin of an answer that needs no encoder.
    """
    model = onnx_ir.load(source)
    graph = model.graph
    (logits,) = graph.outputs
    encoder = list(graph)
    first = _FirstStage(graph, bag, threshold)
    name, dtype, shape = logits.name, logits.dtype, logits.shape
    graph.remove(encoder)
    graph.outputs.clear()
    logits.name = f"encoder_{name}"
    answered = onnx_ir.node("Cast", [first.logits], attributes={"to": dtype}, name=f"{_PREFIX}_answer")
    _describe(answered.outputs[0], f"{_PREFIX}_{name}", dtype, shape)
    branches = {
        "then_branch": onnx_ir.Graph([], answered.outputs, nodes=[answered], name=_PREFIX),
        "else_branch": onnx_ir.Graph([], [logits], nodes=encoder, name="encoder"),
    }
    choice = onnx_ir.node("If", [first.answers], attributes=branches, name="cascade")
    _describe(choice.outputs[0], name, dtype, shape)
    graph.extend([*first.nodes, choice])
    graph.outputs.append(choice.outputs[0])
    write_onnx(model, destination)


class _FirstStage:
    """Make the nodes that answer the first text of a batch, and that decide whether this is the answer.

    `logits` is [1, labels]. `answers` is one truth value, [1].
    """

    def __init__(self, graph: onnx_ir.Graph, bag: Bag, threshold: float) -> None:
        self.nodes: list[onnx_ir.Node] = []
        self._graph = graph
        inputs = {value.name: value for value in graph.inputs}
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        if mask is None:  # a graph without a mask takes no padding
            one = onnx_ir.tensor(np.array([1], np.int64))
            mask = self._add("ConstantOfShape", self._add("Shape", ids), value=one)
        self.logits = self._answer(self._first_row(ids), self._first_row(mask), bag)
        self.answers = self._add("And", self._is_sure(threshold), self._is_alone(ids))

    def _answer(self, ids: onnx_ir.Value, mask: onnx_ir.Value, bag: Bag) -> onnx_ir.Value:
        before, after = self._columns(ids, 0, -1), self._columns(ids, 1, _END)
        mixed = self._add(
            "Add", self._add("Mul", before, self._whole(FIRST)), self._add("Mul", after, self._whole(SECOND))
        )
        pairs = self._add("Add", self._add("Mod", mixed, self._whole(bag.pair_rows)), self._whole(bag.vocabulary))
        # A pair counts if both of its tokens do, on whichever side the padding is.
        both = self._add("Mul", self._columns(mask, 0, -1), self._columns(mask, 1, _END))
        places = self._add("Concat", ids, pairs, axis=1)
        counted = self._add("Cast", self._add("Concat", mask, both, axis=1), to=onnx_ir.DataType.FLOAT)
        rows = self._add("Gather", self._constant("table", bag.table), places, axis=0)
        rows = self._add("Cast", rows, to=onnx_ir.DataType.FLOAT)
        # [1, places] by [1, places, labels]: the sum of the rows that count.
        total = self._add("MatMul", self._add("Unsqueeze", counted, self._whole(1)), rows)
        total = self._add("Mul", self._add("Squeeze", total, self._whole(1)), self._real(bag.scale))
        size = self._add("Sqrt", self._add("ReduceSum", counted, self._whole(1), keepdims=1))
        return self._add("Add", self._add("Div", total, size), self._constant("bias", bag.bias))

    def _is_sure(self, threshold: float) -> onnx_ir.Value:
        top = onnx_ir.node("TopK", [self.logits, self._whole(2)], num_outputs=2, name=self._name("TopK"))
        _describe(top.outputs[0], f"{_PREFIX}_highest", onnx_ir.DataType.FLOAT, onnx_ir.Shape([1, 2]))
        _describe(top.outputs[1], f"{_PREFIX}_labels", onnx_ir.DataType.INT64, onnx_ir.Shape([1, 2]))
        self.nodes.append(top)
        highest = [self._add("Gather", top.outputs[0], self._whole(place), axis=1) for place in (0, 1)]
        margin = self._add("Squeeze", self._add("Sub", *highest), self._whole(1))
        return self._add("GreaterOrEqual", margin, self._real(threshold))

    def _is_alone(self, ids: onnx_ir.Value) -> onnx_ir.Value:
        return self._add("Equal", self._add("Shape", ids, start=0, end=1), self._whole(1))

    def _first_row(self, value: onnx_ir.Value) -> onnx_ir.Value:
        return self._add("Slice", value, self._whole(0), self._whole(1), self._whole(0))

    def _columns(self, value: onnx_ir.Value, start: int, end: int) -> onnx_ir.Value:
        return self._add("Slice", value, self._whole(start), self._whole(end), self._whole(1))

    def _add(self, op_type: str, *inputs: onnx_ir.Value, **attributes: object) -> onnx_ir.Value:
        name = self._name(op_type)
        node = onnx_ir.node(op_type, inputs, attributes=attributes, name=name)
        node.outputs[0].name = name
        self.nodes.append(node)
        return node.outputs[0]

    def _name(self, op_type: str) -> str:
        return f"{_PREFIX}_{op_type}_{len(self.nodes)}"

    def _whole(self, number: int) -> onnx_ir.Value:
        return self._constant(f"whole_{number}", np.array([number], np.int64))

    def _real(self, number: float) -> onnx_ir.Value:
        return self._constant(f"real_{number}", np.array([number], np.float32))

    def _constant(self, name: str, numbers: np.ndarray) -> onnx_ir.Value:
        name = f"{_PREFIX}_{name}"
        if name not in self._graph.initializers:
            value = onnx_ir.val(name, const_value=onnx_ir.tensor(numbers, name=name))
            self._graph.register_initializer(value)
        return self._graph.initializers[name]


_END = np.iinfo(np.int64).max


def _describe(
    value: onnx_ir.Value, name: str | None, dtype: onnx_ir.DataType | None, shape: onnx_ir.Shape | None
) -> None:
    value.name, value.dtype, value.shape = name, dtype, shape

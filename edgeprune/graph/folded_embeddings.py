"""Fold the token type that all tokens have into the table of positions.

    words + types[0] + positions[place]   →   words + (positions + types[0])[place]

Every token of a single text has type 0, in families that have types and aren't told any: those whose model has one type
only (RoBERTa), and those whose text isn't given types (`TextReader.inputs_of`). The type's lookup goes, and what makes its
places. Outputs change by rounding alone.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir

from edgeprune.graph.rewrites.base import Rewrite
from edgeprune.graph.rewrites.known_numbers import known_numbers
from edgeprune.graph.values import Numbers, constant, constant_of, only_use, same_shape

__all__ = ["FoldedEmbeddings"]


@dataclass(frozen=True)
class _Lookup:
    """Describe a lookup of rows of a table."""

    table: Numbers
    """The table, [rows, hidden]."""
    node: onnx_ir.Node
    place: onnx_ir.Value


class FoldedEmbeddings(Rewrite):
    """Fold a row that is looked up for every token into another table; a place is such a row."""

    def change(self, model: onnx_ir.Model) -> int:
        graph = model.graph
        known = known_numbers(graph, {})
        folded = 0
        for node in list(graph):
            total = only_use(node.outputs[0], "Add") if node.op_type == "Add" and not node.domain else None
            if total is None:
                continue
            terms = [*node.inputs, *(value for value in total.inputs if value is not node.outputs[0])]
            lookups = {value: lookup for value in terms if (lookup := _lookup(value)) is not None}
            same = [value for value, lookup in lookups.items() if lookup.place in known]
            moving = [value for value, lookup in lookups.items() if value not in same and _has_own_table(lookup)]
            if len(terms) != 3 or len(same) != 1 or not moving:
                continue
            (row,), positions = same, moving[0]
            (other,) = [value for value in terms if value not in (row, positions)]
            if same_shape(other, total.outputs[0]):
                _fold(graph, lookups[positions], lookups[row].table[int(known[lookups[row].place])])
                total.replace_input_with(0, other)
                total.replace_input_with(1, positions)
                folded += 1
        return folded


def _lookup(value: onnx_ir.Value) -> _Lookup | None:
    """Return the lookup that alone computes a value for a sum; None: the value is computed in another way."""
    node = value.producer()
    if node is None or node.op_type != "Gather" or node.domain or node.attributes.get_int("axis", 0):
        return None
    table = constant_of(node.inputs[0])
    alone = only_use(value, "Add") is not None
    return _Lookup(table, node, node.inputs[1]) if table is not None and table.ndim == 2 and alone else None


def _has_own_table(lookup: _Lookup) -> bool:
    """Tell whether nothing else reads the table, and it isn't looked up at what the graph is given, which are tokens."""
    return len(lookup.node.inputs[0].uses()) == 1 and not lookup.place.is_graph_input()


def _fold(graph: onnx_ir.Graph, lookup: _Lookup, row: Numbers) -> None:
    table = constant(graph, f"{lookup.node.inputs[0].name}_and_type", np.add(lookup.table, row))
    lookup.node.replace_input_with(0, table)

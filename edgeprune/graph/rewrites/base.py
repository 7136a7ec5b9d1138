"""Define what every exact rewrite is: an onnx-ir pass that says how many places it changed.

    requires → change → remove unused nodes and initializers → ensures

`requires` and `ensures` check the same two conditions, so that rewrites can walk the graph and ONNX Runtime takes it:
every value is computed before it is read, and no name is taken twice.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError
from onnx_ir.passes.common import RemoveUnusedNodesPass

__all__ = ["Changed", "Rewrite"]


@dataclass
class Changed(PassResult):  # type: ignore[misc]  # onnx-ir is Any to mypy
    """Describe what a rewrite did to a model."""

    places: int
    """How many places the rewrite changed, in its own unit; 0: it doesn't apply, and nothing was changed."""


class Rewrite(InPlacePass):  # type: ignore[misc]  # onnx-ir is Any to mypy
    """Make another graph that computes the same function."""

    @abstractmethod
    def change(self, model: onnx_ir.Model) -> int:
        """Change `model` in place, and return in how many places; 0: the model is as it was."""

    def requires(self, model: onnx_ir.Model) -> None:
        """Raise a PreconditionError for a graph that isn't well-formed."""
        for fault in _faults(model.graph):
            raise PreconditionError(f"{type(self).__name__} was given a graph in which {fault}; export it again")

    def call(self, model: onnx_ir.Model) -> Changed:
        """Change `model` and remove what nothing reads any more."""
        places = self.change(model)
        if places:
            RemoveUnusedNodesPass()(model)
        return Changed(model, modified=places > 0, places=places)

    def ensures(self, model: onnx_ir.Model) -> None:
        """Raise a PostconditionError for a graph that isn't well-formed."""
        for fault in _faults(model.graph):
            raise PostconditionError(
                f"{type(self).__name__} left a graph in which {fault}; this is a fault in edgeprune"
            )


def _faults(graph: onnx_ir.Graph) -> Iterator[str]:
    computed = set()
    for node in graph:
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and producer not in computed:
                yield f"{node.name or node.op_type} reads {value.name} before it is computed"
        computed.add(node)
    given = {*graph.inputs, *graph.initializers.values()}  # an initializer may be an input too
    outputs = [value for node in graph for value in node.outputs]
    for kind, names in (
        ("values", [value.name for value in [*given, *outputs]]),
        ("nodes", [node.name for node in graph]),
    ):
        yield from (f"several {kind} are called {name}" for name, times in Counter(names).items() if name and times > 1)

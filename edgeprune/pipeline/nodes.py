"""Place stages in a plan: a node says which artifacts a stage reads, and where its own artifact is kept."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from edgeprune.pipeline.stages.base import Stage
from edgeprune.store.store import Store

__all__ = ["Checkpoints", "Node", "Nodes", "ancestors"]


@dataclass(frozen=True)
class Node:
    """Place one stage in a plan: say which artifacts it reads, and where its own artifact is kept."""

    id: str
    stage: Stage
    parents: Mapping[str, "Node"]
    """The nodes whose artifacts the stage reads, by role."""
    store: Store
    seed: int
    _known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What `key` and `identity` are, once that is known: the rungs of a search are many generations, and each asks all
    before it."""

    @property
    def key(self) -> str | None:
        """The artifact's content address; None as long as it depends on a verdict that isn't there yet."""
        return self._remembered("key", self._made_key)

    @property
    def identity(self) -> str | None:
        """What enters the keys of artifacts made from this one: its key, or the digest of its stage's verdict."""
        return self._remembered("identity", self._made_identity)

    def _remembered(self, what: str, made: Callable[[], str | None]) -> str | None:
        if what not in self._known and (value := made()) is not None:
            self._known[what] = value
        return self._known.get(what)

    def _made_key(self) -> str | None:
        parents: dict[str, str] = {}
        for role, node in self.parents.items():
            identity = node.identity
            if identity is None:
                return None
            parents[role] = identity
        return self.stage.key(parents, self.seed)

    def _made_identity(self) -> str | None:
        key, verdict = self.key, self.stage.verdict
        if key is None or verdict is None:
            return key
        return self.store.recorded_digest(self.stage.name, key, verdict)


@dataclass
class Nodes:
    """Collect nodes in the order in which they run."""

    store: Store
    seed: int
    all: list[Node] = field(default_factory=list)

    def add(self, node_id: str, stage: Stage, parents: Mapping[str, Node], *, seed: int | None = None) -> Node:
        """Add a node after its parents. A node of this id that is there already is the same one, and is given back.

        Args:
            node_id: The node's id.
            stage: What it runs.
            parents: The nodes whose artifacts the stage reads, by role.
            seed: The seed of the stage; None: the build's.
        """
        node = next((one for one in self.all if one.id == node_id), None)
        if node is None:
            node = Node(node_id, stage, parents, self.store, self.seed if seed is None else seed)
            self.all.append(node)
        return node

    def keep(self, node_ids: Container[str]) -> None:
        """Forget the nodes whose ids aren't among these."""
        self.all[:] = [node for node in self.all if node.id in node_ids]


@dataclass(frozen=True)
class Checkpoints:
    """Name the nodes of the dense checkpoint and of the one that is shipped."""

    dense: Node
    final: Node
    """The node of the last round or of the chosen rung; the dense node if nothing is pruned."""
    last_round: int


def ancestors(node: Node, among: Iterable[Node]) -> list[Node]:
    """List a node and everything that it was made from, in the order of `among`."""
    found: dict[str, Node] = {}
    left = [node]
    while left:
        one = left.pop()
        if one.id not in found:
            found[one.id] = one
            left += one.parents.values()
    return [one for one in among if one.id in found]

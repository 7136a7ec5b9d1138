"""YAML within limits: text that would take all memory, or kill the parser, is refused before it is parsed.

A profile comes from anywhere, and a few hundred bytes of YAML can stand for billions of values (aliases of aliases) or for
a nesting that no parser survives. So the text is first read as a stream of events, which costs little whatever it holds:
its size, its depth, and the number of its values with every alias written out. Tags are refused: what they ask for is
either what YAML does anyway or what no profile needs.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import JsonValue

__all__ = ["LONGEST_TEXT", "lines_of", "load_yaml"]

LONGEST_TEXT = 4_000_000
"""The most characters of a whole text. Masks of a large model take less than a tenth of it."""

_MOST_DEPTH = 32
_MOST_VALUES = 500_000
"""The most keys, values, lists and mappings of a text, with aliases written out."""
_LONGEST_VALUE = 10_000
"""The most characters of one value."""
_LARGEST = 2**63
"""Whole numbers are below this; what computes with them knows no larger ones."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Load YAML safely (by libyaml where PyYAML was built with it), but refuse a key given twice in one mapping."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} should be text", problem_mark=key_node.start_mark)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    number: int = loader.construct_yaml_int(node)
    if abs(number) >= _LARGEST:
        raise yaml.MarkedYAMLError(
            problem=f"the number {node.value[:20]}… is too large; expected one below 2^63", problem_mark=node.start_mark
        )
    return number


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def load_yaml(text: str) -> JsonValue:
    """Parse one YAML document.

    Raises:
        YAMLError: It is not YAML, is beyond a limit, has a tag, or gives a key twice; with its line where there is one.
    """
    if len(text) > LONGEST_TEXT:
        raise yaml.YAMLError(f"it has more than {LONGEST_TEXT:,} characters")
    try:
        _require_bounded(yaml.parse(text, Loader=_Loader))
        content: JsonValue = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except ValueError as error:  # a date or a number that isn't one
        raise yaml.YAMLError(str(error)) from error
    return content


def lines_of(text: str, paths: Iterable[str]) -> list[int | None]:
    """Find the lines on which the values at paths stand, or the nearest values that they would stand in.

    Args:
        text: YAML that `load_yaml` accepts.
        paths: Keys and numbers of items, with dots between them.

    Returns:
        The number of the line, from 1, for each path. None if not even the first key of the path is there.
    """
    root = yaml.compose(text, Loader=_Loader)
    return [_line(root, path) for path in paths]


def _line(node: yaml.Node | None, path: str) -> int | None:
    line = None
    for part in path.split("."):
        begins = None
        if isinstance(node, yaml.MappingNode):
            begins, node = next(((key, value) for key, value in node.value if key.value == part), (None, None))
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            begins = node = node.value[int(part)]
        if begins is None:
            break
        line = begins.start_mark.line + 1
    return line


@dataclass
class _Extent:
    """Hold how much a list, a mapping or a value stands for, with aliases written out."""

    anchor: str | None
    values: int = 1
    depth: int = 0
    """How many levels of lists and mappings lie inside it."""

    def hold(self, other: "_Extent") -> None:
        """Count another one inside this one."""
        self.values += other.values
        self.depth = max(self.depth, other.depth + 1)


def _require_bounded(events: Iterable[yaml.Event]) -> None:
    """Raises MarkedYAMLError at the first event that is beyond a limit."""
    anchors: dict[str | None, _Extent | None] = {}
    """None: what it names isn't complete."""
    unfinished = [_Extent(None)]
    """The document, and each list or mapping that is open."""
    before = 0
    """Values of those that are open, without those of the innermost."""
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            unfinished[-1].hold(_named(anchors, event))
        elif isinstance(event, yaml.ScalarEvent):
            _require_plain(event)
            anchors[event.anchor] = _Extent(event.anchor)
            unfinished[-1].hold(_Extent(event.anchor))
        elif isinstance(event, yaml.CollectionStartEvent):
            _require_plain(event)
            before += unfinished[-1].values
            anchors[event.anchor] = None
            unfinished.append(_Extent(event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            complete = unfinished.pop()
            before -= unfinished[-1].values
            anchors[complete.anchor] = complete
            unfinished[-1].hold(complete)
        if len(unfinished) + unfinished[-1].depth > _MOST_DEPTH + 2:
            raise _refusal(event, f"lists and mappings lie more than {_MOST_DEPTH} deep")
        if before + unfinished[-1].values > _MOST_VALUES:
            raise _refusal(event, f"more than {_MOST_VALUES:,} values, aliases written out")


def _require_plain(event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
    if event.tag is not None:
        raise _refusal(event, f"the tag {event.tag[:40]!r} has no meaning here; leave it out, or quote a text")
    if isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST_VALUE:
        raise _refusal(event, f"a value of {len(event.value):,} characters; expected at most {_LONGEST_VALUE:,}")


def _named(anchors: dict[str | None, _Extent | None], event: yaml.AliasEvent) -> _Extent:
    extent = anchors.get(event.anchor, _Extent(event.anchor))  # one that nothing names is the parser's to refuse
    if extent is None:
        raise _refusal(event, f"the alias {event.anchor!r} stands inside what it names")
    return extent


def _refusal(event: yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type] # libyaml's own mark

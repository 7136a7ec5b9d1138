"""Ask a finished package's `run.py` about rows of test, as its user would, and compare with what the build measured.

The answers come from a process of its own, which has nothing of the build but the package's folder. What they should be is
read from the outputs that the metric is made of.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.base.errors import ParityError
from edgeprune.data.images import ImageFile
from edgeprune.data.table import flat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeprune.data.table import Content, Text
    from edgeprune.models.reader import Array
    from edgeprune.tasks.prepared import Prepared

__all__ = ["require_same_answers"]

_ROWS = 64
_ARGUMENTS_BYTES = 100_000
"""Most that is given as arguments: texts that have more than one line can't come from standard input."""
_TOLERANCE = 1e-3
"""Of scores, which run.py rounds to four digits: both run one graph with the same options on this machine."""
_SHOWN = 160


@dataclass(frozen=True)
class _Row:
    """Hold one row of test: its number there, and what run.py is given."""

    number: int
    asked: "Content"


def require_same_answers(folder: Path, prepared: "Prepared", outputs: "Sequence[Array]") -> int:
    """Compare a package's answers to a sample of test with the build's own.

    Args:
        folder: The package's.
        prepared: The task and the test rows, encoded as the package's graph takes them.
        outputs: The graph's outputs on the test rows, which the metric is made of.

    Returns:
        The number of rows that were compared; 0 where no row of test can be given to a console.

    Raises:
        ParityError: `run.py` fails, or answers a row otherwise; the first such row is named.
    """
    task = prepared.task
    rows = _sample(prepared)
    if not rows:
        return 0
    with _on_this_cpu(folder):
        answers = _answers(folder, [row.asked for row in rows])
    for row, answer in zip(rows, answers, strict=True):
        content = prepared.test.contents[row.number]
        expected, found = task.said(outputs[row.number], content), task.heard(answer, content, prepared.reader)
        if not _equal(expected, found):
            raise ParityError(
                f"run.py answers test row {row.number + 1} ({_shown(content)}) otherwise than the metric has it: "
                f"{_differing(expected, found)}; nothing was shipped. This is a fault of edgeprune's: please report it"
            )
    return len(rows)


def _sample(prepared: "Prepared") -> list[_Row]:
    """Choose rows spread over the lengths that run.py can be given."""
    found = []
    for number in prepared.spread(_ROWS):
        asked = prepared.task.asked(prepared.test.contents[number], prepared.reader)
        if asked is not None and _can_be_given(asked):
            found.append(_Row(number, asked))
    while _by_arguments([row.asked for row in found]) and sum(_size(row.asked) for row in found) > _ARGUMENTS_BYTES:
        found = found[::-2][::-1]  # the longest stays
    return found


def _can_be_given(content: "Content") -> bool:
    """Say whether a console takes a row's texts; run.py leaves out blank ones."""
    texts = _texts([content])
    return all(text.strip() and "\0" not in text for text in texts) and _size(content) <= _ARGUMENTS_BYTES


def _size(content: "Content") -> int:
    return sum(len(text.encode()) for text in _texts([content]))


def _by_arguments(contents: Sequence["Content"]) -> bool:
    """Say whether a text has several lines, so that they can't be given as one a line."""
    return any(text.splitlines() != [text] for text in _texts(contents))


def _texts(contents: Sequence["Content"]) -> list[str]:
    return flat([content for content in contents if not isinstance(content, ImageFile)])


@contextmanager
def _on_this_cpu(folder: Path) -> "Iterator[None]":
    """Let a package run on the CPU meanwhile, as goldens do: this machine need not have the target's provider."""
    path = folder / "edgeprune.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(json.loads(text) | {"provider": "CPUExecutionProvider"}), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def _answers(folder: Path, contents: Sequence["Content"]) -> list[dict[str, Any]]:
    """Run `run.py` once.

    Raises:
        ParityError: It fails, or doesn't give an answer a row.
    """
    with tempfile.TemporaryDirectory() as images:
        given = _texts(contents)
        for number, content in enumerate(contents):
            if isinstance(content, ImageFile):
                path = Path(images, str(number))
                path.write_bytes(content.read())
                given.append(str(path))
        arguments = ["--", *given] if _by_arguments(contents) else []
        done = subprocess.run(  # noqa: S603 (the package's own script, with this interpreter)
            [sys.executable, str(folder / "run.py"), *arguments],
            input=b"" if arguments else "".join(f"{one}\n" for one in given).encode(),
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
        )
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) != len(contents):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ParityError(
            f"run.py should answer {len(contents)} test rows, but ends with exit code {done.returncode} after "
            f"{len(lines)}{': ' if said else ''}{said[-1][:_SHOWN] if said else ''}; nothing was shipped"
        )
    return [json.loads(line) for line in lines]


def _equal(expected: object, found: object) -> bool:
    """Compare names and places exactly, numbers within the tolerance; `found` may have more keys."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return all(name in found and _equal(value, found[name]) for name, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_equal, expected, found))
    if isinstance(expected, float) and isinstance(found, int | float):
        return abs(expected - found) <= _TOLERANCE * max(1.0, abs(expected))
    return expected == found


def _differing(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    name = next(name for name, value in expected.items() if not _equal(value, found.get(name)))
    return f"{name} {str(found.get(name))[:_SHOWN]} in place of {str(expected[name])[:_SHOWN]}"


def _shown(content: "Content") -> str:
    if isinstance(content, ImageFile):
        return content.where
    text: Text = content
    return repr(" | ".join(flat([text]))[:60])

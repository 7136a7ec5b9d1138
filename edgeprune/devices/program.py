"""What runs models on a device that a shell can be had on: the agent in a Python there, or ONNX Runtime's own benchmark."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Protocol

from edgeprune.devices import Record
from edgeprune.devices.agent_answer import read_answer
from edgeprune.devices.connection import killable
from edgeprune.ondevice import agent

__all__ = ["AgentProgram", "Asked", "Copy", "Program"]


@dataclass(frozen=True)
class Copy:
    """A model, or a package's folder, and its copy on the device."""

    here: Path
    there: str


@dataclass(frozen=True)
class Asked:
    """A request in a shell's terms."""

    script: str
    """A line of POSIX shell; whatever of it takes long is `killable`."""
    source: bytes
    """Its standard input."""
    read: Callable[[CompletedProcess[str], str], list[Record]]
    """How it ended, and what it ran on, to the agent's lines; TargetError where it failed."""


class Program(Protocol):
    """Answers the agent's requests on a device."""

    files: tuple[Path, ...]
    """What of ours it needs there, in the work folder."""

    def ask(self, request: Record, models: Mapping[str, Copy], folder: str) -> Asked:
        """A request for these models, which lie below the work folder `folder`."""
        ...


class AgentProgram:
    """`agent.py`. See `Program`.

    Args:
        python: What runs it there.
    """

    files: tuple[Path, ...] = (Path(agent.__file__),)

    def __init__(self, python: str) -> None:
        self._python = python

    def ask(self, request: Record, models: Mapping[str, Copy], folder: str) -> Asked:
        """See `Program.ask`."""
        full = {**request, "models": [{"name": name, "path": model.there} for name, model in models.items()]}
        return Asked(
            _agent_script(self._python, folder),
            json.dumps(full).encode(),
            lambda done, place: read_answer(done, place, self._python),
        )


def _agent_script(python: str, folder: str) -> str:
    """Run the agent; its temporary files go into the work folder, which is removed however it ends."""
    program = shlex.quote(f"{folder}/agent.py")
    return f"export TMPDIR={shlex.quote(folder)}; {killable(folder, f'exec {python} {program}')}"

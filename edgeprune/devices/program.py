"""Run models on a device that a shell can be had on, by the agent in a Python there; `perf_test.py` does it without one."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Protocol

from edgeprune.devices.agent_answer import read_answer
from edgeprune.devices.connection import killable
from edgeprune.devices.protocol import Answer, Request
from edgeprune.ondevice import agent

__all__ = ["AgentProgram", "Asked", "Copy", "Program"]


@dataclass(frozen=True)
class Copy:
    """Name a model, or a package's folder, and its copy on the device."""

    here: Path
    there: str


@dataclass(frozen=True)
class Asked:
    """Hold a request in a shell's terms."""

    script: str
    """A line of POSIX shell; whatever of it takes long is `killable`."""
    source: bytes
    """Its standard input."""
    read: Callable[[CompletedProcess[str], str], list[Answer]]
    """How it ended, and what it ran on, to answers; TargetError where it failed."""


class Program(Protocol):
    """Answer the agent's requests on a device."""

    files: tuple[Path, ...]
    """What of ours it needs there, in the work folder."""

    def ask(self, request: Request, models: Mapping[str, Copy], folder: str) -> Asked:
        """Put a request in a shell's terms.

        Args:
            request: What is asked.
            models: By name; their copies lie below the work folder.
            folder: The work folder on the device.
        """
        ...


class AgentProgram:
    """Answer requests with `agent.py`. See `Program`.

    Args:
        python: What runs it there.
    """

    files: tuple[Path, ...] = (Path(agent.__file__),)

    def __init__(self, python: str) -> None:
        self._python = python

    def ask(self, request: Request, models: Mapping[str, Copy], folder: str) -> Asked:
        """Write a line that runs the agent. See `Program.ask`."""
        return Asked(
            _agent_script(self._python, folder),
            request.as_json({name: model.there for name, model in models.items()}).encode(),
            lambda done, place: read_answer(done, request, models, place=place, python=self._python),
        )


def _agent_script(python: str, folder: str) -> str:
    """Run the agent; its temporary files go into the work folder, which is removed however it ends."""
    program = shlex.quote(f"{folder}/agent.py")
    return f"export TMPDIR={shlex.quote(folder)}; {killable(folder, f'exec {python} {program}')}"

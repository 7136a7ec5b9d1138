"""Run models on a device with a shell, by the agent in the device's Python. `perf_test.py` does it without a Python."""

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
    """Name a model's file, or a package's folder, and its copy on the device."""

    here: Path
    there: str


@dataclass(frozen=True)
class Asked:
    """Hold a request as a shell script, and how its output is read."""

    script: str
    """A line of POSIX shell. Every part that takes long is `killable`."""
    source: bytes
    """The script's standard input."""
    read: Callable[[CompletedProcess[str], str], list[Answer]]
    """Makes answers of the ended script and the device's name. Raises TargetError if the script failed."""


class Program(Protocol):
    """Answer the agent's requests on a device."""

    files: tuple[Path, ...]
    """Files of edgeprune that the program needs in the work folder."""

    def ask(self, request: Request, models: Mapping[str, Copy], folder: str) -> Asked:
        """Write a request as a shell script.

        Args:
            request: What the device is asked.
            models: Models by name. Their copies lie below the work folder.
            folder: The work folder on the device.
        """
        ...


class AgentProgram:
    """Answer requests with `agent.py`. See `Program`.

    Args:
        python: The device's Python, which runs the agent.
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
    """Write the line that runs the agent. Its temporary files go into the work folder, which is removed in any case."""
    program = shlex.quote(f"{folder}/agent.py")
    return f"export TMPDIR={shlex.quote(folder)}; {killable(folder, f'exec {python} {program}')}"

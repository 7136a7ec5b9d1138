"""Run models on this machine, each request in a fresh process. The parent process sleeps while the child is timed."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgeprune.devices.agent_answer import read_answer
from edgeprune.devices.protocol import Answer, Request
from edgeprune.ondevice import agent

__all__ = ["LocalRunner"]


class LocalRunner:
    """Run the agent on this machine. See `Runner`."""

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Have this machine answer a request. See `Runner.run`."""
        done = subprocess.run(  # noqa: S603 (our own interpreter and file)
            [sys.executable, str(Path(agent.__file__))],
            input=request.as_json({name: str(path) for name, path in models.items()}),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        return read_answer(done, request, models, place="this machine", python=sys.executable)

    def close(self) -> None:
        """Do nothing, because every process has ended with its run. See `Runner.close`."""

"""The local runner: this machine, a fresh Python process a run. The parent sleeps while the child is timed."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgeprune.devices import Record
from edgeprune.devices.agent_answer import read_answer
from edgeprune.ondevice import agent

__all__ = ["LocalRunner"]


class LocalRunner:
    """Runs the agent here."""

    def run(self, request: Record, models: Mapping[str, Path]) -> list[Record]:
        """See `Runner.run`."""
        full = {**request, "models": [{"name": name, "path": str(path)} for name, path in models.items()]}
        done = subprocess.run(  # noqa: S603 (our own interpreter and file)
            [sys.executable, str(Path(agent.__file__))],
            input=json.dumps(full),
            capture_output=True,
            text=True,
            check=False,
        )
        return read_answer(done, "this machine", sys.executable)

    def close(self) -> None:
        """See `Runner.close`; every process has ended with its run."""

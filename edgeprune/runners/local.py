"""The local runner: this machine, a fresh Python process a run. The parent sleeps while the child is timed."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgeprune import agent
from edgeprune.runners import Record
from edgeprune.runners.lines import require_success

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
        return require_success(done, "on this machine")

"""The local runner: this machine, a fresh Python process a run. The parent sleeps while the child is timed."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgeprune import agent
from edgeprune.errors import TargetError
from edgeprune.runners import Record

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
        records: list[Record] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        fault = next((record for record in records if record["kind"] == "error"), None)
        if fault is not None:
            raise TargetError(f"the benchmark failed on this machine: {fault['message']}")
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise TargetError(f"the benchmark's process ended with {done.returncode} on this machine: {last}")
        return records

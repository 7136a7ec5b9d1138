"""A virtual environment for each peer, from `requirements/<peer>.txt`: peers can't share one, nor ours.

An environment that is whole says so in a file with its requirements' digest; any other is made anew.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parent / "requirements"
OURS = "edgeprune"
"""The environment that this command runs in."""


VARIABLES = {
    "CI": "true",  # Olive and OpenVINO report telemetry, but not from a pipeline
    "HF_HUB_OFFLINE": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Set in every process: nothing is asked of the network or told to it."""


@dataclass(frozen=True)
class Environment:
    """Where a peer lives."""

    name: str
    python: Path
    requirements_sha256: str | None
    """None for ours: `constraints.txt` pins it."""

    def start(self, script: Path, **settings: Any) -> subprocess.Popen:
        """A script in a process of its own, which reads text from a pipe; `settings` are Popen's."""
        return subprocess.Popen(
            [self.python, script], stdin=subprocess.PIPE, text=True, env={**os.environ, **VARIABLES}, **settings
        )


def open_environment(name: str, folder: Path) -> Environment:
    """The environment `name`, made in `folder` if it isn't there.

    Raises:
        subprocess.CalledProcessError: Its packages can't be installed; pip has said why.
    """
    if name == OURS:
        return Environment(name, Path(sys.executable), None)
    requirements = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    place = folder.absolute() / name
    python, whole = place / "bin" / "python", place / "requirements.sha256"
    if not whole.is_file() or whole.read_text(encoding="ascii") != digest:
        print(f"{name}: creating its environment", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True, stdout=sys.stderr)
        whole.write_text(digest, encoding="ascii")
    return Environment(name, python, digest)

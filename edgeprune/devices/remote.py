"""Run models on devices whose shell is reached by ssh or adb.

Files go through `cat` in the connection. So the device needs no SFTP server, and the user who runs the models owns the
files. While the connection lives, a model is kept under the digest of its files. It is copied again only if it was removed to make
room.
"""

import posixpath
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from edgeprune.base.errors import TargetError
from edgeprune.devices.agent_answer import last_line
from edgeprune.devices.connection import Connection, ConnectionLostError, Line
from edgeprune.devices.perf_test import PerfTestProgram
from edgeprune.devices.program import AgentProgram, Copy, Program
from edgeprune.devices.protocol import Answer, Request
from edgeprune.profiles.runners import RemoteConfig
from edgeprune.store.files import artifact_key, file_digest, graph_files

__all__ = ["RemoteRunner"]

_PAUSES_S = (1, 2, 4)
"""Seconds to wait before each new attempt after a lost connection."""


class RemoteRunner:
    """Run models on a device. See `Runner`.

    Args:
        config: The profile's `runner`. The device is not connected before the first run.
        line: Makes a new line to the device for each connection.
    """

    def __init__(self, config: RemoteConfig, line: Callable[[], Line]) -> None:
        self._config = config
        self._line = line
        self._program: Program = PerfTestProgram(config.perf_test) if config.perf_test else AgentProgram(config.python)
        self._connection: Connection | None = None
        self._lost: str | None = None
        """The work folder of a connection that was cut."""
        self._pushed: set[str] = set()
        self._wanted: set[str] = set()
        """Digests of the models that the last run needed."""

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Answer a request. If the connection is cut, run the request again from its beginning. See `Runner.run`."""
        for pause_s in _PAUSES_S:
            try:
                return self._run(request, models)
            except ConnectionLostError:
                if self._connection is not None:
                    self._lost = self._connection.folder
                self.close()
                time.sleep(pause_s)
        return self._run(request, models)

    def close(self) -> None:
        """Log out of the device; the device then cleans up. See `Runner.close`."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._pushed.clear()

    def _run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        device = self._connect()
        files = {name: _files(path) for name, path in models.items()}
        keys = {
            name: artifact_key([[place, file_digest(one)] for place, one in found.items()])
            for name, found in files.items()
        }
        self._make_room(device, set(keys.values()))
        for name, key in keys.items():
            if key not in self._pushed:
                for place, file in files[name].items():
                    self._push(device, file, posixpath.dirname(f"{device.folder}/{key}/{place}"))
                self._pushed.add(key)
        copies = {
            name: Copy(path, f"{device.folder}/{keys[name]}" + ("" if path.is_dir() else f"/{path.name}"))
            for name, path in models.items()
        }
        asked = self._program.ask(request, copies, device.folder)
        with tempfile.TemporaryFile() as source:
            source.write(asked.source)
            source.seek(0)
            done = device.run(f": >{shlex.quote(f'{device.folder}/pid')}; {asked.script}", source)
        if _is_full(done.stderr):
            raise TargetError(f"the benchmark on {device.place} found {self._no_space}")
        return asked.read(done, device.place)

    @property
    def _no_space(self) -> str:
        return f"no space left in {self._config.folder}; free some space, or name another folder in runner.folder"

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = Connection(self._line(), self._config.folder, before=self._lost)
            self._lost = None
            for file in self._program.files:
                self._push(self._connection, file, self._connection.folder)
        return self._connection

    def _make_room(self, device: Connection, wanted: set[str]) -> None:
        """Remove models that neither this run nor the last one needs. A race has dozens of graphs."""
        needed = wanted | self._wanted
        self._wanted = wanted
        if wanted <= self._pushed:
            return
        for key in self._pushed - needed:
            device.run(f"rm -rf {shlex.quote(f'{device.folder}/{key}')}", subprocess.DEVNULL)
        self._pushed &= needed

    def _push(self, device: Connection, file: Path, folder: str) -> None:
        place = shlex.quote(f"{folder}/{file.name}")
        with file.open("rb") as source:
            done = device.run(f"export LC_ALL=C; mkdir -p {shlex.quote(folder)} && cat >{place}", source)
        if done.returncode == 0:
            return
        what = f"could not copy {file.name} ({file.stat().st_size / 1e6:.1f} MB) to {device.place}"
        if _is_full(done.stderr):
            raise TargetError(f"{what}: the device has {self._no_space}")
        raise TargetError(
            f"{what}: {last_line(done.stderr)}; if the folder is the cause, name another folder in runner.folder"
        )


def _is_full(complaint: str) -> bool:
    return "No space left" in complaint or "quota exceeded" in complaint


def _files(model: Path) -> dict[str, Path]:
    """Find the files of a package, or a graph and its weights (model.onnx.data beside model.onnx), by their places."""
    if model.is_dir():
        found = {path.relative_to(model).as_posix(): path for path in model.rglob("*") if path.is_file()}
    else:
        found = {path.name: path for path in graph_files(model)}
    return dict(sorted(found.items()))

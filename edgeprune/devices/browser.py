"""Run models in a page of a headless Chromium on this machine. Each request gets a fresh browser with an empty profile.

`agent.mjs` answers the request in the page, as agent.py does elsewhere. This module serves it the models and onnxruntime-web's
files, and adds what a page can't tell: the memory of its process, what it fetched, and the machine's conditions.
"""

import contextlib
import gzip
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from pydantic import JsonValue

from edgeprune.base.errors import TargetError
from edgeprune.devices.agent_answer import read_answer
from edgeprune.devices.chromium import Chromium
from edgeprune.devices.page_server import PageServer
from edgeprune.devices.protocol import Answer, Drawn, MemoryRequest, ProbeRequest, Request
from edgeprune.devices.web_modules import RUNTIME, WebModules
from edgeprune.ondevice import agent
from edgeprune.profiles.runners import BrowserConfig
from edgeprune.store.files import file_digest, graph_files

__all__ = ["BrowserRunner"]

_ASSETS = Path(agent.__file__).parent / "browser"


class BrowserRunner:
    """Answer requests in a page. See `Runner`.

    Args:
        config: The profile's `runner`.
    """

    def __init__(self, config: BrowserConfig) -> None:
        self._config = config
        self._modules = WebModules(config.node_modules)
        self._gzipped: dict[str, int] = {}
        """The size of a file that gzip compressed, by the file's digest."""

    @property
    def lacking(self) -> str | None:
        """What isn't there on this machine, and what to do. None if everything is there."""
        if shutil.which(self._config.chromium) is None:
            return (
                f"there is no {self._config.chromium} here; install Chromium (on Debian: apt-get install chromium), or name "
                f"the command of one in runner.chromium"
            )
        return self._modules.lacking(RUNTIME)

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Have a page answer a request. See `Runner.run`.

        Raises:
            ValueError: The request asks for something that a page can't tell.
        """
        if request.mode in ("answers", "throughput"):
            raise ValueError(f"a page has no mode {request.mode}")
        if self.lacking is not None:
            raise TargetError(self.lacking)
        files: dict[str, Path | bytes] = {
            "index.html": (_ASSETS / "agent.html").read_bytes(),
            "agent.mjs": (_ASSETS / "agent.mjs").read_bytes(),
            "session.mjs": (_ASSETS / "page" / "session.mjs").read_bytes(),
            **{f"ort/{name}": path for name, path in self._modules.files(RUNTIME).items()},
        }
        asked = {**request.model_dump(mode="json"), "unread": agent.STATES_OUTPUT}
        if not isinstance(request, ProbeRequest):
            asked["batches"] = {name: request.batches[name] for name in models}
            asked["batches"] = json.loads(json.dumps(asked["batches"], default=lambda one: _served(one, files)))
        asked["models"] = [_model(number, name, path, files) for number, (name, path) in enumerate(models.items())]
        files["request.json"] = json.dumps(asked).encode()
        before = agent.conditions()
        with PageServer(files) as server, Chromium(self._config.chromium) as browser:
            version = browser.send("Browser.getVersion")["product"].partition("/")[2].partition(".")[0]
            page = browser.open(server.url)
            said: list[dict[str, Any]] = json.loads(page.evaluate("answered"))
            device = {**json.loads(page.evaluate("device()")), "cpu": f"Chromium {version} wasm"}
            if isinstance(request, MemoryRequest):
                (model,) = models
                said += self._alone(model, _peak_bytes(browser.renderers), server.fetched, files)
        lines = [self._device(device), _conditions("before", before), *said, _conditions("after", agent.conditions())]
        done = CompletedProcess([], 0, "".join(json.dumps(one) + "\n" for one in lines), "")
        return read_answer(done, request, models, place=device["cpu"], python=self._config.chromium)

    def close(self) -> None:
        """Do nothing, because every browser has ended with its run. See `Runner.close`."""

    def _device(self, told: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        machine = agent.device_info()
        return {
            "kind": "device",
            "onnxruntime": self._modules.version(RUNTIME),
            "arch": "wasm32",
            "system": ", ".join(filter(None, (machine["system"], machine["arch"], machine["cpu"]))),
            "python": None,
            **told,
        }

    def _alone(
        self, name: str, peak_bytes: int | None, fetched: Mapping[str, int], files: Mapping[str, Path | bytes]
    ) -> Iterator[dict[str, JsonValue]]:
        """Say what a page that ran one model needed. Bytes that aren't files are the page's own, and aren't counted."""
        yield {"kind": "memory", "name": name, "peak_bytes": peak_bytes}
        paths = {one: path for one in fetched if isinstance(path := files[one], Path)}
        yield {
            "kind": "download",
            "name": name,
            "files": {path.name: fetched[one] for one, path in paths.items()},
            "gzip_bytes": sum(map(self._gzip_bytes, paths.values())),
        }

    def _gzip_bytes(self, path: Path) -> int:
        digest = file_digest(path)
        if digest not in self._gzipped:
            self._gzipped[digest] = len(gzip.compress(path.read_bytes(), 6))
        return self._gzipped[digest]


def _served(value: object, files: dict[str, Path | bytes]) -> JsonValue:
    """Draw an input here, because a page has other random numbers, and say where the page finds it."""
    assert isinstance(value, Drawn)  # noqa: S101 (everything else in a batch is JSON)
    path = f"drawn/{value.seed}-{'x'.join(map(str, value.shape))}"
    if path not in files:
        files[path] = agent.input_array(value.model_dump()).tobytes()
    return {"path": path, "shape": list[JsonValue](value.shape)}


def _model(number: int, name: str, path: Path, files: dict[str, Path | bytes]) -> dict[str, JsonValue]:
    """Serve a graph, and the files of its weights beside it, and say where the page finds them."""
    data = graph_files(path)[1:]
    for one in (path, *data):
        files[f"models/{number}/{one.name}"] = one
    return {
        "name": name,
        "path": f"models/{number}/{path.name}",
        "data": [{"name": one.name, "path": f"models/{number}/{one.name}"} for one in data],
    }


def _conditions(moment: str, facts: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {"kind": "conditions", "moment": moment, **facts}


def _peak_bytes(processes: Sequence[int]) -> int | None:
    """Read the largest resident size so far of the largest of some processes. None if the system doesn't tell it.

    A browser keeps empty processes ready; the largest one has the page.
    """
    peaks = []
    for process in processes:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
            peaks += [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
    return max(peaks, default=None)

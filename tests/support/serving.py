"""`edgeprune serve` in a process of its own, and what a client needs to talk to it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.e2e import MAIN

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answered:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server that runs."""

    process: "subprocess.Popen[str]"
    port: int = field(default=0)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answered:
        """Send one request on a connection of its own. Bytes, and what yields them, are sent as they are."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            return answer_of(connection.getresponse())
        finally:
            connection.close()

    def predict(self, inputs: Any) -> Answered:
        return self.ask("POST", "/predict", json.dumps({"inputs": inputs}), JSON)

    def send(self, data: bytes) -> socket.socket:
        """Connect, and send some bytes."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(data)
        return connection

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, and give the exit code and what was said on standard error."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        return self.process.wait(60), said

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def request_of(inputs: Any) -> bytes:
    """A whole request, as it goes over the wire."""
    body = json.dumps({"inputs": inputs}).encode()
    return head(f"Content-Length: {len(body)}") + body


def head(*lines: str) -> bytes:
    """The head of a request to /predict."""
    return "\r\n".join(["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json", *lines, "", ""]).encode()


def answer_to(connection: socket.socket) -> Answered:
    """What comes on a connection, which is closed then."""
    with connection:
        return next_answer(connection)


def next_answer(connection: socket.socket) -> Answered:
    """What comes on a connection, which stays open."""
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        return answer_of(response)


def answer_of(response: http.client.HTTPResponse) -> Answered:
    return Answered(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


@contextlib.contextmanager
def serving(package: Path, *options: object, before: str = "") -> Iterator[Served]:
    """A server on a free port, which is stopped at the end if it still runs. `before` is code that runs first."""
    with subprocess.Popen(
        [sys.executable, "-c", before + MAIN, "serve", package, "--port", "0", "--json", *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        document = ""
        while not document.endswith("}\n") and (line := process.stdout.readline()):
            document += line
        assert document, process.stderr.read()
        try:
            yield Served(process, json.loads(document)["port"])
        finally:
            if process.poll() is None:
                process.terminate()

"""Registries for the tests: Debian's docker-registry on a port of this machine, and a small one that can be told to misbehave."""

import base64
import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.local_server import answering
from tests.support.sshd import free_port, listens, wait

DOCKER_REGISTRY = shutil.which("docker-registry")
"""None: it isn't installed here."""

USER, PASSWORD = "ali", "open sesame"
_HTPASSWD = "ali:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"
"""Of that user and password, by bcrypt, the only kind that docker-registry takes."""


@contextlib.contextmanager
def docker_registry(root: Path, *, with_login: bool = False) -> Iterator[str]:
    """Run docker-registry, and yield its host and port."""
    assert DOCKER_REGISTRY is not None
    host = f"127.0.0.1:{free_port()}"
    login = {"auth": {"htpasswd": {"realm": "tests", "path": str(root / "htpasswd")}}} if with_login else {}
    (root / "htpasswd").write_text(_HTPASSWD)
    config = {
        "version": 0.1, "log": {"level": "error"}, "http": {"addr": host},
        "storage": {"filesystem": {"rootdirectory": str(root / "blobs")}}, **login,
    }  # fmt: skip
    (root / "config.yml").write_text(json.dumps(config))
    with (
        (root / "registry.log").open("wb") as log,
        subprocess.Popen([DOCKER_REGISTRY, "serve", root / "config.yml"], stdout=log, stderr=log) as server,
    ):
        try:
            wait(lambda: listens(int(host.rpartition(":")[2])))
            yield host
        finally:
            server.terminate()


def docker_login(folder: Path, host: str, *, user: str = USER, password: str = PASSWORD) -> None:
    """Write what `docker login` writes."""
    shown = base64.b64encode(f"{user}:{password}".encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": shown}}}))


@dataclass
class Fault:
    """What a registry does in place of what it should do."""

    method: str
    path: str
    """A pattern that is searched in the request's path."""
    status: int | None = None
    """What it answers; None: it answers as it should."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    """What it adds to the answer, or says in it instead."""
    pause_s: float = 0
    """How long it waits before each byte."""


@dataclass
class OddRegistry:
    """A registry that keeps one repository in memory and lists referrers."""

    host: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    """By tag and by digest."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""
    token: str | None = None
    """What it wants to be shown; it gives it for the user and the password."""

    @property
    def tags(self) -> set[str]:
        return {one for one in self.manifests if not one.startswith("sha256:")}

    def referrers(self, subject: str) -> list[dict[str, Any]]:
        read = [(digest, json.loads(one)) for digest, one in self.manifests.items() if digest.startswith("sha256:")]
        return [
            {"digest": digest, "mediaType": one["mediaType"], "size": 1, "artifactType": one["artifactType"]}
            for digest, one in read
            if one.get("subject", {}).get("digest") == subject
        ]


class _Handler(BaseHTTPRequestHandler):
    registry: OddRegistry

    def do_GET(self) -> None:
        self.registry.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = next(
            (one for one in self.registry.faults if one.method == self.command and re.search(one.path, self.path)), None
        )
        if fault is not None and fault.status is not None:
            self.answer(fault.status, fault.body, fault)
        elif self.path.startswith("/token"):
            known = (
                self.headers.get("Authorization") == f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
            )
            self.answer(200 if known else 401, json.dumps({"token": self.registry.token}).encode())
        elif self.registry.token and self.headers.get("Authorization") != f"Bearer {self.registry.token}":
            realm = f'Bearer realm="http://{self.registry.host}/token",service="tests",scope="repository:team/reviews:pull,push"'
            self.answer(401, b"", Fault("", "", headers={"WWW-Authenticate": realm}))
        else:
            self.answer(*self.right(body), fault)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (the base class's names)

    def right(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """What a registry should answer."""
        kept, path = self.registry, urlsplit(self.path).path.removeprefix("/v2/team/reviews/")
        kind, _, which = path.partition("/")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if self.command == "POST":
            return 202, b"", {"Location": f"{self.path}one?state=x"}
        if self.command == "PUT" and kind == "blobs":
            kept.blobs[parse_qs(urlsplit(self.path).query)["digest"][0]] = body
            return 201, b"", {"Docker-Content-Digest": digest}
        if self.command == "PUT":
            kept.manifests[digest] = kept.manifests[which] = body
            subject = json.loads(body).get("subject", {}).get("digest")
            return 201, b"", {"Docker-Content-Digest": digest, **({"OCI-Subject": subject} if subject else {})}
        if kind == "referrers":
            return 200, json.dumps({"manifests": kept.referrers(which)}).encode(), {}
        found = (kept.blobs if kind == "blobs" else kept.manifests).get(which)
        return (404, b"", {}) if found is None else (200, found, {})

    def answer(self, status: int, body: bytes, *more: "Fault | dict[str, str] | None") -> None:
        headers = {"Content-Length": str(len(body))}
        for one in more:
            headers |= one.headers if isinstance(one, Fault) else one or {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        pause_s = sum(one.pause_s for one in more if isinstance(one, Fault))
        if self.command == "HEAD":
            return
        with contextlib.suppress(OSError):  # the client has given up
            for byte in [body[at : at + 1] for at in range(len(body))] if pause_s else [body]:
                time.sleep(pause_s)
                self.wfile.write(byte)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def odd_registry() -> Iterator[OddRegistry]:
    """An `OddRegistry`, answering on a local port."""
    handler = type("Handler", (_Handler,), {})
    with answering(handler) as server:
        found = handler.registry = OddRegistry(f"127.0.0.1:{server.server_port}")
        yield found

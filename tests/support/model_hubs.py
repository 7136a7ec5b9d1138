"""A model hub for the tests that keeps one repository, in memory: the parts of the Hugging Face hub's API that packages need.

Small files are in the commit, as on the hub; files of weights go through LFS.
"""

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.local_server import answering

TOKEN = "hf_open_sesame"
REPOSITORY = "team/reviews"


@dataclass
class ModelHub:
    """A hub, and the commits of each branch of its one repository, the first of which is empty."""

    endpoint: str
    branches: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    """Empty: the repository isn't there yet."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """What LFS keeps, by its SHA-256."""
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The status and the message of answers, by a pattern of the request's method and path."""
    meanwhile: dict[str, bytes] = field(default_factory=dict)
    """What somebody else commits right before the next commit."""
    requests: list[str] = field(default_factory=list)

    def files(self, branch: str = "main") -> dict[str, bytes]:
        return self.branches[branch][-1]

    def find(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for branch, commits in self.branches.items():
            for commit in reversed(commits):
                if revision in (branch, commit_id(branch, commit)):
                    return commit_id(branch, commit), commit
        return None


def commit_id(branch: str, files: dict[str, bytes]) -> str:
    text = json.dumps([branch, *sorted((name, sha1(content)) for name, content in files.items())])
    return sha1(text.encode())


def sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def blob_id(content: bytes) -> str:
    return sha1(b"blob %d\0" % len(content) + content)


class _Handler(BaseHTTPRequestHandler):
    hub: ModelHub

    def do_GET(self) -> None:
        request, hub = f"{self.command} {urlsplit(self.path).path}", self.hub
        hub.requests.append(request)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for pattern, (status, said) in hub.refused.items():
            if re.search(pattern, request):
                self.answer(json.dumps({"error": said}).encode(), status=status)
                return
        if (
            self.command in ("POST", "PUT")
            and "/lfs-put/" not in request
            and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            self.answer(b'{"error": "Invalid username or password."}', status=401)
            return
        routes = {
            "POST /api/repos/create": self.create,
            "POST /api/validate-yaml": lambda *_: {},
            rf"POST /api/models/{REPOSITORY}/branch/(.+)": self.branch,
            rf"GET /api/models/{REPOSITORY}": lambda *_: self.info(body, "main"),
            rf"GET /api/models/{REPOSITORY}/revision/(.+)": self.info,
            rf"GET /api/models/{REPOSITORY}/tree/([^/]+)": self.tree,
            rf"POST /api/models/{REPOSITORY}/preupload/(.+)": self.preupload,
            rf"POST /{REPOSITORY}.git/info/lfs/objects/batch": self.batch,
            r"PUT /lfs-put/(\w+)": self.keep,
            rf"POST /api/models/{REPOSITORY}/commit/(.+)": self.commit,
            rf"(?:GET|HEAD) /{REPOSITORY}/resolve/([^/]+)/(.+)": self.resolve,
        }
        for pattern, do in routes.items():
            if match := re.fullmatch(pattern, request):
                found = do(body, *map(unquote, match.groups()))
                if found is not None:
                    self.answer(json.dumps(found).encode())
                return
        self.missing("RepoNotFound")

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (the base class's names)

    def create(self, body: bytes) -> Any:
        if self.hub.branches:
            taken = {"error": "You already created this model repo", "url": f"{self.hub.endpoint}/{REPOSITORY}"}
            return self.answer(json.dumps(taken).encode(), status=409)
        self.hub.branches["main"] = [{".gitattributes": b""}]
        return {"url": f"{self.hub.endpoint}/{REPOSITORY}"}

    def branch(self, body: bytes, name: str) -> Any:
        if name in self.hub.branches:
            return self.answer(b'{"error": "Reference already exists"}', status=409)
        self.hub.branches[name] = [dict(self.hub.branches["main"][0])]
        return {}

    def info(self, body: bytes, revision: str) -> Any:
        if not self.hub.branches:
            return self.missing("RepoNotFound")
        found = self.hub.find(revision)
        if found is None:
            return self.missing("RevisionNotFound")
        siblings = [{"rfilename": one["path"], "blobId": one["oid"], **one} for one in self.entries(found[1])]
        return {"id": REPOSITORY, "sha": found[0], "siblings": siblings}

    def tree(self, body: bytes, revision: str) -> Any:
        found = self.hub.find(revision)
        assert found is not None
        return self.entries(found[1])

    def entries(self, files: dict[str, bytes]) -> list[dict[str, Any]]:
        found = []
        for name, content in files.items():
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
            if name.endswith(".onnx"):
                entry |= {
                    "oid": "pointer",
                    "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 99},
                }
                entry["lfs"]["oid"] = entry["lfs"]["sha256"]
            found.append(entry)
        return found

    def preupload(self, body: bytes, revision: str) -> Any:
        names = [one["path"] for one in json.loads(body)["files"]]
        modes = [
            {"path": one, "uploadMode": "lfs" if one.endswith(".onnx") else "regular", "shouldIgnore": False}
            for one in names
        ]
        return {"files": modes}

    def batch(self, body: bytes) -> Any:
        objects = json.loads(body)["objects"]
        return {
            "transfer": "basic",
            "objects": [
                {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs-put/{one['oid']}"}}} for one in objects
            ],
        }

    def keep(self, body: bytes, digest: str) -> Any:
        self.hub.objects[digest] = body
        return {}

    def commit(self, body: bytes, revision: str) -> Any:
        commits = self.hub.branches[revision]
        if self.hub.meanwhile:
            commits.append({**commits[-1], **self.hub.meanwhile})
            self.hub.meanwhile = {}
        files = dict(commits[-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header" and value["parentCommit"] != commit_id(revision, files):
                return self.answer(b'{"error": "The branch has moved"}', status=412)
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            if line["key"] == "deletedFile":
                del files[value["path"]]
        commits.append(files)
        oid = commit_id(revision, files)
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{REPOSITORY}/commit/{oid}"}

    def resolve(self, body: bytes, revision: str, name: str) -> None:
        found = self.hub.find(revision)
        if found is None or name not in found[1]:
            self.missing("EntryNotFound")
        else:
            self.answer(found[1][name], ETag=sha1(found[1][name]), **{"X-Repo-Commit": found[0]})

    def missing(self, code: str) -> None:
        self.answer(b"", status=404, **{"X-Error-Code": code})

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def model_hub() -> Iterator[ModelHub]:
    """A `ModelHub`, answering on a local port."""
    handler = type("Handler", (_Handler,), {})
    with answering(handler) as server:
        found = handler.hub = ModelHub(f"http://127.0.0.1:{server.server_port}")
        yield found

"""Serve a page to a browser on this machine, and count what the page fetches.

    with PageServer({"index.html": b"<p>Hello</p>", "model.onnx": Path("model.onnx")}) as server:
        browser.open(server.url)
        server.fetched                          # {"index.html": 12, "model.onnx": 90405214}

The page may fetch from this server alone: the policy that is sent with every file allows nothing else. It is isolated from pages
of other origins, so that it has threads, and a clock of 5 µs in place of 100 µs
(https://developer.mozilla.org/en-US/docs/Web/API/Performance/now#security_requirements).
"""

import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit

__all__ = ["ISOLATION", "PageServer"]

ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
"""The headers that a page with threads must be sent with, on any server."""

_HEADERS = {
    **ISOLATION,
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self'; style-src 'self'; worker-src 'self'; "
        "script-src 'self' 'wasm-unsafe-eval'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
_CHUNK = 1 << 20


class PageServer:
    """Serve files to this machine alone, as long as the context is not left.

    Args:
        files: Files by their path below `url`. Bytes are served as they are.
    """

    def __init__(self, files: Mapping[str, Path | bytes]) -> None:
        self._files = files
        self.fetched: dict[str, int] = {}
        """The size in bytes of each file that was fetched, without compression. A file that is fetched twice is counted
        once, because a browser that keeps files fetches it once."""

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The address of the folder of all files."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name = unquote(urlsplit(request.path).path).lstrip("/") or "index.html"
        content = self._files.get(name)
        if content is None or (isinstance(content, Path) and not content.is_file()):
            request.send_error(HTTPStatus.NOT_FOUND)
            return
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        request.send_response(HTTPStatus.OK)
        for header, value in _HEADERS.items():
            request.send_header(header, value)
        request.send_header("Content-Type", _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream"))
        request.send_header("Content-Length", str(size))
        request.end_headers()
        self.fetched[name] = size
        try:
            if isinstance(content, bytes):
                request.wfile.write(content)
                return
            with content.open("rb") as file:
                while part := file.read(_CHUNK):
                    request.wfile.write(part)
        except ConnectionError:  # the browser has ended, or needs no more of the file
            request.close_connection = True

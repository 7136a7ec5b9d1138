"""edgeprune/devices/chromium.py and page_server.py: a page, what it reaches, and how it ends."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.devices.chromium import Chromium
from edgeprune.devices.page_server import PageServer
from edgeprune.devices.web_modules import RUNTIME, WebModules

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("node_modules")


@pytest.fixture
def browser() -> Iterator[Chromium]:
    with Chromium("chromium") as found:
        yield found


@pytest.fixture
def other() -> Iterator[tuple[str, list[str]]]:
    """Another server on this machine, which any page may read, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()
        thread.join()


def test_a_page_reaches_its_own_server_and_no_other(browser: Chromium, other: tuple[str, list[str]]):
    url, asked = other
    with PageServer({"index.html": b"<title>page</title>", "one.json": b"[1, 2]"}) as server:
        page = browser.open(server.url)
        assert page.evaluate("document.title") == "page"
        assert page.evaluate("fetch('one.json').then((found) => found.json())") == [1, 2]
        assert page.evaluate("fetch('two.json').then((found) => found.status)") == 404
        assert page.evaluate(f"fetch('{url}').then(() => 'reached', String)") == "TypeError: Failed to fetch"
        assert server.fetched == {"index.html": 19, "one.json": 6}
    assert asked == []
    with pytest.raises(TargetError, match="ERR_NAME_NOT_RESOLVED"):
        browser.open("http://example.com/")


def test_a_page_is_isolated_so_that_the_runtime_has_threads(browser: Chromium):
    files: dict[str, Path | bytes] = {"index.html": b"<!doctype html>", **WebModules().files(RUNTIME)}
    with PageServer(files) as server:
        page = browser.open(server.url)
        assert page.evaluate("crossOriginIsolated") is True
        asked = """(async () => {
          const ort = await import('./ort.wasm.bundle.min.mjs');
          Object.assign(ort.env.wasm, { numThreads: 2, wasmPaths: new URL('./', location).href, initTimeout: 30000 });
          await ort.InferenceSession.create(new Uint8Array([0])).catch(() => null);
          return ort.env.wasm.numThreads;
        })()"""
        assert page.evaluate(asked) == 2  # the runtime sets it to 1 where it has no threads


def test_a_page_that_throws_or_crashes_is_said(browser: Chromium):
    page = browser.open("data:text/html,page")
    with pytest.raises(TargetError, match=r"the page failed in Chromium: Error: no$"):
        page.evaluate("Promise.reject(new Error('no'))")
    with pytest.raises(TargetError, match=r"Chromium refused Page\.nothing"):
        page.send("Page.nothing")
    with pytest.raises(TargetError, match="the page crashed in Chromium; most likely it is out of memory"):
        page.send("Page.crash")

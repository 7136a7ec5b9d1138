"""`edgeprune serve`: what is said before it listens. tests/server/ has what it answers."""

import socket
import sys
from pathlib import Path

import pytest

from tests.support.e2e import Built, call


def test_a_port_that_is_in_use(built: Built) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("serve", built.package, "--port", port, "--json")
    assert done.code == 2
    sentence = f"port {port} of 127.0.0.1 is in use; choose another one with --port, or 0 for any that is free"
    assert (done.complaints, done.document["error"]) == ([f"edgeprune: {sentence}"], sentence)


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_extra_is_named(built: Built, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = call("serve", built.package)
    assert done.code == 2
    assert done.complaints == [f"edgeprune: a server needs {module}; install it with: pip install 'edgeprune[serve]'"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch-window-ms", "2"], "--batch-window-ms would not be read: a batch has one input"),
        (["--max-pixels", "100"], "--max-pixels would not be read: the package takes texts"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 is no address of this machine"),
        (["--port", "70000"], "should be less than or equal to 65535"),
        (["--max-body", "0"], "should be greater than or equal to 1"),
    ],
)
def test_options_that_make_no_sense(built: Built, options: list[str], words: str) -> None:
    done = call("serve", built.package, "--port", "0", *options)
    assert done.code == 2
    (complaint,) = done.complaints
    assert words in complaint


def test_what_is_no_package(tmp_path: Path) -> None:
    done = call("serve", tmp_path, "--port", "0")
    assert done.code == 2
    assert "is not a package" in done.complaints[0]

"""edgeprune/server/gate.py: bodies that are too large, too slow or too many are refused, and the server goes on."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edgeprune.server.gate import Gate
from edgeprune.server.limits import Limits
from edgeprune.server.metrics import Metrics
from tests.support.e2e import Built
from tests.support.serving import JSON, Served, answer_to, head, request_of, serving

MOST = 100_000
HUNDRED_MB = 100_000_000


@pytest.fixture(scope="module")
def server(built: Built) -> Iterator[Served]:
    with serving(built.package, "--max-body", MOST) as found:
        yield found
        assert found.predict("good").status == 200, "it goes on"
        code, said = found.stop()
        assert (code, said.count("\n")) == (0, 1)


def test_a_body_that_says_it_is_too_large_is_not_waited_for(server: Served) -> None:
    connection = server.send(head(f"Content-Length: {HUNDRED_MB}"))
    found = answer_to(connection)
    assert (found.status, found.headers["connection"]) == (413, "close")
    assert found.document == {"error": "the body has 100,000,000 bytes; at most 100,000 are taken"}


def test_a_chunked_body_is_not_read_to_its_end(server: Served) -> None:
    piece = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    connection = server.send(head("Transfer-Encoding: chunked") + piece * (MOST // 0x1000 + 1))
    found = answer_to(connection)
    assert found.status == 413
    assert found.document == {"error": "the body has more than the 100,000 bytes that are taken"}


@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_all_of_it_hears_why(server: Served, chunked: bool) -> None:
    server.predict("good")
    before = server.peak_bytes
    piece = b"x" * 100_000
    body = itertools.repeat(piece, HUNDRED_MB // len(piece))
    headers = JSON if chunked else {**JSON, "Content-Length": str(HUNDRED_MB)}
    assert server.ask("POST", "/predict", body, headers).status == 413
    assert server.peak_bytes - before < 8_000_000


def test_lengths_that_are_no_numbers(server: Served) -> None:
    for length in ("9" * 5000, "-1", "1e3"):
        assert answer_to(server.send(head(f"Content-Length: {length}"))).status in (400, 413)


def test_one_request_too_many_is_told_to_come_again(built: Built) -> None:
    with serving(built.package, "--max-requests", 1) as server:
        whole = request_of("good")
        first = server.send(whole[:-1])
        until = time.monotonic() + 30
        while (found := server.predict("good")).status != 503 and time.monotonic() < until:
            time.sleep(0.05)
        assert (found.status, found.headers["retry-after"]) == (503, "1")
        assert found.document == {"error": "the server has its 1 requests already; try again in a moment"}
        assert server.ask("GET", "/health").status == 200
        first.sendall(whole[-1:])
        assert answer_to(first).status == 200
        assert server.predict("good").status == 200


def test_who_leaves_is_forgotten(built: Built) -> None:
    with serving(built.package, "--max-requests", 1) as server:
        for sent in (head("Content-Length: 10"), request_of("good"), b"\x16\x03\x01 no HTTP at all\r\n\r\n"):
            server.send(sent).close()
        until = time.monotonic() + 30
        while (found := server.predict("good")).status == 503 and time.monotonic() < until:
            time.sleep(0.05)
        assert found.status == 200
        code, said = server.stop()
    assert (code, said.count("\n")) == (0, 1)


SCOPE = {"type": "http", "method": "POST", "path": "/predict", "headers": []}


def passed(app: Any, *parts: bytes) -> tuple[list[dict[str, Any]], list[BaseException], bytes]:
    """What is sent of a request whose last part never comes, the faults that are told, and the metrics."""
    metrics, faults, sent = Metrics(), [], []
    arriving = [{"type": "http.request", "body": part, "more_body": True} for part in parts]

    async def receive() -> Any:
        return arriving.pop(0) if arriving else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    gate = Gate(app, limits=Limits(), metrics=metrics, faulty=faults.append)
    asyncio.run(gate(dict(SCOPE), receive, send))
    return sent, faults, metrics.text()


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.server.gate._LONGEST_BODY_S", 0.05)
    monkeypatch.setattr("edgeprune.server.gate._LINGER_S", 1)
    (start, body, end), faults, counted = passed(None, b"{")
    assert (start["status"], body["more_body"], end["more_body"], faults) == (408, True, False, [])
    assert b"did not arrive within" in body["body"]
    assert b'edgeprune_requests_total{status="408"} 1.0' in counted
    (seconds,) = (line for line in counted.splitlines() if line.startswith(b"edgeprune_request_duration_seconds_sum "))
    assert 0.05 <= float(seconds.split()[1]) < 1, "the answer was sent before the rest of the body was thrown away"

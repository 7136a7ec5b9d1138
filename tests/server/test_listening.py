"""edgeprune/server/listening.py: a real server answers as run.py does, and stops without losing a request."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from edgeprune.base.errors import UsageError
from edgeprune.server.listening import listening
from tests.support.e2e import Built
from tests.support.serving import JSON, Served, answer_to, head, next_answer, request_of, serving

TEXTS = ["a very good film .", "the story was dull .", "superb !", "der Plot war 👍 schlecht"]


@pytest.fixture(scope="module")
def server(built: Built) -> Iterator[Served]:
    with serving(built.package) as found:
        yield found


@pytest.fixture(scope="module")
def expected(built: Built) -> list[dict[str, object]]:
    """What run.py says of the texts."""
    done = subprocess.run(
        [sys.executable, built.package / "run.py", *TEXTS], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [{name: value for name, value in answer.items() if name != "text"} for answer in answers]


def test_answers_are_those_of_run_py(server: Served, expected: list[dict[str, object]]) -> None:
    found = server.predict(TEXTS)
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.document == {"answers": expected}
    assert server.predict(TEXTS[1]).document == {"answers": expected[1:2]}


def test_an_archive_is_served_in_batches(built: Built, expected: list[dict[str, object]]) -> None:
    with serving(built.archive, "--batch-size", 4, "--batch-window-ms", 200, "--workers", 2) as server:
        connections = [server.send(request_of(text)) for text in TEXTS]
        found = [answer_to(connection).document["answers"] for connection in connections]
        counted = server.ask("GET", "/metrics").body.decode()
        code, said = server.stop()
    assert [one["label"] for (one,) in found] == [one["label"] for one in expected]
    assert "edgeprune_batch_size_count 1.0\n" in counted, "four requests, one batch"
    assert (code, said.count("\n")) == (0, 1)


def test_what_waits_is_answered_when_it_is_stopped(built: Built) -> None:
    with serving(built.package) as server:
        alone = server.predict(TEXTS[0]).document["answers"]
        connections = [server.send(request_of([TEXTS[0]] * 200)) for _ in range(64)]
        first = answer_to(connections[0])
        server.process.send_signal(signal.SIGTERM)
        found = [first, *(answer_to(connection) for connection in connections[1:])]
        code, said = server.ended()
    assert [one.status for one in found] == [200] * 64
    assert all(one.document["answers"] == alone * 200 for one in found)
    assert found[-1].headers["connection"] == "close"
    assert code == 0
    assert said.splitlines() == [f"{built.package} answers at http://127.0.0.1:{server.port}; stop with Ctrl-C"]
    with pytest.raises(ConnectionRefusedError):
        server.predict(TEXTS[0])


def test_clients_that_go_on_lose_nothing(built: Built) -> None:
    """Each of 16 clients sends one request after the other on its connection, until it hears that the last one was the last."""
    statuses: list[int] = []
    lost: list[BaseException] = []

    def client() -> None:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        try:
            while True:
                connection.sendall(request_of(TEXTS[0]))
                found = next_answer(connection)
                statuses.append(found.status)
                if found.headers.get("connection") == "close":
                    return
        except BaseException as error:  # noqa: BLE001 (the test tells of it)
            lost.append(error)
        finally:
            connection.close()

    with serving(built.package) as server:
        clients = [threading.Thread(target=client) for _ in range(16)]
        for one in clients:
            one.start()
        while len(statuses) < 100:
            time.sleep(0.01)
        code, _ = server.stop()
        for one in clients:
            one.join()
    assert (code, lost) == (0, [])
    assert set(statuses) == {200}


def test_ctrl_c_answers_what_came_and_a_second_one_does_not_wait(built: Built) -> None:
    with serving(built.package) as server:
        half = server.send(head("Content-Length: 1000"))
        whole = [server.send(request_of([TEXTS[0]] * 200)) for _ in range(16)]
        assert answer_to(whole[0]).status == 200
        server.process.send_signal(signal.SIGINT)
        assert not select.select(whole[-1:], [], [], 0)[0], "it is not answered yet"
        assert [answer_to(connection).status for connection in whole[1:]] == [200] * 15
        time.sleep(0.5)
        assert server.process.poll() is None, "a request that has begun to arrive is waited for"
        code, said = server.stop(signal.SIGINT)
        half.close()
    assert code == 130
    assert said.splitlines()[1:] == ["edgeprune: connections that were cut off before their answers: 1"]


def test_one_ctrl_c_is_130(built: Built) -> None:
    with serving(built.package) as server:
        assert server.ask("POST", "/predict", '{"inputs": "good"}', JSON).status == 200
        assert server.stop(signal.SIGINT)[0] == 130


def test_addresses_that_can_not_be_had() -> None:
    with listening("127.0.0.1", 0) as taken, pytest.raises(UsageError, match=r"port \d+ of 127.0.0.1 is in use"):
        listening("127.0.0.1", taken.getsockname()[1])
    for host in ("192.0.2.1", "no.such.host.invalid", "x" * 300):
        with pytest.raises(UsageError, match="is no address of this machine"):
            listening(host, 0)
    with pytest.raises(UsageError, match="--host is empty"):
        listening("", 0)

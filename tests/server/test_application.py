"""edgeprune/server/application.py: what is asked, what is answered, and what is said of what can't be."""

import asyncio
import base64
import io
import json
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import edgeprune
from edgeprune.base.errors import IntegrityError
from edgeprune.server.application import make_application
from edgeprune.server.batcher import Batcher
from edgeprune.server.gate import Gate
from edgeprune.server.limits import Limits
from edgeprune.server.metrics import Metrics
from tests.support.e2e import Built
from tests.support.serving import JSON, Served, serving


@pytest.fixture(scope="module")
def server(built: Built) -> Iterator[Served]:
    with serving(built.package, "--max-texts", 3, "--max-characters", 50) as found:
        yield found
        code, said = found.stop()
        assert (code, said.count("\n")) == (0, 1), "bad input leaves no word on standard error"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "the body is no JSON: EOF while parsing a value"),
        (b'{"inputs": "good"', 400, "the body is no JSON: EOF while parsing an object"),
        (b'{"inputs": "g\xff"}', 400, "the body is no JSON: invalid unicode code point"),
        (b'{"inputs": "\\ud800"}', 400, "the body is no JSON: "),
        (b'{"inputs": ' + b"[" * 90_000, 400, "the body is no JSON: recursion limit exceeded"),
        (b'{"inputs": ' + b"9" * 90_000 + b"}", 400, "the body is no JSON: number out of range"),
        (b'"good"', 422, "the body: should be an object"),
        (b"{}", 422, 'the body has no inputs; send {"inputs": …}'),
        (b'{"inputs": "good", "input": 1}', 422, "the body has the unknown key 'input'; it takes inputs alone"),
        (b'{"inputs": null}', 422, "inputs: should be a valid string"),
        (b'{"inputs": 7}', 422, "inputs: should be a valid string"),
        (b'{"inputs": {"text": "good"}}', 422, "inputs: should be a valid string"),
        (b'{"inputs": []}', 422, "inputs: should have at least 1 item"),
        (b'{"inputs": ["good", 7]}', 422, "inputs[1]: should be a valid string"),
        (b'{"inputs": [["good", "bad"]]}', 422, "inputs[0]: should be a valid string"),
        (b'{"inputs": ["a", "b", "c", "d"]}', 422, "inputs: should have at most 3 items"),
        (json.dumps({"inputs": "x" * 51}).encode(), 422, "inputs: should have at most 50 characters"),
        (json.dumps({"inputs": ["good", "x" * 51]}).encode(), 422, "inputs[1]: should have at most 50 characters"),
    ],
)
def test_bad_input_gets_a_sentence(server: Served, body: bytes, status: int, error: str) -> None:
    found = server.ask("POST", "/predict", body, JSON)
    assert found.status == status
    (said,) = found.document.values()
    assert said.startswith(error)
    assert len(said) < 200


@pytest.mark.parametrize(
    ("method", "path", "kind", "status", "error"),
    [
        ("POST", "/predict", "text/plain", 415, "the body should be application/json, and Content-Type says text/plain"),
        ("GET", "/predict", None, 405, "/predict takes no GET"),
        ("POST", "/health", None, 405, "/health takes no POST"),
        ("GET", "/docs", None, 404, "there is no /docs; ask /predict, /health, /metrics or /openapi.json"),
        ("POST", "/predict/", None, 404, "there is no /predict/; "),
    ],
)  # fmt: skip
def test_other_requests_get_a_sentence(
    server: Served, method: str, path: str, kind: str | None, status: int, error: str
) -> None:
    found = server.ask(method, path, b"{}" if method == "POST" else None, {"Content-Type": kind} if kind else {})
    assert found.status == status
    assert found.document["error"].startswith(error)
    assert status != 405 or "allow" in found.headers


def test_texts_that_are_odd_but_texts(server: Served) -> None:
    assert len(server.predict(["", " ", "\x00 \u202e 👩‍👩‍👧"]).document["answers"]) == 3


def test_pairs_are_answered(built: Built, tmp_path: Path) -> None:
    """Of a copy that is told to take pairs; BERT's tokenizer puts the two texts together."""
    package = Path(shutil.copytree(built.package, tmp_path / "pairs"))
    description = json.loads((package / "edgeprune.json").read_text(encoding="utf-8"))
    (package / "edgeprune.json").write_text(json.dumps({**description, "pair": True}), encoding="utf-8")
    pairs = [("good", "a dull film ."), ("bad", "superb !")]
    expected = edgeprune.load_onnx(package)(pairs)
    with serving(package) as server:
        assert server.predict(pairs).document == {"answers": expected}
        assert server.predict(pairs[1]).document == {"answers": expected[1:]}
        assert server.predict("good").document == {"error": "inputs: should be a list of two texts"}
        assert server.ask("GET", "/health").document["inputs"] == "text pairs"


def test_health_says_what_is_served(server: Served, built: Built) -> None:
    found = server.ask("GET", "/health").document
    assert found["edgeprune"]
    assert {name: found[name] for name in ("status", "package", "task", "labels", "inputs")} == {
        "status": "ready", "package": built.package.name, "task": "text-classification", "labels": ["neg", "pos"],
        "inputs": "texts",
    }  # fmt: skip
    assert (found["max_texts"], found["max_characters"]) == (3, 50)


def test_metrics_are_counted(built: Built) -> None:
    with serving(built.package) as server:
        assert server.predict(["good", "bad"]).status == 200
        assert server.predict(7).status == 422
        found = server.ask("GET", "/metrics")
    assert found.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(found.body.decode())
        for sample in family.samples
    }
    assert samples["edgeprune_requests_total", "200"] == samples["edgeprune_requests_total", "422"] == 1
    assert samples["edgeprune_request_duration_seconds_count",] == 2
    assert 0 < samples["edgeprune_request_duration_seconds_sum",] < 60
    assert samples["edgeprune_inputs_total",] == samples["edgeprune_batch_size_bucket", "1.0"] == 2
    assert samples["edgeprune_queue_depth",] == 0


def test_the_description_says_what_a_request_is(server: Served) -> None:
    found = server.ask("GET", "/openapi.json").document
    assert set(found["paths"]) == {"/predict", "/health", "/metrics"}
    asked = found["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    text = {"type": "string", "maxLength": 50}
    assert asked["properties"]["inputs"]["oneOf"] == [
        text,
        {"type": "array", "minItems": 1, "maxItems": 3, "items": text},
    ]
    assert "//" not in json.dumps(found), "nothing is loaded from elsewhere"


def asked(app: Any, scope: dict[str, Any], body: bytes) -> tuple[int, Any]:
    """What the application answers: the status and the document."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(dict(scope), receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


SCOPE = {
    "type": "http", "http_version": "1.1", "method": "POST", "path": "/predict", "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}  # fmt: skip


def test_a_head_that_takes_long_holds_up_no_other_request(monkeypatch: pytest.MonkeyPatch) -> None:
    file, loop_goes_on = io.BytesIO(), threading.Event()
    Image.new("RGB", (64, 64)).save(file, "BMP")
    real = Image.open

    def slow(*args: Any, **options: Any) -> Any:
        assert loop_goes_on.wait(10)
        return real(*args, **options)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asyncio.get_running_loop().call_later(0.05, loop_goes_on.set)
        await images(scope, receive, send)

    monkeypatch.setattr(Image, "open", slow)
    model: Any = SimpleNamespace(kind="image", pair=False, shown="images", task="image-classification", labels=())
    batcher = Batcher(lambda contents: [{} for _ in contents], batch_size=1, window_s=0, workers=1, ran=lambda _: None)
    images = make_application(model, batcher, limits=Limits(), metrics=Metrics())
    body = json.dumps({"inputs": base64.b64encode(file.getvalue()).decode()}).encode()
    assert asked(app, SCOPE, body) == (200, {"answers": [{}]})
    batcher.close()


@pytest.mark.parametrize(("text", "times"), [("x" * 1_000_000, 1), ("👍" + "x" * 1_000_000, 4)])
def test_a_request_that_waits_holds_its_inputs_alone(text: str, times: int) -> None:
    """Python keeps all characters of a text at the width of its widest one."""
    held: list[int] = []

    def answer(contents: Any) -> Any:
        held.append(tracemalloc.get_traced_memory()[0])
        return [{} for _ in contents]

    model: Any = SimpleNamespace(kind="text", pair=False, shown="texts", task="text-classification", labels=())
    limits, metrics = Limits(characters=2_000_000), Metrics()
    batcher = Batcher(answer, batch_size=1, window_s=0, workers=1, ran=metrics.ran)
    app = make_application(model, batcher, limits=limits, metrics=metrics)
    body = json.dumps({"inputs": text}, ensure_ascii=False).encode()
    tracemalloc.start()
    try:
        assert asked(Gate(app, limits=limits, metrics=metrics, faulty=print), SCOPE, body)[0] == 200
    finally:
        tracemalloc.stop()
    batcher.close()
    assert times <= held[0] / len(body) < times + 0.5


class PanicError(BaseException):
    """As a panic in Rust comes to Python: as what is no Exception."""


FAULT = "this is a fault in edgeprune; the server's standard error says more"


@pytest.mark.parametrize(
    ("raised", "error", "told"),
    [
        (IntegrityError("the session broke"), "the session broke", []),
        (ValueError("ours"), FAULT, ["ValueError: ours"]),
        (PanicError("index out of bounds"), FAULT, ["RuntimeError: PanicError: index out of bounds"]),
    ],
)
def test_what_the_model_can_not_do_is_500(built: Built, raised: BaseException, error: str, told: list[str]) -> None:
    def answer(_contents: Any) -> Any:
        raise raised

    metrics = Metrics()
    faults: list[BaseException] = []
    batcher = Batcher(answer, batch_size=1, window_s=0, workers=1, ran=metrics.ran)
    app = make_application(edgeprune.load_onnx(built.package), batcher, limits=Limits(), metrics=metrics)
    gate = Gate(app, limits=Limits(), metrics=metrics, faulty=faults.append)
    assert asked(gate, SCOPE, b'{"inputs": "good"}') == (500, {"error": error})
    batcher.close()
    assert [f"{type(fault).__name__}: {fault}" for fault in faults] == told
    assert all(raised in (fault, fault.__cause__) for fault in faults), "standard error shows where it was raised"
    assert b'edgeprune_requests_total{status="500"} 1.0' in metrics.text()

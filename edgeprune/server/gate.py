"""Let requests in to the model, within the limits: their number, the bytes of a body, and the time it takes to arrive.

A body is received here, whole, before the application sees it. What goes beyond a limit is answered at once, without
the rest of the body. The rest is then read and thrown away for a moment: a client that still sends would otherwise
find its connection reset, and never read the answer.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeprune.server.limits import Limits
from edgeprune.server.metrics import Metrics

__all__ = ["PREDICT", "Gate"]

PREDICT = "/predict"
"""The path that asks the model. All others take no body, and are always answered."""
_LONGEST_BODY_S = 20.0
"""Seconds within which a body must arrive."""
_LINGER_S = 2.0
"""Seconds for which the rest of a refused body is thrown away."""
_RETRY_AFTER_S = 1


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _GoneError(Exception):
    """The client left before its request was whole."""


class Gate:
    """Wrap the application, as an ASGI application of its own.

    Args:
        app: Answers what is let in.
        limits: What is let in.
        metrics: Counts every request to /predict.
        faulty: Told of every exception that the application lets out. The client has got a status of 500 by then.
    """

    def __init__(
        self, app: ASGIApp, *, limits: Limits, metrics: Metrics, faulty: Callable[[BaseException], None]
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._faulty = faulty
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] == PREDICT and scope["method"] == "POST":
            await self._counted(scope, receive, send)
        else:
            await self._pass(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500
        refused = False

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._admit(scope, receive, watched)
        except _GoneError:
            return
        except _RefusedError as error:
            refused = True
            await _refuse(error, watched)
        self._metrics.answered(status, time.perf_counter() - started)
        if refused:
            await _linger(receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._inside >= self._limits.requests:
            raise _RefusedError(
                503, f"the server has its {self._limits.requests:,} requests already; try again in a moment"
            )
        self._inside += 1
        try:
            # Nothing here keeps the body: it is freed once the application has read it.
            await self._pass(scope, _replayed(await self._body(scope, receive), receive), send)
        finally:
            self._inside -= 1

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 (a fault: it is told, and the server goes on)
            self._faulty(error)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        most = self._limits.body_bytes
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if int(told) > most:  # HTTP's own parser has refused what is no number
            raise _RefusedError(413, f"the body has {int(told):,} bytes; at most {most:,} are taken")
        body = bytearray()
        try:
            async with asyncio.timeout(_LONGEST_BODY_S):
                async for part in _parts(receive):
                    body += part
                    if len(body) > most:
                        raise _RefusedError(413, f"the body has more than the {most:,} bytes that are taken")
        except TimeoutError:
            raise _RefusedError(408, f"the body did not arrive within {_LONGEST_BODY_S:.0f} seconds") from None
        return bytes(body)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _replayed(body: bytes, receive: Receive) -> Receive:
    first: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed


async def _refuse(error: _RefusedError, send: Send) -> None:
    content = json.dumps({"error": str(error)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
    ]
    if error.status == 503:
        headers.append((b"retry-after", str(_RETRY_AFTER_S).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})


async def _linger(receive: Receive, send: Send) -> None:
    try:
        async with asyncio.timeout(_LINGER_S):
            async for _ in _parts(receive):
                pass
    except (TimeoutError, _GoneError):
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})

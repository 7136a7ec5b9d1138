"""Listen, and stop gracefully: what was accepted is answered, and nothing more is accepted."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from edgeprune.base.errors import UsageError
from edgeprune.pipeline.package_model import PackageModel
from edgeprune.server.application import make_application
from edgeprune.server.batcher import Batcher
from edgeprune.server.gate import Gate
from edgeprune.server.limits import Limits
from edgeprune.server.metrics import Metrics

__all__ = ["Ended", "listening", "serve"]

_BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""
_LONGEST_STOP_S = 120
"""Seconds after which a stop no longer waits for clients that don't take their answers."""
_LAST_REQUESTS_S = 0.1
"""Seconds in which requests that were on their way when the stop began are still read."""


@dataclass(frozen=True)
class Ended:
    """Say how a server ended."""

    signal: signal.Signals
    """The signal that stopped it."""
    left: int
    """Number of connections that were cut off before their answer."""


def listening(host: str, port: int) -> socket.socket:
    """Open a socket that listens. Who connects to it waits until it is served.

    Raises:
        UsageError: The port is in use, or the address can't be had.
    """
    if not host:  # the system would take it for every address
        raise UsageError("--host is empty; give an address of this machine, such as 127.0.0.1")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host} is no address of this machine; give one, such as 127.0.0.1") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_BACKLOG)  # two programs may be bound to one port, but only one may listen
    except OSError as error:
        found.close()
        raise UsageError(_why_not(error, host, port)) from error
    return found


def serve(
    model: PackageModel,
    listener: socket.socket,
    *,
    limits: Limits,
    batch_size: int,
    window_s: float,
    workers: int,
    started: Callable[[], None],
    faulty: Callable[[BaseException], None],
) -> Ended:
    """Answer requests until SIGTERM or SIGINT comes. A second one ends it at once.

    Args:
        model: Answers.
        listener: A socket that listens.
        limits: What is taken.
        batch_size: Most inputs that share a batch.
        window_s: Seconds that a batch waits to fill up.
        workers: Threads that run the model.
        started: Called once the server listens.
        faulty: Told of each exception that is a fault; its client got a status of 500.
    """
    metrics = Metrics()
    batcher = Batcher(
        partial(model, batch_size=batch_size),
        batch_size=batch_size,
        window_s=window_s,
        workers=workers,
        ran=metrics.ran,
    )
    metrics.watch_queue(lambda: batcher.waiting)
    app = make_application(model, batcher, limits=limits, metrics=metrics)
    server = _Server(Gate(app, limits=limits, metrics=metrics, faulty=faulty), started)
    server.run(sockets=[listener])
    if not server.left:
        batcher.close()
    return Ended(server.asked, server.left)


class _Server(uvicorn.Server):
    """Be uvicorn's server, which says nothing, and loses nothing when it stops."""

    asked = signal.SIGTERM
    left = 0

    def __init__(self, app: ASGIApp, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app, backlog=_BACKLOG, lifespan="off", ws="none", log_config=None, log_level="critical", access_log=False,
                server_header=False, proxy_headers=False, timeout_graceful_shutdown=_LONGEST_STOP_S,
            )
        )  # fmt: skip
        self._told = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again once it has stopped; here, the exit code says which one it was.
        self.force_exit = self.should_exit
        self.should_exit = True
        self.asked = signal.Signals(sig)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        # uvicorn closes connections that it has read no request from. Some have one on its way: it gets its answer, and
        # hears that it is the last.
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(_LAST_REQUESTS_S)
        await super().shutdown(sockets)
        self.left = len(self.server_state.connections)


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another one with --port, or 0 for any that is free"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} of {host} is not for this user; choose one above 1023 with --port"
    return f"--host {host} is no address of this machine; give one, such as 127.0.0.1"

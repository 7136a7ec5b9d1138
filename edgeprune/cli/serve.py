"""Serve a package over HTTP: `edgeprune serve`."""

import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.base.errors import UsageError
from edgeprune.base.extras import from_extra
from edgeprune.cli.console import err
from edgeprune.cli.options import Json, refuse_unread
from edgeprune.server.limits import Limits

__all__ = ["serve"]


def serve(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on. 0.0.0.0 lets other machines in: there is no password.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on. With 0, the system chooses one.", min=0, max=65535)
    ] = 8000,
    batch_size: Annotated[
        int,
        typer.Option(
            help="Inputs that may share a batch. With more than 1, int8 rounds for all of them together.", min=1
        ),
    ] = 1,
    batch_window_ms: Annotated[
        float,
        typer.Option(
            help="Milliseconds that a batch waits to fill up. With 0, it takes what is there.", min=0, max=1000
        ),
    ] = 0,
    workers: Annotated[
        int, typer.Option(help="Threads that run the model, a batch each at a time.", min=1, max=64)
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of ONNX Runtime.  [default: the package's own]", min=1, show_default=False),
    ] = None,
    max_body: Annotated[int, typer.Option(help="Most bytes of a request.", min=1)] = Limits.body_bytes,
    max_texts: Annotated[int, typer.Option(help="Most texts, pairs or images of a request.", min=1)] = Limits.texts,
    max_characters: Annotated[int, typer.Option(help="Most characters of a text.", min=1)] = Limits.characters,
    max_pixels: Annotated[int, typer.Option(help="Most pixels of an image.", min=1)] = Limits.pixels,
    max_requests: Annotated[
        int, typer.Option(help="Most requests at once; one more is told to come again.", min=1)
    ] = Limits.requests,
    as_json: Json = False,
) -> int:
    """Answer texts or images over HTTP: JSON in, JSON out.

    POST /predict {"inputs": "A text."} gives {"answers": [...]}. GET /health and GET /metrics say how the server does.
    Needs the extra `serve`. SIGTERM and Ctrl-C stop it: what was accepted is answered first. With --json, one document
    says where it listens.
    """
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        from_extra(module, "serve", "a server")
    from edgeprune.pipeline.package_model import open_package_model
    from edgeprune.server.listening import listening
    from edgeprune.server.listening import serve as answer_until_stopped

    if batch_size == 1:
        refuse_unread(context, ["batch_window_ms"], "a batch has one input; give --batch-size, or leave this out")
    with listening(host, port) as listener:
        model = open_package_model(package, threads=threads, provider=None)
        other = "max_pixels" if model.kind == "text" else "max_characters"
        refuse_unread(context, [other], f"the package takes {model.kind}s; leave this out")
        if batch_size > 1 and not model.padded:
            raise UsageError(
                f"{package}: its graph takes no padding, so inputs can't share a batch; leave --batch-size at 1, or build it "
                f"with stages.package.layout=portable"
            )
        ended = answer_until_stopped(
            model,
            listener,
            limits=Limits(
                body_bytes=max_body,
                texts=max_texts,
                characters=max_characters,
                pixels=max_pixels,
                requests=max_requests,
            ),
            batch_size=batch_size,
            window_s=batch_window_ms / 1000,
            workers=workers,
            started=lambda: _told(package, listener, as_json=as_json),
            faulty=_fault,
        )
    if ended.left:
        err.print(f"edgeprune: connections that were cut off before their answers: {ended.left:,}", style="red")
        # A thread may still run the model, and ONNX Runtime aborts where Python ends beneath it.
        sys.stderr.flush()
        os._exit(130)
    return 130 if ended.signal == signal.SIGINT else 0


def _told(package: Path, listener: socket.socket, *, as_json: bool) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    err.print(f"{package} answers at {url}; stop with Ctrl-C")
    if as_json:
        sys.stdout.write(json.dumps({"schema_version": 1, "url": url, "host": host, "port": port}, indent=2) + "\n")
        sys.stdout.flush()


def _fault(error: BaseException) -> None:
    traceback.print_exception(error)
    err.print("edgeprune: this is a fault in edgeprune; please report it with the traceback above", style="red")

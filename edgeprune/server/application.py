"""Make the application: /predict, /health, /metrics and /openapi.json. Every answer but the metrics is JSON.

    POST /predict   {"inputs": "A text."}  →  {"answers": [{"label": "pos", …}]}
    GET  /health    what the model is and what the server takes
    GET  /metrics   counters, as Prometheus reads them

What can't be answered has the status that says why, and {"error": "one sentence"}.
"""

import asyncio
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from edgeprune.base.errors import EdgepruneError, UsageError
from edgeprune.pipeline.package_model import PackageModel
from edgeprune.server.batcher import Batcher
from edgeprune.server.gate import PREDICT
from edgeprune.server.limits import Limits
from edgeprune.server.metrics import Metrics
from edgeprune.server.questions import question_of, what_is_wrong

__all__ = ["make_application"]


def make_application(model: PackageModel, batcher: Batcher, *, limits: Limits, metrics: Metrics) -> FastAPI:
    """Make the application that answers with `model`, by `batcher`."""
    release = version("edgeprune")
    # The pages of FastAPI's documentation load scripts from a CDN; the description itself is at /openapi.json.
    app = FastAPI(
        title="edgeprune",
        version=release,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    question = question_of(model, limits)
    described = {"required": True, "content": {"application/json": {"schema": question.model_json_schema()}}}

    @app.post(PREDICT, summary="Answer one input, or a list of them", openapi_extra={"requestBody": described})
    async def predict(request: Request) -> Response:
        kind = request.headers.get("content-type", "nothing")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, f"the body should be application/json, and Content-Type says {kind[:80]}")
        # request.body() would keep a copy until the answer; a request that waits should hold its inputs alone.
        body = b"".join([part async for part in request.stream()])
        if len(body) > _AT_ONCE_BYTES:
            asked = await asyncio.to_thread(question.model_validate_json, body)
        else:
            asked = question.model_validate_json(body)
        del body
        return JSONResponse({"answers": await asyncio.wrap_future(batcher.submit(asked.contents()))})

    @app.get("/health", summary="Tell what the model is, and what the server takes")
    async def health() -> Response:
        return JSONResponse(
            {
                "status": "ready",
                "package": model.shown,
                "task": model.task,
                "labels": model.labels,
                "inputs": f"{model.kind} pairs" if model.pair else f"{model.kind}s",
                "max_body_bytes": limits.body_bytes,
                "max_texts": limits.texts,
                "max_characters": limits.characters,
                "max_pixels": limits.pixels,
                "edgeprune": release,
            }
        )

    @app.get("/metrics", summary="Count requests, batches and seconds, for Prometheus", response_class=Response)
    async def counted() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(EdgepruneError, _unanswered)
    app.add_exception_handler(Exception, _fault)
    return app


_AT_ONCE_BYTES = 4096
"""Bytes of a body up to which reading it takes less time than asking a thread to. Others, such as a file whose head is
made to take long, hold up no other request."""
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI would send traces to where the environment says; what is counted here is at /metrics."""


def _error(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": sentence}, status, headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)  # noqa: S101 (what it is registered for)
    return _error(*what_is_wrong(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (what it is registered for)
    sentence = {
        404: f"there is no {request.url.path[:80]}; ask {PREDICT}, /health, /metrics or /openapi.json",
        405: f"{request.url.path[:80]} takes no {request.method[:80]}",
    }.get(error.status_code, error.detail)
    return _error(error.status_code, sentence, dict(error.headers or {}))


async def _unanswered(_request: Request, error: Exception) -> Response:
    return _error(422 if isinstance(error, UsageError) else 500, str(error))


async def _fault(_request: Request, _error_of_ours: Exception) -> Response:
    return _error(500, "this is a fault in edgeprune; the server's standard error says more")

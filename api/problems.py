"""Every refusal as application/problem+json (RFC 9457): ours, FastAPI's and Starlette's."""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from hubblewave_pipelines.core.errors import (
    Fault,
    Invalid,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PlatformError,
    RateLimited,
    Unauthenticated,
)

MEDIA_TYPE = "application/problem+json"


def document(error: PlatformError, *, instance: str, request_id: str) -> dict[str, Any]:
    """The problem document; `errors` only when there are faults to name."""
    found: dict[str, Any] = {
        "type": f"urn:hubblewave:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        "requestId": request_id,
    }
    if error.faults:
        found["errors"] = [fault.as_json() for fault in error.faults]
    if error.retry_after is not None:
        found["retryAfter"] = error.retry_after
    return found


def headers_of(error: PlatformError) -> dict[str, str]:
    """The headers that go with a refusal, whatever its body."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="hubblewave"'
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = str(error.context.get("allow", ""))
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif isinstance(error, RateLimited):
        headers["Retry-After"] = "1"
    return headers


def answer(error: PlatformError, *, instance: str, request_id: str) -> Response:
    """The response for a refusal."""
    body = msgspec.json.encode(document(error, instance=instance, request_id=request_id))
    return Response(body, error.status, headers_of(error), MEDIA_TYPE)


def refuse(request: Request, error: PlatformError) -> Response:
    return answer(error, instance=request.url.path, request_id=request.state.request_id)


def _platform(request: Request, error: Exception) -> Response:
    if not isinstance(error, PlatformError):
        raise error
    return refuse(request, error)


def _located(where: Sequence[int | str]) -> dict[str, str]:
    source, *path = where
    if source == "body":
        return {"pointer": "#" + "".join(f"/{part}" for part in path)}
    return {"parameter": ".".join(str(part) for part in path)}


def _validation(request: Request, error: Exception) -> Response:
    """FastAPI's own refusals: a body's faults are 422, a parameter's are 400."""
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [
        Fault(str(found["type"]), str(found["msg"]), **_located(found["loc"]))
        for found in error.errors()
    ]
    in_body = any(fault.pointer is not None for fault in faults)
    kind = Invalid if in_body else MalformedRequest
    return refuse(request, kind("The request is not valid.", faults=faults))


def _allowed(request: Request) -> str:
    """All methods of all routes that match the path: Starlette itself names only the first's."""
    methods: set[str] = set()
    for route in request.app.router.routes:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            if route.matches({**request.scope, "method": method})[0] is Match.FULL:
                methods.add(method)
    return ", ".join(sorted(methods))


def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = _allowed(request)
        return refuse(
            request, MethodNotAllowed(f"{request.url.path} answers {allow}.", allow=allow)
        )
    if error.status_code == HTTPStatus.NOT_FOUND:
        return refuse(request, NotFound(f"There is nothing at {request.url.path}."))
    refused = MalformedRequest(str(error.detail))
    return refuse(request, refused)


def install(app: FastAPI) -> None:
    """Give the application its exception handlers."""
    app.add_exception_handler(PlatformError, _platform)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)

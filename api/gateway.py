"""What every request passes: id, body limit, log line, metrics, security headers, CORS, last resort.

One pure ASGI middleware: stacked ones each cost a frame per message, and BaseHTTPMiddleware far more.
"""

import re
import time
import uuid
import zlib
from typing import Any

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import limits, problems
from hubblewave_pipelines.core.errors import (
    MalformedRequest,
    PlatformError,
    TooLarge,
    UnsupportedMedia,
)
from hubblewave_pipelines.settings import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
PREFIX = "/api/v1"
_UNPREFIXED = (PREFIX, "/health", "/metrics", "/api/docs", "/graphql")
_CLIENT_CLOSED = 499  # nobody reads the answer; the number is nginx's, for the log only
_MULTIPART_ROOM = 1_000_000  # form fields and boundaries beside the uploaded file

_SECURITY = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "private, no-store"),
    ("vary", "Authorization, X-API-Key, Accept"),
)
_PREFLIGHT = (
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        "access-control-allow-headers",
        "Apollo-Require-Preflight, Authorization, Content-Type, Idempotency-Key, If-Match, "
        "If-None-Match, Prefer, X-API-Key, X-HW-CSRF, X-Request-Id",
    ),
    ("access-control-max-age", "600"),
)
_EXPOSED = (
    "ETag, Idempotency-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, "
    "Retry-After, X-Query-Cost, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-Request-Id, X-Schema-Version"
)

_requests = Counter("hubblewave_http_requests", "Requests answered.", ["method", "route", "status"])
_seconds = Histogram(
    "hubblewave_http_request_seconds",
    "Time to answer.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# A method is whatever a client writes; a label must not be.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = structlog.get_logger("api")


def _template(scope: Scope) -> str:
    """The path of the route that answered, never the path asked for: labels must stay few.

    An included router knows its paths without the prefix it was included under.
    """
    route = scope.get("route")
    template: str | None = getattr(route, "path_format", None) or getattr(route, "path", None)
    if template is None:
        return "other"
    return template if template.startswith(_UNPREFIXED) else f"{PREFIX}{template}"


class _Body:
    """A request body as it arrives: counted, and inflated when it came as gzip."""

    def __init__(self, receive: Receive, limit: int, *, gzip: bool) -> None:
        self._receive = receive
        self._limit = limit
        self._left = limit
        self._inflater = zlib.decompressobj(wbits=31) if gzip else None

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        body = message.get("body", b"")
        if self._inflater is not None:
            body = self._inflated(self._inflater, body, last=not message.get("more_body", False))
        self._left -= len(body)
        if self._left < 0:
            raise too_large(self._limit)
        return {**message, "body": body}

    def _inflated(self, inflater: "zlib._Decompress", body: bytes, *, last: bool) -> bytes:
        try:
            inflated = inflater.decompress(body, self._left + 1)
        except zlib.error as error:
            raise MalformedRequest("The body is not valid gzip.") from error
        if inflater.unconsumed_tail:
            raise too_large(self._limit)
        if inflater.unused_data:
            raise MalformedRequest("The body continues after the end of its gzip stream.")
        if last and not inflater.eof:
            raise MalformedRequest("The body's gzip stream is cut off.")
        return inflated


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes, counted without compression.")


class Gateway:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._origins = frozenset(settings.cors_origins)
        self._secure = MutableHeaders(raw=[])
        for name, value in _SECURITY:
            self._secure[name] = value
        if settings.api_url.startswith("https:"):
            self._secure["strict-transport-security"] = "max-age=31536000; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        origin = headers.get("origin")
        status, sent = 0, 0

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(message, scope["state"], origin)
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            scope, receive = self._admit(scope, receive, headers)
            if origin is not None and self._is_preflight(scope, headers):
                allowed = self._preflight(origin)
                await answer({"type": "http.response.start", "status": 204, "headers": allowed})
                await answer({"type": "http.response.body"})
            else:
                await self._app(scope, receive, answer)
        except ClientDisconnect:
            status = _CLIENT_CLOSED
        except PlatformError as error:
            await self._refuse(scope, receive, answer, error)
        except Exception:
            _log.exception("unexpected", request_id=request_id, path=scope["path"])
            if status:  # half an answer is out; closing the connection is all that is left
                raise
            await self._refuse(
                scope, receive, answer, PlatformError("The platform failed; its log has more.")
            )
        finally:
            self._record(scope, request_id, status, sent, time.perf_counter() - started)

    def _admit(self, scope: Scope, receive: Receive, headers: Headers) -> tuple[Scope, Receive]:
        """The request with its body limited, or the refusal that its headers already call for."""
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            return scope, receive
        limit = self._settings.max_body_bytes
        if headers.get("content-type", "").startswith("multipart/form-data"):
            limit = self._settings.max_import_bytes + _MULTIPART_ROOM
        if length is not None and length.isdigit() and int(length) > limit:
            raise too_large(limit)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding == "identity":
            return scope, _Body(receive, limit, gzip=False)
        if encoding != "gzip":
            raise UnsupportedMedia(f"The Content-Encoding must be gzip or none, not {encoding}.")
        plain = [
            (name, value)
            for name, value in scope["headers"]
            if name not in (b"content-encoding", b"content-length")
        ]
        return {**scope, "headers": plain}, _Body(receive, limit, gzip=True)

    def _is_preflight(self, scope: Scope, headers: Headers) -> bool:
        return scope["method"] == "OPTIONS" and "access-control-request-method" in headers

    def _admits(self, origin: str) -> bool:
        """`null` is the origin of sandboxed pages and files: of anybody, so of nobody known."""
        return origin != "null" and (origin in self._origins or "*" in self._origins)

    def _preflight(self, origin: str) -> list[tuple[bytes, bytes]]:
        listed = _PREFLIGHT if self._admits(origin) else ()
        return [(name.encode(), value.encode()) for name, value in listed]

    def _complete(self, message: Message, state: dict[str, Any], origin: str | None) -> None:
        headers = MutableHeaders(raw=message["headers"])
        for name, value in self._secure.items():
            headers.setdefault(name, value)
        headers["x-request-id"] = state["request_id"]
        allowance = state.get("allowance")
        if allowance is not None:
            headers.raw.extend(limits.headers(allowance))
        principal = state.get("principal")
        if principal is not None:
            version = state.get("catalog_version", principal.catalog_version)
            headers["x-schema-version"] = str(version)
        if self._origins:
            headers.add_vary_header("Origin")
        if origin is not None and self._admits(origin):
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = _EXPOSED
        message["headers"] = headers.raw

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, error: PlatformError
    ) -> None:
        response = problems.answer(
            error, instance=scope["path"], request_id=scope["state"]["request_id"]
        )
        await response(scope, receive, send)

    def _record(
        self, scope: Scope, request_id: str, status: int, sent: int, seconds: float
    ) -> None:
        state = scope["state"]
        route = state.get("route") or _template(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        _requests.labels(method, route, str(status)).inc()
        _seconds.labels(method, route).observe(seconds)
        principal = state.get("principal")
        _log.info(
            "request",
            request_id=request_id,
            method=scope["method"],
            route=route,
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 2),
            bytes=sent,
            tenant=principal.tenant_slug if principal is not None else None,
            actor=str(principal.actor_id) if principal is not None else None,
        )

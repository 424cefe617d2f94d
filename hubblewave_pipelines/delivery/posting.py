"""One POST to an address that a tenant chose: bounded in time, size and reach, with a class for each failure."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Self

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

from hubblewave_pipelines.core.egress import Allow, check_url
from hubblewave_pipelines.core.errors import BlockedTarget
from hubblewave_pipelines.core.retry_after import retry_after
from hubblewave_pipelines.delivery.gate import DIAL, Dial, Gate, plain_socket
from hubblewave_pipelines.outbound.looking_up import Lookup, system_lookup

READ_BYTES = 64 * 1024
KEPT_BYTES = 16 * 1024
_HEADER_BYTES = 8190
_MAX_HEADERS = 100
_MAX_INFORMATIONAL = 10
_HEADER_KEPT, _HEADERS_KEPT = 1024, 8 * 1024
_TARGETS = 1024
_USER_AGENT = "HubbleWave-Webhooks/1"
_KEEPALIVE_SECONDS = 4.0  # Node.js closes an idle connection after 5


class ErrorClass(StrEnum):
    """Why an attempt failed, in the only words a tenant is told."""

    BLOCKED = "blocked"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    STATUS = "status"
    REDIRECT = "redirect"
    PROTOCOL = "protocol"


@dataclass(frozen=True, slots=True)
class Posted:
    """What came of a POST. `error_class` is None when the receiver answered 2xx in full and in time.

    `status` may be set beside an error class (a reply that stalled has one). `body` is the first
    16 KiB of the reply as text that PostgreSQL stores (no NUL), `headers` are the first 8 KiB of
    its headers, `detail` is a sentence without addresses, `retry_after` the receiver's wish in seconds from now, never negative.
    """

    status: int | None
    error_class: ErrorClass | None
    detail: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    duration_ms: int = 0
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        return self.error_class is None


class Session:
    """Sockets to receivers, kept alive between deliveries, all opened under one policy."""

    def __init__(self, allow: Allow, client: aiohttp.ClientSession) -> None:
        self.allow = allow
        self.client = client
        self.target = lru_cache(_TARGETS)(self._target)  # the same few receivers, again and again

    def _target(self, url: str) -> tuple[URL, bool]:
        """The URL to dial and whether it is plain http. Raises BlockedTarget."""
        target = check_url(url, self.allow)
        return URL(target.url, encoded=True), target.plain

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.client.close()


class _Response(aiohttp.ClientResponse):
    """aiohttp reads on through informational answers for ever, and a flood of them fills the loop."""

    async def start(self, connection: Connection) -> Self:
        protocol = connection.protocol
        assert protocol is not None
        read, left = protocol.read, _MAX_INFORMATIONAL

        async def bounded() -> tuple[RawResponseMessage, aiohttp.StreamReader]:
            nonlocal left
            left -= 1
            if left < 0:
                raise HttpProcessingError(message="too many informational answers")
            return await read()

        protocol.read = bounded  # type: ignore[method-assign]
        try:
            await super().start(connection)
        finally:
            del protocol.read
        return self


def open_session(
    allow: Allow,
    *,
    connections: int = 1000,
    lookup: Lookup = system_lookup,
    tls: ssl.SSLContext | None = None,
) -> Session:
    """A session whose every dial passes the gate. Open it on the loop that will use it; close it.

    `connections` bounds the sockets open at a time. `tls` replaces the system's trusted authorities
    (to which SSL_CERT_FILE adds those of a company).
    """
    gate = Gate(allow, lookup)
    dials_itself = allow.proxy is None  # else the proxy decides, and is all that is dialled
    connector = aiohttp.TCPConnector(
        resolver=gate if dials_itself else None,
        socket_factory=gate.socket if dials_itself else plain_socket,
        ssl=tls or True,
        limit=connections,
        ttl_dns_cache=10,
        keepalive_timeout=_KEEPALIVE_SECONDS,
    )
    client = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": _USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=None),  # `post` has the one clock that counts
        auto_decompress=False,
        response_class=_Response,
        trust_env=False,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        max_headers=_MAX_HEADERS,
    )
    return Session(allow, client)


def _here() -> datetime:
    return datetime.now(UTC)


async def post(
    session: Session,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    total: float,
    clock: Callable[[], datetime] = _here,
) -> Posted:
    """Send these bytes and say what came of it within `total` seconds, redirects not followed.

    `clock` says what time it is where a receiver names one (Retry-After as a date).

    A connection that was kept open and turns out to be closed is replaced once. Raises nothing for
    what a receiver, a network or a URL may do; cancelling closes the connection.
    """
    started = time.monotonic()
    answer = _Answer()
    failure: tuple[ErrorClass, str] | None = None
    dial = Dial(plain=False)
    DIAL.set(dial)
    try:
        target, dial.plain = session.target(url)
        async with asyncio.timeout(total):
            try:
                await answer.receive(session, target, headers, body)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                connecting = dial.dialled or isinstance(error, aiohttp.ClientConnectorError)
                if connecting or answer.status is not None:
                    raise
                await answer.receive(session, target, headers, body)
    except (BlockedTarget, TimeoutError, aiohttp.ClientError, OSError) as error:
        failure = _classify(error, dial)
    if failure is None and answer.status is not None:
        failure = _judge(answer.status)
    kind, detail = failure or (None, None)
    return Posted(
        status=answer.status,
        error_class=kind,
        detail=detail,
        headers=answer.headers,
        body=_text(bytes(answer.body[:KEPT_BYTES])),
        duration_ms=round((time.monotonic() - started) * 1000),
        retry_after=retry_after(answer.retry_after, clock()),
    )


class _Answer:
    """A reply as far as it has come."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.retry_after: str | None = None
        self.body = bytearray()

    async def receive(
        self, session: Session, url: URL, headers: Mapping[str, str], body: bytes
    ) -> None:
        response = await session.client.post(
            url,
            data=body,
            headers={"Content-Type": "application/json", **headers},
            allow_redirects=False,
            proxy=session.allow.proxy,
        )
        try:
            self.status = response.status
            self.retry_after = response.headers.get("Retry-After")  # in whatever case it came
            self.headers = _kept(response.headers)
            # Chunks of a byte cost the loop as much as those of a kilobyte: of them, no more than is kept.
            most = KEPT_BYTES if response.content_length is None else READ_BYTES
            while len(self.body) < most:
                chunk = await response.content.readany()
                if not chunk:
                    return
                self.body += chunk
        finally:
            # After the end the connection is back in the pool already; before it this ends it.
            response.close()


def _judge(status: int) -> tuple[ErrorClass, str] | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return ErrorClass.REDIRECT, f"The receiver answered {status}; redirects are not followed."
    return ErrorClass.STATUS, f"The receiver answered {status}."


def _classify(error: BaseException, dial: Dial) -> tuple[ErrorClass, str]:
    """The class of a failure and a sentence that names no address."""
    match error:
        case BlockedTarget():
            return ErrorClass.BLOCKED, error.detail
        case _ if dial.blocked:
            return ErrorClass.BLOCKED, "The address is not a public one."
        case TimeoutError():
            return ErrorClass.TIMEOUT, "The receiver did not answer in time."
        case aiohttp.ClientConnectorDNSError():
            return ErrorClass.DNS, "The name cannot be resolved."
        case aiohttp.ClientConnectorCertificateError():
            return ErrorClass.TLS, f"The certificate is not valid: {_certificate(error)}."
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return ErrorClass.TLS, "No TLS 1.2 or newer could be agreed on."
        case aiohttp.ClientHttpProxyError():
            return (
                (ErrorClass.BLOCKED, "The egress proxy refused the address.")
                if error.status in (403, 407)
                else (ErrorClass.CONNECT, "The egress proxy could not connect.")
            )
        case aiohttp.ClientConnectorError(
            os_error=ConnectionResetError() | ConnectionAbortedError()
        ) if not dial.plain:  # refusing a connection looks otherwise
            return ErrorClass.TLS, "The receiver hung up during the TLS handshake."
        case aiohttp.ClientConnectorError():
            return ErrorClass.CONNECT, "No connection could be opened."
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return ErrorClass.CONNECT, "The connection was closed before an answer came."
        case aiohttp.ClientPayloadError():
            return ErrorClass.PROTOCOL, "The answer broke off."
        case _:
            return ErrorClass.PROTOCOL, "The answer is not HTTP that can be read."


def _certificate(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "refused"


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers worth keeping: a receiver may not fill our log with hundreds of kilobytes."""
    kept, size = {}, 0
    for name, value in headers.items():
        text = _text_of(value)[:_HEADER_KEPT]
        size += len(name) + len(text)
        if size > _HEADERS_KEPT:
            break
        kept[name] = text
    return kept


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "")


def _text_of(value: str) -> str:
    """A header's value as PostgreSQL stores it; aiohttp carries other bytes as lone surrogates."""
    return _text(value.encode("utf-8", "surrogateescape"))

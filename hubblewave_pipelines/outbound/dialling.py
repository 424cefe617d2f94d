"""Sockets of sessions: opened only to addresses that the egress policy permits, held to the request's deadline."""

import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import httpcore
import httpx
from httpcore import NetworkBackend, NetworkStream

from hubblewave_pipelines.core.egress import Allow
from hubblewave_pipelines.core.errors import BlockedTarget
from hubblewave_pipelines.outbound.looking_up import (
    DNS_SECONDS,
    AddressInfo,
    Lookup,
    Unresolved,
    permitted,
    system_lookup,
)

# When the request that this thread waits for must be over (time.monotonic); None: no matter when.
DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)
_THREADS = ThreadPoolExecutor(16, thread_name_prefix="outbound-dns")


def _left(timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
    """What may be waited for one operation; a peer that drips bytes does not get more time by it."""
    until = DEADLINE.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise late("the request's time is over")
    return left if timeout is None else min(timeout, left)


class _Stream(NetworkStream):
    """A stream whose every operation ends with the deadline at the latest."""

    def __init__(self, inner: NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class Backend(NetworkBackend):
    """Resolves a name itself, asks the policy about every address, and dials the address, not the name."""

    def __init__(self, allow: Allow, plain: bool, lookup: Lookup = system_lookup) -> None:
        self._allow = allow
        self._plain = plain
        self._lookup = lookup
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> NetworkStream:
        """Raises BlockedTarget beside what httpcore raises."""
        failed: Exception = httpcore.ConnectError("no address")
        for answer in self._addresses(host, port):
            address = answer[4][0]
            if not self._allow.permits(address, port, plain=self._plain):
                raise BlockedTarget("Plain http is not allowed to this address.", reason="scheme")
            try:
                left = _left(timeout, httpcore.ConnectTimeout)
                return _Stream(
                    self._tcp.connect_tcp(address, port, left, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    def _addresses(self, host: str, port: int) -> Sequence[AddressInfo]:
        try:
            # The operating system's resolver takes no timeout; a look-up that stalls keeps its thread.
            answers = _THREADS.submit(self._lookup, host, port).result(DNS_SECONDS)
            return permitted(answers, port, self._allow)
        except FutureTimeout as error:
            raise httpcore.ConnectTimeout("the name's servers did not answer in time") from error
        except (Unresolved, socket.gaierror, UnicodeError) as error:
            raise httpcore.ConnectError("the name cannot be resolved") from error


@lru_cache(1)
def _trusted() -> ssl.SSLContext:
    """The system's authorities, to which SSL_CERT_FILE adds those of a company; reading them takes long."""
    return ssl.create_default_context()


def open_transport(
    allow: Allow,
    *,
    plain: bool,
    connections: int,
    lookup: Lookup = system_lookup,
    tls: ssl.SSLContext | None = None,
) -> httpx.HTTPTransport:
    """HTTP/2 where the system offers it, every dial through the policy. With a proxy in the policy that is
    all that is dialled, and it decides about addresses."""
    transport = httpx.HTTPTransport(
        verify=tls or _trusted(),
        trust_env=False,
        http2=True,
        limits=httpx.Limits(max_connections=connections, keepalive_expiry=30.0),
        proxy=allow.proxy,
    )
    if allow.proxy is None:
        # httpx has no parameter for it; tests/outbound/test_dialling.py fails should the name change.
        transport._pool._network_backend = Backend(allow, plain, lookup)
    return transport

"""The gate that every outgoing socket passes: names and addresses are held to the egress policy at each dial."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

from hubblewave_pipelines.core.egress import Allow
from hubblewave_pipelines.outbound.looking_up import (
    DNS_SECONDS,
    AddressInfo,
    Lookup,
    Unresolved,
    permitted,
    system_lookup,
)

_DNS_THREADS = 64


@dataclass(slots=True)
class Dial:
    """What is known of the request a socket is opened for: whether one was, and whether the gate
    refused it."""

    plain: bool
    blocked: bool = False
    dialled: bool = False


DIAL: ContextVar[Dial] = ContextVar("dial")


class Refused(OSError):
    """The gate refused an address. Its text names none."""


def plain_socket(info: AddressInfo) -> socket.socket:
    """A socket for an address that nobody asks about: that of the configured proxy."""
    DIAL.get().dialled = True
    family, kind, protocol, _, _ = info
    return socket.socket(family=family, type=kind, proto=protocol)


class Gate(AbstractResolver):
    """aiohttp's resolver and socket factory under one policy.

    The resolver refuses a name when any of its addresses is refused, so that nobody picks the good
    one. aiohttp does not resolve literal addresses, and an answer may be old: the socket factory
    sees the final address of every dial and decides again.
    """

    def __init__(self, allow: Allow, lookup: Lookup = system_lookup) -> None:
        self._allow = allow
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_DNS_THREADS, thread_name_prefix="dns")
        self._running: dict[tuple[str, int], asyncio.Future[Sequence[AddressInfo]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of the name, each one permitted.

        Raises Unresolved (no answer within 10 s, too many answers, no such name), BlockedTarget.
        """
        answers = permitted(await self._answers(host, port), port, self._allow)
        return [
            ResolveResult(
                hostname=host,
                host=answer[4][0],
                port=port,
                family=answer[0],
                proto=answer[2],
                flags=socket.AI_NUMERICHOST,
            )
            for answer in answers
        ]

    async def _answers(self, host: str, port: int) -> Sequence[AddressInfo]:
        """One thread per name: whoever asks for a name whose server stalls waits for the same one."""
        key = (host, port)
        running = self._running.get(key)
        if running is None:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, self._lookup, host, port)
            self._running[key] = running
            running.add_done_callback(lambda done: self._ended(key, done))
        try:
            return await asyncio.wait_for(asyncio.shield(running), DNS_SECONDS)
        except TimeoutError as error:
            raise Unresolved("the name's servers did not answer in time") from error
        except (OSError, UnicodeError) as error:
            raise Unresolved("the name cannot be resolved") from error

    def _ended(self, key: tuple[str, int], done: asyncio.Future[Sequence[AddressInfo]]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # nobody may be waiting any more; it has been told or does not matter

    def socket(self, info: AddressInfo) -> socket.socket:
        """A socket for this address, or Refused. Called by aiohttp right before it connects."""
        address, dial = info[4], DIAL.get()
        if not self._allow.permits(address[0], address[1], plain=dial.plain):
            dial.blocked = True
            raise Refused("address not permitted")
        return plain_socket(info)

    async def close(self) -> None:
        """Wait for nobody: a stalled look-up ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

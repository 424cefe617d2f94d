"""Receivers that answer with too much, too slowly or not in HTTP: a bounded attempt with a class, memory flat."""

import asyncio
import gzip
import resource
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from hubblewave_pipelines.core.egress import parse_allow
from hubblewave_pipelines.delivery.posting import (
    KEPT_BYTES,
    READ_BYTES,
    ErrorClass,
    Posted,
    open_session,
    post,
)
from tests.plugins.receiver import Answer, Request, receiving, reply

LOOPBACK = parse_allow("127.0.0.1/32:*")
MIB = 1 << 20


def sent(url: str, *, total: float = 10) -> Posted:
    async def run() -> Posted:
        async with open_session(LOOPBACK) as session:
            return await post(session, url, {}, b"{}", total=total)

    return asyncio.run(run())


def streaming(make: Callable[[], AsyncIterator[bytes]]) -> Answer:
    """Write whatever comes until the sender hangs up."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        async for piece in make():
            writer.write(piece)
            await writer.drain()

    return answer


async def _endless_body() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
    for _ in range(10_000_000_000 // MIB):
        yield b"x" * MIB


async def _endless_chunks() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\nx\r\n" * 10_000


async def _endless_header_line() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    while True:
        yield b"x" * MIB


async def _endless_headers() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"".join(b"X-%d: y\r\n" % n for n in range(10_000))


async def _endless_status_line() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 "
    while True:
        yield b"O" * MIB


async def _informational_flood() -> AsyncIterator[bytes]:
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1000


async def _endless_trailers() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    while True:
        yield b"X: y\r\n" * 10_000


async def _drip() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    while True:
        yield b"x"
        await asyncio.sleep(0.02)


async def _drip_headers() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"a"
        await asyncio.sleep(0.02)


async def _silence() -> AsyncIterator[bytes]:
    await asyncio.sleep(3600)
    yield b""


async def _stalled_body() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    await asyncio.sleep(3600)


def test_W9_what_never_ends_is_cut_off_and_memory_stays_flat() -> None:
    """Each receiver could send gigabytes; 64 KiB are read, 16 KiB kept."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for endless in (_endless_body, _endless_chunks):
        with receiving(streaming(endless)) as receiver:
            outcome = sent(receiver.url)
        assert (outcome.ok, outcome.status) == (True, 200)
        assert outcome.body == "x" * KEPT_BYTES
    bounds = {
        _endless_header_line: {ErrorClass.PROTOCOL},
        _endless_headers: {ErrorClass.PROTOCOL},
        _endless_status_line: {ErrorClass.PROTOCOL},
        _informational_flood: {ErrorClass.PROTOCOL},
        _endless_trailers: {ErrorClass.PROTOCOL},
    }
    for endless, classes in bounds.items():
        with receiving(streaming(endless)) as receiver:
            outcome = sent(receiver.url, total=1)
        assert outcome.error_class in classes, endless.__name__
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 64 * MIB


def test_W9_a_few_informational_answers_are_read_over() -> None:
    async def hints(_: Request, writer: asyncio.StreamWriter) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        writer.write(early * 5 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with receiving(hints) as receiver:
        outcome = sent(receiver.url)
    assert (outcome.ok, outcome.body) == (True, "ok")


@pytest.mark.parametrize(
    ("slow", "status"),
    [(_drip, 200), (_drip_headers, None), (_silence, None), (_stalled_body, 200)],
)
def test_W7_a_slow_receiver_holds_its_slot_no_longer_than_the_total(
    slow: Callable[[], AsyncIterator[bytes]], status: int | None
) -> None:
    with receiving(streaming(slow)) as receiver:
        outcome = sent(receiver.url, total=0.5)
    assert (outcome.error_class, outcome.status) == (ErrorClass.TIMEOUT, status)
    assert outcome.duration_ms >= 450  # and these receivers would have gone on for ever


def test_W7_nobody_accepting_is_a_timeout_too() -> None:
    """The kernel accepts for a listener that never does; nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        outcome = sent(f"http://127.0.0.1:{deaf.getsockname()[1]}/", total=0.5)
    assert outcome.error_class is ErrorClass.TIMEOUT


def test_W9_a_gzip_bomb_is_read_as_the_bytes_it_is() -> None:
    bomb = gzip.compress(b"\0" * (200 * MIB), compresslevel=9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with receiving(reply(body=bomb, Content_Encoding="gzip")) as receiver:
        outcome = sent(receiver.url)
    assert outcome.ok
    assert len(outcome.body) <= KEPT_BYTES
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 32 * MIB


def test_W9_a_reply_is_kept_as_text_that_postgresql_stores() -> None:
    raw = b"a\0b\xff\xfe\xed\xa0\x80c" + b"\0" * 100

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nX-Odd: caf\xe9\xff\r\nContent-Length: %d\r\n\r\n" % len(raw)
        writer.write(head + raw)

    with receiving(answer) as receiver:
        outcome = sent(receiver.url)
    assert outcome.ok
    for text in (outcome.body, *outcome.headers.values()):
        assert "\0" not in text
        text.encode()  # no lone surrogate
    assert outcome.body[:2] == "ab"


def test_W9_headers_that_would_fill_the_log_are_cut() -> None:
    many = {f"X_{n}": "y" * 8000 for n in range(90)}
    with receiving(reply(body=b"ok", **many)) as receiver:
        outcome = sent(receiver.url)
    assert (outcome.ok, outcome.body) == (True, "ok")
    assert 4096 < sum(map(len, [*outcome.headers, *outcome.headers.values()])) <= 8192


@pytest.mark.parametrize("size", [KEPT_BYTES, KEPT_BYTES + 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1])  # fmt: skip
def test_W9_the_caps_are_exact(size: int) -> None:
    with receiving(reply(body=b"y" * size)) as receiver:
        outcome = sent(receiver.url)
    assert (outcome.ok, len(outcome.body)) == (True, min(size, KEPT_BYTES))


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", b"<html>\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    ],
)  # fmt: skip
def test_W9_what_is_no_http_is_a_failed_attempt(raw: bytes) -> None:
    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    with receiving(answer) as receiver:
        outcome = sent(receiver.url)
    assert outcome.error_class in {ErrorClass.PROTOCOL, ErrorClass.CONNECT}
    assert "127" not in (outcome.detail or "")


def test_W5_nothing_a_tenant_is_told_names_an_address_of_ours() -> None:
    outcomes = [sent("http://127.0.0.1:1/"), sent("http://10.0.0.1/"), sent("https://169.254.1.1/")]
    for outcome in outcomes:
        assert not outcome.ok
        assert not any(part in (outcome.detail or "") for part in ("127.", "10.0", "169.", ":1"))

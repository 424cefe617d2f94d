"""One POST against receivers, resolvers and certificates that misbehave: always a class, never a hang or a leak."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from hubblewave_pipelines.core.egress import Allow, parse_allow
from hubblewave_pipelines.delivery import gate
from hubblewave_pipelines.delivery.posting import ErrorClass, Posted, open_session, post
from hubblewave_pipelines.outbound.looking_up import AddressInfo, Lookup, system_lookup
from tests.delivery.resolving import answers
from tests.plugins.receiver import Request, receiving, reply

LOOPBACK = parse_allow("127.0.0.1/32:* [::1]/128:*")
BODY = b'{"event":"contact.created"}'


def sent(
    url: str,
    *urls: str,
    allow: Allow = LOOPBACK,
    total: float = 10,
    lookup: Lookup = system_lookup,
    tls: ssl.SSLContext | None = None,
    body: bytes = BODY,
) -> Posted:
    """The outcome of the last of some posts over one session."""

    async def run() -> Posted:
        async with open_session(allow, lookup=lookup, tls=tls) as session:
            outcome = await post(session, url, {"X-HubbleWave-Event": "e"}, body, total=total)
            for each in urls:
                outcome = await post(session, each, {}, body, total=total)
            return outcome

    return asyncio.run(run())


def test_a_post_sends_the_exact_bytes_and_little_else() -> None:
    with receiving(reply(body=b'{"ok":1}', X_Echo="yes")) as receiver:
        outcome = sent(receiver.url, receiver.url)
    assert (outcome.ok, outcome.status, outcome.body) == (True, 200, '{"ok":1}')
    assert outcome.headers["X-Echo"] == "yes"
    first, second = receiver.requests
    assert (first.method, first.path, first.body) == ("POST", "/hook", BODY)
    assert first.headers["accept-encoding"] == "identity"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-hubblewave-event"] == "e"
    assert "cookie" not in second.headers
    assert receiver.connections == 1, "the connection was not kept"


def test_no_cookie_of_one_receiver_is_sent_to_anybody() -> None:
    with receiving(reply(Set_Cookie="session=1; Path=/")) as receiver:
        assert sent(receiver.url, receiver.url).ok
    assert "cookie" not in receiver.requests[1].headers


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Temp", "308 Perm"])
def test_W4_a_redirect_is_a_failure_and_its_target_is_never_asked(status: str) -> None:
    with receiving() as elsewhere:
        with receiving(reply(status, Location=elsewhere.url)) as receiver:
            outcome = sent(receiver.url)
        assert (outcome.error_class, outcome.status) == (ErrorClass.REDIRECT, int(status[:3]))
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [("200 OK", None), ("204 No Content", None), ("299 Fine", None), ("400 Bad", ErrorClass.STATUS),
     ("410 Gone", ErrorClass.STATUS), ("429 Slow", ErrorClass.STATUS), ("503 No", ErrorClass.STATUS)],
)  # fmt: skip
def test_only_2xx_is_success(status: str, error: ErrorClass | None) -> None:
    with receiving(reply(status)) as receiver:
        outcome = sent(receiver.url)
    assert (outcome.error_class, outcome.status) == (error, int(status[:3]))


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [("120", 120, 120), ("1e9", None, None), ("-5", None, None), ("9" * 40, 1e11, 1e12),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("Fri, 31 Dec 2999 23:59:59 GMT", 1e9, 1e11),
     ("soon", None, None), ("Fri, 99 Foo 2999 99:99:99 GMT", None, None), ("٣", None, None)],
)  # fmt: skip
def test_W11_retry_after_is_sane_or_absent(
    value: str, least: float | None, most: float | None
) -> None:
    with receiving(reply("429 Slow", retry_AFTER=value)) as receiver:
        outcome = sent(receiver.url)
    if least is None or most is None:
        assert outcome.retry_after is None
    else:
        assert outcome.retry_after is not None
        assert least <= outcome.retry_after <= most


INNER_LITERALS = [
    "127.0.0.1", "127.1", "2130706433", "0x7f.1", "１２７.1", "localhost", "0.0.0.0", "[::1]",  # noqa: RUF001
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
]  # fmt: skip


@pytest.mark.parametrize("host", INNER_LITERALS)
def test_W1_an_inner_literal_is_refused_at_send_though_something_listens_there(host: str) -> None:
    with receiving() as receiver:
        allow = Allow(ports=frozenset({receiver.port}), http=True)
        outcome = sent(f"http://{host}:{receiver.port}/", allow=allow)
        assert (outcome.error_class, outcome.status) == (ErrorClass.BLOCKED, None)
        assert "127" not in (outcome.detail or "")
        assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
def test_W1_the_dial_itself_refuses_a_literal_that_nobody_checked(host: str) -> None:
    """aiohttp resolves no literal, so the resolver never sees one: this is the socket's gate alone."""
    with receiving() as receiver:

        async def run() -> None:
            allow = Allow(ports=frozenset({receiver.port}), http=True)
            async with open_session(allow) as session:
                gate.DIAL.set(gate.Dial(plain=False))
                shown = f"[{host}]" if ":" in host else host
                with pytest.raises(aiohttp.ClientConnectorError) as refused:
                    await session.client.post(f"http://{shown}:{receiver.port}/")
                assert isinstance(refused.value.os_error, gate.Refused)
                assert gate.DIAL.get().blocked

        asyncio.run(run())
        assert receiver.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [("93.184.215.14", "127.0.0.1"), ("127.0.0.1", "93.184.215.14"), ("::1",), ("::ffff:127.0.0.1",),
     ("93.184.215.14", "64:ff9b::7f00:1"), ("fe80::1%lo",), ("2606:4700::1111", "10.0.0.1")],
)  # fmt: skip
def test_W2_a_name_with_one_inner_address_is_refused(addresses: tuple[str, ...]) -> None:
    outcome = sent("https://mixed.example/", lookup=answers(*addresses), allow=Allow())
    assert (outcome.error_class, outcome.status) == (ErrorClass.BLOCKED, None)
    assert not any(address in (outcome.detail or "") for address in addresses)


def test_W3_a_name_that_moves_inside_later_is_refused_then() -> None:
    with receiving() as receiver:
        now = ["127.0.0.1"]
        allow = parse_allow(f"127.0.0.1/32:{receiver.port}")

        async def run() -> list[Posted]:
            url = f"http://moving.example:{receiver.port}/"
            outcomes = []
            for address in ("127.0.0.1", "127.0.0.2"):
                now[:] = [address]
                async with open_session(allow, lookup=lambda h, p: answers(*now)(h, p)) as session:
                    outcomes.append(await post(session, url, {}, BODY, total=10))
            return outcomes

        before, after = asyncio.run(run())
        assert (before.ok, after.error_class) == (True, ErrorClass.BLOCKED)


def test_W3_a_change_between_resolving_and_connecting_is_refused_at_the_dial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving() as receiver:
        permits, asked = Allow.permits, []

        def once(self: Allow, address: str, port: int, **how: Any) -> bool:
            asked.append(address)
            return len(asked) == 1 or permits(self, address, port, **how)  # fooled when resolving

        monkeypatch.setattr(Allow, "permits", once)
        allow = Allow(ports=frozenset({receiver.port}), http=True)
        url = f"http://rebinding.example:{receiver.port}/"
        outcome = sent(url, allow=allow, lookup=answers("127.0.0.1"))
        assert outcome.error_class is ErrorClass.BLOCKED
        assert asked == ["127.0.0.1", "127.0.0.1"]
        assert receiver.connections == 0


def test_plain_http_reaches_listed_addresses_only() -> None:
    """A name may be checked only at the dial: there its address must be a listed one."""
    mixed = parse_allow("10.0.0.0/8:80")
    outcome = sent("http://public.example/", allow=mixed, lookup=answers("93.184.215.14"), total=3)
    assert outcome.error_class is ErrorClass.BLOCKED


def test_F12_failures_of_the_dns_are_of_class_dns_and_end_in_time() -> None:
    def unknown(*_: object) -> Sequence[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def broken(*_: object) -> Sequence[AddressInfo]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    many = answers(*(f"93.184.{n // 250}.{n % 250 + 1}" for n in range(500)))
    for lookup in (unknown, broken, many, answers()):
        outcome = sent("https://name.example/", lookup=lookup)
        assert (outcome.error_class, outcome.status) == (ErrorClass.DNS, None)
    assert sent("https://no-such-name.invalid/").error_class is ErrorClass.DNS


def test_F12_a_stalled_name_costs_one_thread_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "DNS_SECONDS", 0.3)
    release, stalled = threading.Event(), []

    def lookup(host: str, port: int) -> Sequence[AddressInfo]:
        if host.startswith("stalled"):
            stalled.append(host)
            release.wait(60)
        return answers("127.0.0.1")(host, port)

    async def run(port: int) -> tuple[list[Posted], Posted]:
        async with open_session(LOOPBACK, lookup=lookup) as session:
            async with asyncio.TaskGroup() as group:
                posts = [
                    group.create_task(post(session, f"http://stalled.example:{port}/", {}, BODY, total=5))
                    for _ in range(20)
                ]  # fmt: skip
                well = group.create_task(
                    post(session, f"http://well.example:{port}/", {}, BODY, total=5)
                )
            again = await post(session, f"http://stalled.example:{port}/", {}, BODY, total=5)
            return [*(each.result() for each in posts), again], well.result()

    with receiving() as receiver:
        try:
            outcomes, well = asyncio.run(run(receiver.port))
        finally:
            release.set()
    assert {outcome.error_class for outcome in outcomes} == {ErrorClass.DNS}
    assert well.ok
    assert len(stalled) == 1


def test_nobody_listening_is_of_class_connect() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = sent(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (outcome.error_class, outcome.status) == (ErrorClass.CONNECT, None)
    assert "127" not in (outcome.detail or "")


def test_a_kept_connection_that_the_receiver_had_closed_is_replaced_once() -> None:
    with receiving() as receiver:
        fine = reply()

        async def close_when_reused(request: Request, writer: asyncio.StreamWriter) -> None:
            if len(receiver.requests) == 2:
                writer.close()
            else:
                await fine(request, writer)

        receiver.answer = close_when_reused
        outcome = sent(receiver.url, receiver.url)
        assert (outcome.ok, receiver.connections, len(receiver.requests)) == (True, 2, 3)


def test_a_receiver_that_hangs_up_on_everybody_is_asked_once() -> None:
    async def hang_up(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with receiving(hang_up) as receiver:
        outcome = sent(receiver.url)
        assert (outcome.error_class, len(receiver.requests)) == (ErrorClass.CONNECT, 1)


def test_a_forward_proxy_is_all_that_is_dialled() -> None:
    with receiving() as proxy:
        allow = Allow(http=True, proxy=f"http://127.0.0.1:{proxy.port}")
        outcome = sent("http://example.com/hook", allow=allow)
        assert outcome.ok
        assert proxy.requests[0].path == "http://example.com/hook"
        proxy.answer = reply("407 Denied")
        assert sent("https://example.com/hook", allow=allow).error_class is ErrorClass.BLOCKED
        assert sent("https://127.0.0.1/hook", allow=allow).error_class is ErrorClass.BLOCKED

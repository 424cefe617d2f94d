"""Receivers with certificates that must not be believed: class `tls`, and never a second try in the clear."""

import asyncio
import ssl
from datetime import timedelta

import pytest

from hubblewave_pipelines.core.egress import parse_allow
from hubblewave_pipelines.delivery.posting import ErrorClass, Posted, open_session, post
from tests.delivery.resolving import answers
from tests.plugins.certificates import Authority
from tests.plugins.receiver import receiving

ALLOW = parse_allow("127.0.0.1/32:*")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def sent(authority: Authority, serving: ssl.SSLContext, host: str) -> tuple[Posted, int]:
    """The outcome of a post to a receiver called `host`, and how many requests reached it."""

    async def run(port: int) -> Posted:
        tls = authority.trusting()
        async with open_session(ALLOW, lookup=answers("127.0.0.1"), tls=tls) as session:
            return await post(session, f"https://{host}:{port}/", {}, b"{}", total=10)

    with receiving(tls=serving) as receiver:
        outcome = asyncio.run(run(receiver.port))
    return outcome, len(receiver.requests)


@pytest.mark.parametrize("host", ["receiver.example", "127.0.0.1"])
def test_a_good_certificate_is_believed(authority: Authority, host: str) -> None:
    outcome, requests = sent(authority, authority.serving(host), host)
    assert (outcome.ok, requests) == (True, 1)


def test_F13_expired_wrong_host_and_self_signed_are_of_class_tls(authority: Authority) -> None:
    host = "receiver.example"
    bad = {
        "expired": authority.serving(host, ends_in=timedelta(days=-1)),
        "mismatch": authority.serving("other.example"),
        "self": authority.serving(host, self_signed=True),
    }
    for why, serving in bad.items():
        outcome, requests = sent(authority, serving, host)
        assert (outcome.error_class, outcome.status, requests) == (ErrorClass.TLS, None, 0)
        assert why in (outcome.detail or "").lower(), outcome.detail


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_F13_an_old_protocol_is_refused(authority: Authority) -> None:
    old = authority.serving("receiver.example")
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    outcome, requests = sent(authority, old, "receiver.example")
    assert (outcome.error_class, requests) == (ErrorClass.TLS, 0)


def test_F13_plain_text_where_tls_was_asked_for_is_of_class_tls(authority: Authority) -> None:
    async def run(port: int) -> Posted:
        async with open_session(ALLOW, lookup=answers("127.0.0.1")) as session:
            return await post(session, f"https://plain.example:{port}/", {}, b"{}", total=10)

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 This is plain HTTP\r\n\r\n")
        await writer.drain()
        writer.close()

    async def both() -> Posted:
        server = await asyncio.start_server(shout, "127.0.0.1", 0)
        async with server:
            return await run(server.sockets[0].getsockname()[1])

    assert asyncio.run(both()).error_class is ErrorClass.TLS

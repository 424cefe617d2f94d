"""A session against systems that misbehave at every point: the right error, the right number of requests, no leak."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path

import pytest

from hubblewave_pipelines.core import errors
from hubblewave_pipelines.core.backoff import RetryPolicy
from hubblewave_pipelines.core.bucket import Pace
from hubblewave_pipelines.core.egress import Allow, parse_allow
from hubblewave_pipelines.outbound.asked import Limits
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.outbound.manners import Manners
from tests.delivery.resolving import answers
from tests.outbound.systems import (
    CUT_CHUNKS,
    CUT_GZIP,
    CUT_JSON,
    HANG_UP,
    NO_HTTP,
    OK,
    RESET,
    SHORT,
    FakeTime,
    answering,
    base,
    raw,
)
from tests.plugins.certificates import Authority
from tests.plugins.receiver import Answer, receiving, reply
from tests.plugins.sessions import plain_session


def session_to(url: str, time: FakeTime | None = None, **options: object) -> HttpSession:
    clock = time or FakeTime()
    return plain_session(url, budget=clock.budget, sleep=clock.sleep, **options)


def test_a_good_answer_is_counted_once_and_its_fractions_stay_exact() -> None:
    body = gzip.compress(b'{"amount":1234567890.10,"id":12345678901234567890123}')
    good = reply(body=body, Content_Encoding="gzip", Content_Type="application/json;charset=utf-8")
    with answering(good) as system, session_to(f"{base(system)}/root/") as session:
        answer = session.request("GET", "/things", params={"$filter": "a eq 'x y+z&1'", "n": "1"})
        assert answer.json() == {
            "amount": Decimal("1234567890.10"),
            "id": 12345678901234567890123,
        }
        assert (session.requests, session.retries) == (1, 0)
    [request] = system.requests
    assert request.path == "/root/things?$filter=a%20eq%20'x%20y%2Bz%261'&n=1"
    assert request.headers["accept-encoding"] == "gzip"


BROKEN = {
    "hangs up": (HANG_UP, errors.VendorUnavailable),
    "resets": (RESET, errors.VendorUnavailable),
    "speaks no HTTP": (NO_HTTP, errors.VendorUnavailable),
    "shorter than announced": (SHORT, errors.PartialAnswer),
    "JSON cut off": (CUT_JSON, errors.PartialAnswer),
    "gzip cut off": (CUT_GZIP, errors.PartialAnswer),
    "chunks cut off": (CUT_CHUNKS, errors.PartialAnswer),
    "500": (reply("500 Oops"), errors.VendorUnavailable),
    "502 of a proxy": (reply("502 Bad Gateway", b"<html>"), errors.VendorUnavailable),
    "503 bare": (reply("503 No"), errors.VendorUnavailable),
    "504": (reply("504 Late"), errors.VendorUnavailable),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_safe_request_is_sent_again_until_it_works_or_five_times(name: str) -> None:
    broken, error = BROKEN[name]
    clock = FakeTime()
    with answering(broken, broken, OK) as system, session_to(base(system), clock) as session:
        assert session.request("GET", "/x").json() == {"ok": True}
        assert (session.requests, session.retries) == (3, 2)
    assert 2 < clock.slept < 4  # 1 and 2 seconds, each spread by 20 %
    with answering(broken) as system, session_to(base(system)) as session:
        with pytest.raises(error):
            session.request("GET", "/x")
        assert session.requests == 5


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_write_that_may_have_had_its_effect_is_in_doubt_and_sent_once(name: str) -> None:
    broken, _ = BROKEN[name]
    with answering(broken, OK) as system, session_to(base(system)) as session:
        with pytest.raises(errors.InDoubt) as raised:
            session.request("POST", "/x", json={"name": "Sec ret"})
        assert "Sec ret" not in raised.value.detail
        assert session.requests == 1
    with answering(broken, OK) as system, session_to(base(system)) as session:
        keyed = session.request("PATCH", "/x/by-key/1", json={"a": 1}, safe=True)
        assert (keyed.status, session.requests) == (200, 2)


def test_what_was_never_sent_is_sent_again_whatever_it_is() -> None:
    with answering(OK) as system:
        closed = base(system)
    with session_to(closed) as session:
        with pytest.raises(errors.VendorUnavailable, match="could not be reached"):
            session.request("POST", "/x", json={})
        assert session.requests == 5


def test_a_hostile_trickle_ends_with_the_total_time() -> None:
    drip = raw(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 400, pause=0.05)
    slow_body = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n", *[b"x"] * 400, pause=0.05)
    limits = Limits(total=1.5, retries=RetryPolicy(max_attempts=1))
    cases = (
        (drip, errors.VendorUnavailable, "in time"),
        (slow_body, errors.PartialAnswer, "broke off"),
    )
    for answer, error, words in cases:
        with answering(answer) as system, session_to(base(system), limits=limits) as session:
            with pytest.raises(error, match=words):
                session.request("GET", "/x")


def test_a_gzip_bomb_stops_at_the_limit() -> None:
    bomb = reply(body=gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
    with (
        answering(bomb) as system,
        session_to(base(system), limits=Limits(max_body=10**6)) as session,
    ):
        with pytest.raises(errors.VendorRefused, match="smaller pages"):
            session.request("GET", "/x")
        assert session.requests == 1


def test_a_streamed_body_comes_in_blocks_and_says_when_it_is_cut() -> None:
    whole = gzip.compress(b"id,name\n" + b"1,x\n" * 100_000)
    good = reply(body=whole, Content_Encoding="gzip", Content_Type="text/csv", Sforce_Locator="abc")
    with answering(reply("503 No"), good, CUT_GZIP) as system, session_to(base(system)) as session:
        with session.stream("GET", "/results") as streamed:
            assert streamed.headers["sforce-locator"] == "abc"
            blocks = list(streamed.blocks())
        assert max(map(len, blocks)) <= 64 * 1024
        assert b"".join(blocks) == gzip.decompress(whole)
        with session.stream("GET", "/results") as streamed, pytest.raises(errors.PartialAnswer):
            list(streamed.blocks())
        assert (session.requests, session.retries) == (3, 1)


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("GET", "429 Slow"),
        ("GET", "503 Busy"),
        ("GET", "403 Quota"),
        ("POST", "429 Slow"),
        ("POST", "403 Quota"),
    ],
)
def test_retry_after_is_never_shortened(form: str, status: str, method: str) -> None:
    clock = FakeTime()
    at = datetime.now(UTC) + timedelta(seconds=41)
    wish = "40" if form == "seconds" else format_datetime(at, usegmt=True)
    throttled = reply(status, Retry_After=wish)
    with answering(throttled, OK) as system, session_to(base(system), clock) as session:
        assert session.request(method, "/x").status == 200
        assert session.requests == 2
    assert 20 < clock.slept < 50, "of 40 s, less what a busy machine took until it asked"
    with answering(reply(status, Retry_After="600")) as system:
        with session_to(base(system), FakeTime()) as session:
            with pytest.raises((errors.QuotaSpent, errors.VendorUnavailable)) as raised:
                session.request(method, "/x")
            assert session.requests == 1
    assert raised.value.retry_after is not None
    assert raised.value.retry_after >= 599


def test_a_complaint_slows_the_whole_connection_and_it_recovers() -> None:
    clock = FakeTime(Pace(rate=10, burst=10))
    with answering(reply("429 Slow", Retry_After="5"), OK) as system:
        with session_to(base(system), clock) as session:
            session.request("GET", "/1")
            began = clock.slept
            for _ in range(20):
                session.request("GET", "/x")
    paced = clock.slept - began
    assert paced > 1.2, "20 requests at a little over 5 per second, 5 of them at once"
    assert paced < 4


def test_a_daily_quota_keeps_its_reserve() -> None:
    clock = FakeTime(Pace(rate=1e6, burst=1000, reserve=0.2))
    used = [reply(Sforce_Limit_Info=f"api-usage={n}/100") for n in (78, 79, 80, 81)]
    with answering(*used) as system:
        manners = Manners(quota_reserved=True)
        with session_to(base(system), clock, manners=manners) as session:
            for _ in range(3):
                session.request("GET", "/x")
            with pytest.raises(errors.QuotaSpent, match="20 of 100") as raised:
                session.request("GET", "/x")
            assert session.requests == 3
    assert raised.value.retry_after == 3600


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temp", "308 Perm"])
def test_a_redirect_is_followed_within_the_origin_only(status: str) -> None:
    with answering(reply(status, Location="/elsewhere"), OK) as system:
        with session_to(base(system), given={"kind": "bearer", "token": "sesame-1"}) as session:
            assert session.request("GET", "/x").status == 200
    assert [request.path for request in system.requests] == ["/x", "/elsewhere"]
    with receiving() as other:
        for location in (other.url, f"//127.0.0.1:{other.port}/x", "https://127.0.0.1/x"):
            with answering(reply(status, Location=location), OK) as system:
                with session_to(
                    base(system), given={"kind": "bearer", "token": "sesame-1"}
                ) as session:
                    with pytest.raises(errors.ForeignLink):
                        session.request("GET", "/x")
        assert other.connections == 0
    with answering(reply(status, Location="/loop")) as system, session_to(base(system)) as session:
        with pytest.raises(errors.ForeignLink):
            session.request("GET", "/x")
        with pytest.raises(errors.ForeignLink):
            session.request("POST", "/x")


def test_a_link_to_another_host_is_refused_or_brought_home() -> None:
    link = "http://sap.internal:8000/root/Set?$skiptoken=a%20b"
    with answering(OK) as system:
        url = f"{base(system)}/root"
        with session_to(url) as session:
            session.request("GET", f"{url}/Set?$skiptoken=1")
            for foreign in (
                link,
                f"http://user@127.0.0.1:{system.port}/x",
                "http://[::1",
                "ftp://x/y",
            ):
                with pytest.raises(errors.ForeignLink):
                    session.request("GET", foreign)
        with session_to(url, manners=Manners(rebase_links=True)) as session:
            session.request("GET", link)
    assert [r.path for r in system.requests] == [
        "/root/Set?$skiptoken=1",
        "/root/Set?$skiptoken=a%20b",
    ]


@pytest.mark.parametrize(
    ("url", "allow"),
    [
        ("http://127.0.0.1:{port}", Allow()),
        ("https://localhost:{port}", Allow()),
        ("https://vendor.example", Allow()),
        ("https://169.254.169.254", parse_allow("0.0.0.0/0:*")),
        ("http://vendor.example", Allow()),
    ],
)
def test_the_policy_is_asked_at_the_socket(url: str, allow: Allow) -> None:
    """`vendor.example` resolves to loopback beside a public address: DNS rebinding changes nothing."""
    with answering(OK) as system:
        with pytest.raises(errors.ConnectionRefusedByPolicy):
            with session_to(
                url.format(port=system.port),
                allow=allow,
                lookup=answers("93.184.216.34", "127.0.0.1"),
            ) as session:
                session.request("GET", "/x")
        assert system.connections == 0


def test_a_name_is_dialled_by_the_address_that_was_checked() -> None:
    looked_up = []

    def lookup(host: str, port: int) -> object:
        looked_up.append(host)
        return answers("127.0.0.1")(host, port)

    with answering(OK) as system:
        with session_to(f"http://vendor.test:{system.port}", lookup=lookup) as session:
            assert session.request("GET", "/x").status == 200
    assert looked_up == ["vendor.test"]
    assert system.requests[0].headers["host"] == f"vendor.test:{system.port}"


def test_certificates_are_checked_and_never_tried_twice(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for serving, good in (
        (authority.serving("127.0.0.1"), True),
        (authority.serving("other.test"), False),
    ):
        with receiving(OK, tls=serving) as system:
            with session_to(
                f"https://127.0.0.1:{system.port}", tls=authority.trusting()
            ) as session:
                if good:
                    assert session.request("GET", "/x").status == 200
                else:
                    with pytest.raises(errors.VendorUnavailable, match="certificate is not valid"):
                        session.request("GET", "/x")
                    assert session.requests == 1


def test_other_statuses_are_for_the_connector(capfd: pytest.CaptureFixture[str]) -> None:
    said = b'[{"errorCode":"MALFORMED_QUERY","message":"unexpected token"}]'
    refused: Answer = reply("400 Bad", said)
    with answering(refused) as system:
        given = {"kind": "basic", "username": "u", "password": "open sesame"}
        with session_to(base(system), given=given) as session:
            assert session.request("GET", "/x", accept=(400,)).status == 400
            with pytest.raises(errors.VendorRefused) as raised:
                session.request("GET", "/x")
            assert session.redacted("it said open sesame") == "it said ***"
    assert (raised.value.answered, raised.value.body) == (400, said)
    assert "MALFORMED" not in str(raised.value)
    assert "sesame" not in "".join(capfd.readouterr())


def test_waiting_ends_when_the_run_is_cancelled() -> None:
    clock, asked = FakeTime(), []

    def still() -> None:
        asked.append(clock.slept)
        if clock.slept >= 1:
            raise KeyboardInterrupt

    with answering(reply("429 No", Retry_After="100")) as system:
        with (
            session_to(base(system), clock, still=still) as session,
            pytest.raises(KeyboardInterrupt),
        ):
            session.request("GET", "/x")
    assert clock.slept == 1

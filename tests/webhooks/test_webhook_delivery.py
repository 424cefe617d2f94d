"""Deliveries to receivers that hang, refuse, ask for pauses or go away, and what others feel of it."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime
from functools import partial
from typing import Any, Self

import httpx
import pytest

from hubblewave_pipelines.delivery import attempt, message, posting, worker
from hubblewave_pipelines.delivery.attempt import Lease
from hubblewave_pipelines.delivery.fanning import Fanning
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import AsyncDatabase, Database, Role
from hubblewave_pipelines.storage.results import Result
from hubblewave_pipelines.storage.tenants import Tenant
from tests.plugins.receiver import Receiver, Request, receiving
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import (
    Switch,
    bodies,
    emit,
    made,
    rows,
    run_sql,
    say,
    subscribe,
)

HOOKS = "/api/v1/webhooks"
STEADY = {"maxAttempts": 20, "backoffMultiplier": 1}  # about every second


def with_more(settings: Settings, **more: object) -> Settings:
    return settings.model_copy(update=more)


def attempts(owner: Database, columns: str = "n, status, error_class") -> list[tuple[object, ...]]:
    return rows(owner, f"select {columns} from hubblewave.webhook_attempts order by started_at, n")


def more_ended(owner: Database, than: int) -> bool:
    ended = "select 1 from hubblewave.webhook_attempts where ended_at is not null"
    return len(rows(owner, ended)) > than


def test_W7_W8_a_hung_receiver_takes_ten_connections_and_nobody_elses_time(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    subscribe(api, receiver.url)
    emit(owner_database, tenant, 1_000)  # all for the one that hangs

    async def fan_out() -> None:
        database = AsyncDatabase(settings.require_database_url(), Role.WORKER, size=2)
        await database.open()
        fanning = Fanning(database)
        while (await fanning.round())[0]:
            pass
        await database.close()

    asyncio.run(fan_out())
    switch.gate.clear()
    drip = Switch()
    with receiving(drip) as healthy, working(with_more(settings, webhook_timeout_seconds=60)):
        subscribe(api, healthy.url)
        emit(owner_database, tenant, 100)
        eventually(lambda: len(bodies(healthy)) == 100, "the healthy one has its events")
        assert 1 <= switch.most_open <= 10
        assert len(bodies(receiver)) <= 10
        switch.gate.set()
        switch.status = "500 No"  # so that the rest stays where it is


def test_W7_W10_an_answer_that_is_late_is_a_failure_and_the_event_comes_again(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    stall = asyncio.Event

    async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
        body = json.loads(request.body)
        if "challenge" in body:
            say(writer, json.dumps({"challenge": body["challenge"]}).encode())
        elif body["data"]["n"] == 1:
            await stall().wait()  # nothing at all
        elif body["data"]["n"] == 2:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            await stall().wait()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
            while True:
                writer.write(b".")
                await asyncio.sleep(0.2)

    with receiving(silent) as hung, working(with_more(settings, webhook_timeout_seconds=1)):
        hook = subscribe(api, hung.url, retryConfig={"maxAttempts": 2, "backoffMultiplier": 1})
        emit(owner_database, tenant, 3)
        letters = f"{HOOKS}/dead-letters"
        eventually(
            lambda: len(made(api.get(letters), 200)["items"]) == 3, "three are given up", seconds=90
        )
        found = made(api.get(letters, params={"webhookId": hook["id"]}), 200)["items"]
    assert {(le["reason"], le["errorClass"], le["attempts"]) for le in found} == {
        ("exhausted", "timeout", 2)
    }
    ids = [request.headers.get("webhook-id") for request in hung.requests[1:]]
    assert sorted(ids) == sorted([le["eventId"] for le in found] * 2)
    assert len(attempts(owner_database)) == 6


def test_W9_an_endless_answer_is_cut_and_stored_without_what_cannot_be(
    api: httpx.Client, settings: Settings, owner_database: Database, tenant: Tenant
) -> None:
    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        body = json.loads(request.body)
        if "challenge" in body:
            say(writer, json.dumps({"challenge": body["challenge"]}).encode())
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nX-Odd: \xff\xfe\r\n\r\n")
        while True:
            writer.write(b"\x00\xff text " * 8_000)
            await writer.drain()

    with receiving(endless) as receiver, working(settings):
        hook = subscribe(api, receiver.url)
        emit(owner_database, tenant, 1)
        done = f"{HOOKS}/{hook['id']}/deliveries?status=success"
        eventually(lambda: made(api.get(done), 200)["items"] != [], "delivered")
        (item,) = made(api.get(done), 200)["items"]
        (attempt,) = made(api.get(f"{HOOKS}/deliveries/{item['id']}"), 200)["attemptList"]
    text = attempt["response"]["body"]
    assert 0 < len(text) <= 16_384
    assert "\x00" not in text


def test_W11_410_disables_holds_tells_and_enable_sends_what_was_held(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    with receiving(Switch()) as other, working(settings):
        hook = subscribe(api, receiver.url)
        subscribe(api, other.url, "webhook.disabled")
        path = f"{HOOKS}/{hook['id']}"
        switch.status = "410 Gone"
        emit(owner_database, tenant, 1)
        eventually(lambda: len(bodies(other)) == 1, "the admins' webhook is told")
        (told,) = bodies(other)
        assert (told["event"], told["data"]["reason"]) == ("webhook.disabled", "gone")
        assert told["data"]["webhookId"] == hook["id"]
        shown = made(api.get(path), 200)
        assert (shown["status"], shown["disabledReason"]) == ("disabled", "gone")
        emit(owner_database, tenant, 2)  # while it is disabled
        held = f"{path}/deliveries?status=held"
        eventually(lambda: len(made(api.get(held), 200)["items"]) == 3, "three are held")
        assert len(bodies(receiver)) == 1
        switch.status = "200 OK"
        enabled = made(api.post(f"{path}/enable"), 200)
        assert enabled["status"] == "enabled"
        eventually(lambda: len(bodies(receiver)) == 4, "what was held is sent")


def test_W11_retry_after_is_heeded_within_bounds(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url)
    for_ever = "Retry-After: 1000000000\r\n"
    past = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    with working(settings):
        for extra, least, most in ((for_ever, 6 * 3600 - 60, 6 * 3600), (past, 0, 3)):
            run_sql(owner_database, "delete from hubblewave.webhook_deliveries")
            run_sql(owner_database, "update hubblewave.webhook_health set paused_until = null")
            switch.status, switch.extra = "429 Slow", extra
            before = len(attempts(owner_database))
            emit(owner_database, tenant, 1)
            eventually(partial(more_ended, owner_database, before), "an attempt")
            ((wait, pause),) = rows(
                owner_database,
                "select extract(epoch from d.next_at - a.ended_at)::float8,"
                " extract(epoch from h.paused_until - a.ended_at)::float8"
                " from hubblewave.webhook_deliveries d"
                " join hubblewave.webhook_health h using (webhook_id)"
                " join lateral (select max(ended_at) as ended_at from hubblewave.webhook_attempts a"
                " where a.delivery_id = d.id) a on true",
            )
            assert least <= wait <= most
            assert pause <= most
    assert made(api.get(f"{HOOKS}/{hook['id']}"), 200)["health"]["pausedUntil"] is not None


def test_W20_what_is_in_flight_is_recorded_and_not_tried_again(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    with receiving(Switch()) as second:
        kept, gone = subscribe(api, receiver.url), subscribe(api, second.url)
        other = second.answer
        assert isinstance(other, Switch)
        for each in (switch, other):
            each.gate.clear()
            each.status = "500 No"
        emit(owner_database, tenant, 1)
        with working(settings):
            eventually(lambda: switch.open + other.open == 2, "both are in flight")
            made(api.post(f"{HOOKS}/{kept['id']}/disable"), 200)
            assert api.delete(f"{HOOKS}/{gone['id']}").status_code == 204
            switch.gate.set()
            other.gate.set()
            ended = "select 1 from hubblewave.webhook_attempts where ended_at is not null"
            eventually(lambda: len(rows(owner_database, ended)) == 2, "both are recorded")
            eventually(
                lambda: (
                    rows(owner_database, "select state from hubblewave.webhook_deliveries")
                    == [("held",)]
                ),
                "held",
            )
        assert attempts(owner_database) == [(1, 500, "status")] * 2
        assert (len(bodies(receiver)), len(bodies(second))) == (1, 1)


def fanned(settings: Settings, rounds: int) -> list[tuple[int, bool]]:
    async def run() -> list[tuple[int, bool]]:
        database = AsyncDatabase(settings.require_database_url(), Role.WORKER, size=2)
        await database.open()
        fanning = Fanning(database)
        found = [await fanning.round() for _ in range(rounds)]
        await database.close()
        return found

    return asyncio.run(run())


def test_W21_ten_thousand_subscribers_are_served_two_thousand_at_a_time(
    settings: Settings, owner_database: Database, tenant: Tenant
) -> None:
    run_sql(
        owner_database,
        "insert into hubblewave.webhooks (tenant_id, name, url, events, verified_at)"
        " select %s, 'n' || g, 'https://example.com', '{import.*}', now()"
        " from generate_series(1, 10000) g",
        tenant.id,
    )
    emit(owner_database, tenant, 1)
    count = "select count(*), count(distinct webhook_id) from hubblewave.webhook_deliveries"
    for step in range(1, 6):
        assert fanned(settings, 1) == [(0, True)]
        assert rows(owner_database, count) == [(2_000 * step, 2_000 * step)]
    assert fanned(settings, 2) == [(1, True), (0, False)]
    assert rows(owner_database, count) == [(10_000, 10_000)]


def test_W22_a_replay_is_counted_streamed_bounded_and_can_be_cancelled(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    emit(owner_database, tenant, 3_000)  # before anybody listened: never attempted
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert fanned(settings, 8)[-1] == (0, False)
    hook = subscribe(api, receiver.url)
    path = f"{HOOKS}/{hook['id']}/replays"
    wish = {"since": since, "onlyMissing": True}
    assert made(api.post(path, json={**wish, "dryRun": True}), 200)["events"] == 3_000
    replay = made(api.post(path, json=wish), 202)

    async def step() -> None:
        database = AsyncDatabase(settings.require_database_url(), Role.WORKER, size=2)
        await database.open()
        fanning = Fanning(database)
        for _ in range(10):  # nobody sends, so it waits at its bound
            await fanning.replay()
        await database.close()

    asyncio.run(step())
    waiting = "select count(*) from hubblewave.webhook_deliveries where kind = 'replay'"
    assert rows(owner_database, waiting) == [(500,)]
    stopped = made(api.post(f"{path}/{replay['id']}/cancel"), 200)
    assert (stopped["status"], stopped["queued"]) == ("cancelled", 500)
    assert rows(owner_database, waiting) == [(0,)]
    run_sql(owner_database, "delete from hubblewave.events where n > 40")
    with working(settings):
        again = made(api.post(path, json=wish), 202)
        eventually(
            lambda: made(api.get(f"{path}/{again['id']}"), 200)["status"] == "done", "replayed"
        )
        eventually(
            lambda: rows(owner_database, "select 1 from hubblewave.webhook_deliveries") == [],
            "all are sent",
        )
    assert sorted(b["data"]["n"] for b in bodies(receiver)) == list(range(1, 41))
    assert made(api.post(path, json={**wish, "dryRun": True}), 200)["events"] == 0
    assert made(api.get(f"{HOOKS}/{hook['id']}"), 200)["health"]["succeeded"] == 0


def test_W23_a_failing_head_holds_its_key_alone_and_not_for_ever(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    subscribe(api, receiver.url, ordering="per_key", retryConfig=STEADY)
    switch.failing = lambda body: body["data"]["n"] == 1
    emit(owner_database, tenant, 30, keys=3)  # 1, 4, 7 ... share the key of the head

    def arrived() -> list[int]:
        return [body["data"]["n"] for body in bodies(receiver)]

    with working(settings):
        eventually(lambda: len(set(arrived())) == 21, "the other keys and the head")
        assert {n for n in arrived() if n % 3 == 1} == {1}
        for rest in (0, 2):
            own = [n for n in arrived() if n % 3 == rest]
            assert own == sorted(own)
        run_sql(
            owner_database,
            "update hubblewave.webhook_deliveries set created_at = now() - interval '25 hours'",
        )
        eventually(lambda: len(set(arrived())) == 30, "the key goes on")
    blocked = [n for n in arrived() if n % 3 == 1 and n != 1]
    assert blocked == sorted(blocked)
    (letter,) = made(api.get(f"{HOOKS}/dead-letters"), 200)["items"]
    assert (letter["reason"], letter["data"]) == ("ordering_escape", {"n": 1})


def test_dead_letters_are_redriven_by_filter_after_a_dry_run_or_settled(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    path = f"{HOOKS}/dead-letters"
    hook = subscribe(api, receiver.url, retryConfig={"maxAttempts": 1})
    switch.failing = lambda body: True
    with working(settings):
        emit(owner_database, tenant, 5)
        eventually(lambda: made(api.get(path), 200)["pageInfo"]["totalItems"] == 5, "given up")
        letters = made(api.get(path, params={"reason": "exhausted"}), 200)["items"]
        resolved = made(api.post(f"{path}/{letters[0]['id']}/resolve"), 200)
        assert (resolved["resolution"], resolved["resolvedBy"] is None) == ("resolved", False)
        switch.failing = lambda body: False
        chosen = {"filter": {"webhookId": hook["id"], "event": "import.completed"}}
        dry = made(api.post(f"{path}/redrive", json={**chosen, "dryRun": True}), 200)
        assert (dry["matching"], dry["redriven"]) == (4, 0)
        # The events themselves are kept no longer: a letter brings back its own.
        run_sql(owner_database, "delete from hubblewave.events")
        assert made(api.post(f"{path}/redrive", json=chosen), 202)["redriven"] == 4
        eventually(lambda: len(bodies(receiver)) == 9, "sent again")
    assert made(api.get(path), 200)["items"] == []
    firsts = {r.headers["webhook-id"] for r in receiver.requests[1:6]}
    again = {r.headers["webhook-id"] for r in receiver.requests[6:]}
    assert again < firsts
    bad = api.post(f"{path}/redrive", json={"filter": {"ids": ["x"], "since": 7, "odd": 1}})
    assert {f["pointer"] for f in bad.json()["errors"]} == {
        "#/filter/ids",
        "#/filter/since",
        "#/filter/odd",
    }


def test_F16_a_receiver_that_was_away_gets_a_probe_first_and_then_its_backlog(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    with receiving(Switch()) as other, working(with_more(settings, webhook_disable_hours=120)):
        hook = subscribe(api, receiver.url, retryConfig={"preset": "standard"})
        subscribe(api, other.url)
        switch.status = "503 Away"
        emit(owner_database, tenant, 200)
        eventually(lambda: len(bodies(other)) == 200, "the other one is unaffected")
        health = "select open_until > now() or paused_until > now() from hubblewave.webhook_health"
        eventually(lambda: (True,) in rows(owner_database, health), "it is left alone")
        early = len(bodies(receiver))
        assert early <= 25
        switch.status = "200 OK"
        travel = "update hubblewave.webhook_health set paused_until = null, open_until = now()"
        run_sql(owner_database, travel + " where webhook_id = %s", hook["id"])
        run_sql(owner_database, "update hubblewave.webhook_deliveries set next_at = now()")
        eventually(lambda: len(bodies(receiver)) >= early + 200, "the backlog is drained")
    late = [body["data"]["n"] for body in bodies(receiver)[early:]]
    assert sorted(late) == list(range(1, 201))


def test_a_failing_webhook_is_probed_and_after_days_disabled_but_not_for_a_sporadic_failure(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url, retryConfig=STEADY)
    path = f"{HOOKS}/{hook['id']}"
    travel = "update hubblewave.webhook_health set open_until = now()"
    opens = "select opens, open_until > now() from hubblewave.webhook_health"
    long_ago = "update hubblewave.webhook_health set first_failure_at = now() - interval '121 h'"
    with working(settings):
        emit(owner_database, tenant, 5)
        eventually(lambda: len(bodies(receiver)) == 5, "it works")
        switch.failing = lambda body: True
        emit(owner_database, tenant, 30)
        eventually(lambda: rows(owner_database, opens) == [(1, True)], "the circuit opens")
        open_at = len(bodies(receiver))
        assert open_at <= 5 + 20 + 50  # nothing beyond what was leased when it opened
        run_sql(owner_database, travel)
        eventually(lambda: rows(owner_database, opens) == [(2, True)], "a probe fails")
        assert made(api.get(path), 200)["status"] == "enabled"
        switch.failing = lambda body: False
        run_sql(owner_database, long_ago)
        run_sql(owner_database, travel)
        done = "select 1 from hubblewave.webhook_deliveries"
        eventually(lambda: rows(owner_database, done) == [], "a good probe closes it")
        assert rows(owner_database, opens) == [(0, None)]
        switch.failing = lambda body: True
        emit(owner_database, tenant, 1)
        failing = "select 1 from hubblewave.webhook_health where first_failure_at is not null"
        eventually(lambda: rows(owner_database, failing) != [], "one fails")
        assert made(api.get(path), 200)["status"] == "enabled"
        run_sql(owner_database, long_ago)
        eventually(lambda: made(api.get(path), 200)["status"] == "disabled", "120 h are over")
    assert made(api.get(path), 200)["disabledReason"] == "failing"
    told = "select data::json ->> 'reason' from hubblewave.events where type = 'webhook.disabled'"
    assert rows(owner_database, told) == [("failing",)]


@pytest.mark.parametrize("hours", [1, -1], ids=["ahead", "behind"])
def test_F7_a_worker_whose_clock_is_wrong_signs_leases_and_waits_by_the_databases(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
) -> None:
    skew = timedelta(hours=hours)
    ((now,),) = rows(owner_database, "select now()")
    in_two_minutes = format_datetime(now + timedelta(minutes=2), usegmt=True)
    hook = subscribe(api, receiver.url)

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + skew

    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + skew.total_seconds())
    for module in (attempt, message, posting, worker):
        monkeypatch.setattr(module, "datetime", Skewed, raising=False)
    with working(settings):
        switch.gate.clear()
        emit(owner_database, tenant, 1)
        eventually(lambda: switch.open == 1, "it is in flight")
        leased = (
            "select extract(epoch from leased_until - now())::float8"
            " from hubblewave.webhook_deliveries"
        )
        ((left,),) = rows(owner_database, leased)
        assert 0 < left <= settings.webhook_lease_seconds
        switch.status, switch.extra = "503 Later", f"Retry-After: {in_two_minutes}\r\n"
        switch.gate.set()
        put_off = (
            "select extract(epoch from next_at - %s)::float8"
            " from hubblewave.webhook_deliveries where state = 'due'"
        )
        eventually(lambda: rows(owner_database, put_off, now) != [], "it is put off")
    ((wait,),) = rows(owner_database, put_off, now)
    assert 110 <= wait <= 180  # the two minutes that the receiver asked for, by the database
    sent = int(receiver.requests[-1].headers["webhook-timestamp"])
    ((since,),) = rows(owner_database, "select now()")
    assert now.timestamp() - 1 <= sent <= since.timestamp() + 1
    assert made(api.get(f"{HOOKS}/{hook['id']}"), 200)["health"]["pausedUntil"] is not None


def test_a_result_that_cannot_be_stored_holds_up_no_other(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscribe(api, receiver.url)
    right = worker.make_attempt
    broken = {3: "a\0b", 5: "x\ud800"}

    async def sometimes_odd(lease: Lease, *given: Any, **named: Any) -> Result:
        result = await right(lease, *given, **named)
        odd = broken.get(json.loads(lease.claimed.data)["n"])
        return result if odd is None else replace(result, response_body=odd)

    monkeypatch.setattr(worker, "make_attempt", sometimes_odd)
    with working(settings):
        emit(owner_database, tenant, 30)
        done = "select count(*) from hubblewave.webhook_delivery_log where status = 'success'"
        eventually(lambda: rows(owner_database, done) == [(30,)], "all are recorded")
    stored = "select count(response_body), count(*) from hubblewave.webhook_attempts"
    assert rows(owner_database, stored) == [(28, 30)]
    assert len(bodies(receiver)) == 30

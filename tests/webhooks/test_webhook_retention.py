"""What the worker's hourly round removes and buries, and what it tells the admins of dead letters."""

from collections.abc import Callable

import httpx
import jsonschema
import pytest

from hubblewave_pipelines.core.event_types import FIXED
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import dead_letters
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.plugins.receiver import Receiver, receiving
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import Switch, bodies, emit, made, rows, run_sql, subscribe

pytestmark = pytest.mark.own_database  # partitions come and go

LETTERS = "/api/v1/webhooks/dead-letters"


def delivered(owner: Database, count: int) -> Callable[[], bool]:
    ended = "select count(*) from hubblewave.webhook_delivery_log"
    return lambda: rows(owner, ended) == [(count,)]


def test_successes_go_after_a_day_and_failures_stay_for_their_week(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    subscribe(api, receiver.url, retryConfig={"maxAttempts": 1})
    switch.failing = lambda body: body["data"]["n"] in (1, 2)
    with working(settings):
        emit(owner_database, tenant, 6)
        eventually(delivered(owner_database, 6), "all have ended")
    ages = {1: 25, 2: 1, 3: 25, 4: 25, 5: 23, 6: 1}  # hours by the number in the event
    for number, hours in ages.items():
        chosen = "(select id from hubblewave.events where (data::json ->> 'n')::integer = %s)"
        run_sql(
            owner_database,
            "update hubblewave.webhook_attempts a set started_at = now() - make_interval(hours => %s),"
            " ended_at = now() - make_interval(hours => %s) from hubblewave.webhook_delivery_log d"
            f" where d.id = a.delivery_id and d.event_id = {chosen}",
            hours,
            hours,
            number,
        )
        run_sql(
            owner_database,
            "update hubblewave.webhook_delivery_log set finished_at = now() - make_interval(hours =>"
            f" %s) where event_id = {chosen}",
            hours,
            number,
        )
    kept = (
        "select (e.data::json ->> 'n')::integer as n, d.status, exists (select from"
        " hubblewave.webhook_attempts a where a.delivery_id = d.id)"
        " from hubblewave.webhook_delivery_log d join hubblewave.events e on e.id = d.event_id"
        " order by n"
    )
    assert len(rows(owner_database, kept)) == 6
    with working(settings):
        eventually(lambda: len(rows(owner_database, kept)) <= 4, "the old successes are gone")
    assert rows(owner_database, kept) == [
        (1, "failed", True),
        (2, "failed", True),
        (5, "success", True),
        (6, "success", True),
    ]
    assert rows(owner_database, "select count(*) from hubblewave.webhook_attempts") == [(4,)]
    assert rows(owner_database, "select count(*) from hubblewave.events where n <= 6") == [(6,)]


def test_what_is_held_for_longer_than_events_are_kept_becomes_a_dead_letter(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url)
    emit(owner_database, tenant, 3)
    with working(settings):
        eventually(delivered(owner_database, 3), "fanned out and sent")
    run_sql(
        owner_database,
        "update hubblewave.events set occurred_at = now() - make_interval(days => %s)"
        " where (data::json ->> 'n')::integer = 1",
        settings.event_days + 1,
    )
    run_sql(
        owner_database,
        "insert into hubblewave.webhook_deliveries (tenant_id, webhook_id, event_id, event_n,"
        " occurred_at, type, kind, attempts_left, state) select tenant_id, %s, id, n, occurred_at,"
        " type, 'event', 10, 'held' from hubblewave.events",
        hook["id"],
    )
    with working(settings):
        eventually(
            lambda: made(api.get(LETTERS), 200)["pageInfo"]["totalItems"] > 0, "one is buried"
        )
    (letter,) = made(api.get(LETTERS), 200)["items"]
    assert (letter["reason"], letter["data"], letter["attempts"]) == ("held_too_long", {"n": 1}, 0)
    held = "select (e.data::json ->> 'n')::integer, d.state from hubblewave.webhook_deliveries d"
    held += " join hubblewave.events e on e.id = d.event_id where d.type = 'import.completed'"
    assert sorted(rows(owner_database, held)) == [(2, "held"), (3, "held")]
    failed = made(
        api.get(f"/api/v1/webhooks/{hook['id']}/deliveries", params={"status": "failed"}), 200
    )["items"]
    assert [item["reason"] for item in failed] == ["held_too_long"]
    assert len(bodies(receiver)) == 3, "nothing that is held is sent"


def test_the_admins_are_told_of_new_dead_letters_once_an_hour_with_their_number(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    worker_database: Database,
    tenant: Tenant,
) -> None:
    def tell() -> int:
        with worker_database.transaction() as tx:
            return tx.one(dead_letters.tell()) or 0

    told_at = "update hubblewave.webhook_health set dead_letters_told_at = TIME"
    failed_at = "update hubblewave.webhook_dead_letters set failed_at = TIME"
    with receiving(Switch()) as admins, working(settings):
        hook = subscribe(api, receiver.url, retryConfig={"maxAttempts": 1})
        subscribe(api, admins.url, "webhook.dead_letter")
        switch.failing = lambda body: True
        emit(owner_database, tenant, 3)
        eventually(lambda: len(bodies(admins)) == 1, "the admins are told")
        eventually(lambda: made(api.get(LETTERS), 200)["pageInfo"]["totalItems"] == 3, "three")
        (first,) = bodies(admins)
        (kind,) = (each for each in FIXED if each.name == "webhook.dead_letter")
        jsonschema.validate(first["data"], kind.schema)
        assert first["data"]["webhookId"] == hook["id"]
        assert first["data"]["newest"]["reason"] == "exhausted"
        emit(owner_database, tenant, 2)
        eventually(lambda: made(api.get(LETTERS), 200)["pageInfo"]["totalItems"] == 5, "two more")
        assert tell() == 0, "within the hour"
        run_sql(owner_database, told_at.replace("TIME", "now() - interval '61 minutes'"))
        tell()  # or the worker was quicker
        eventually(lambda: len(bodies(admins)) == 2, "told again after the hour")
        letters = made(api.get(LETTERS), 200)["items"]
    again = bodies(admins)[1]["data"]
    assert (again["count"], again["newest"]["id"]) == (5, letters[0]["id"])
    told = "select count(*) from hubblewave.events where type = 'webhook.dead_letter'"
    run_sql(owner_database, told_at.replace("TIME", "now() - interval '1 day'"))
    run_sql(owner_database, failed_at.replace("TIME", "now() - interval '2 days'"))
    assert tell() == 0, "nothing is new"
    run_sql(owner_database, failed_at.replace("TIME", "now()"))
    run_sql(
        owner_database, "update hubblewave.webhook_dead_letters set type = 'webhook.dead_letter'"
    )
    assert tell() == 0, "letters about letters give no further ones"
    run_sql(owner_database, "update hubblewave.webhook_dead_letters set type = 'import.failed'")
    made(api.post(f"{LETTERS}/{letters[0]['id']}/resolve"), 200)
    assert [tell(), tell()] == [1, 0]
    assert rows(owner_database, told) == [(3,)]
    run_sql(owner_database, told_at.replace("TIME", "null"))
    made(api.post(f"{LETTERS}/redrive", json={}), 202)
    assert tell() == 0, "nothing is open"

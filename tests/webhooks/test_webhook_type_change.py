"""Events that were written before a field changed its type, and are told afterwards."""

import json
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import Wish, change_definition
from hubblewave_pipelines.storage.tenants import Tenant
from tests.plugins.receiver import Receiver
from tests.plugins.stack import eventually
from tests.plugins.working import working
from tests.webhooks.conftest import CONTACT, bodies, made, rows, subscribe

pytestmark = pytest.mark.own_database  # a definition is changed


def with_kinds(owner: Database, tenant: Tenant, **kinds: str) -> None:
    fields: list[dict[str, Any]] = [
        {**field, "type": kinds.get(str(field["name"]), field["type"])}
        for field in CONTACT["fields"]  # type: ignore[attr-defined]
    ]
    wish = Wish("Contact", {**CONTACT, "fields": fields}, force=True)
    change_definition(owner, tenant.id, wish, requested_by=None)


def test_an_event_of_before_a_type_change_shows_the_value_as_the_new_type_or_null(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url, "contact.created")
    with working(settings):
        made(api.post("/api/v1/contacts", json={"score": 7, "note": "12"}))
        eventually(lambda: len(bodies(receiver)) == 1, "told before the change")
    # Nobody fans out: these are told after the change only.
    made(api.post("/api/v1/contacts", json={"score": 8, "note": "13"}))
    made(api.post("/api/v1/contacts", json={"score": 9, "note": "no number"}))
    with_kinds(owner_database, tenant, score="text", note="integer")
    made(api.post("/api/v1/contacts", json={"score": "ten", "note": 14}))
    with working(settings):
        eventually(lambda: len(bodies(receiver)) == 4, "all are told")
        since = made(api.get(f"/api/v1/webhooks/{hook['id']}"), 200)["createdAt"]
        replay = {"since": since}
        made(api.post(f"/api/v1/webhooks/{hook['id']}/replays", json=replay), 202)
        eventually(lambda: len(bodies(receiver)) == 8, "and once more")
    told = [(b["data"]["score"], b["data"]["note"]) for b in bodies(receiver)]
    first = [(7, "12"), ("8", 13), ("9", None), ("ten", 14)]
    assert sorted(told[:4], key=str) == sorted(first, key=str)
    # What was told once is told again as it was: the same bytes under the same id.
    assert sorted(told[4:], key=str) == sorted(first, key=str)
    by_id: dict[str, set[bytes]] = {}
    for request in receiver.requests:
        if "challenge" not in json.loads(request.body):
            by_id.setdefault(request.headers["webhook-id"], set()).add(request.body)
    assert [len(found) for found in by_id.values()] == [1, 1, 1, 1]


def test_a_filter_judges_an_event_of_before_a_type_change_by_the_new_type(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    fits = {"score": {"gte": 5}}
    subscribe(api, receiver.url, "contact.created", filter=fits)
    for score in (4, 5, 6):
        made(api.post("/api/v1/contacts", json={"score": score}))
    with_kinds(owner_database, tenant, score="decimal")
    with working(settings):
        waiting = "select 1 from hubblewave.events where fanned_at is null"
        eventually(lambda: rows(owner_database, waiting) == [], "all are fanned out")
        eventually(lambda: len(bodies(receiver)) == 2, "those that fit")
    assert sorted(str(b["data"]["score"]) for b in bodies(receiver)) == ["5", "6"]

"""Events come from the transaction that makes them true, and only where a webhook wants them."""

import json
import uuid
from typing import Any

import pytest

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage import capture, records
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.storage.events import record_event
from hubblewave_pipelines.storage.physical import spelled
from hubblewave_pipelines.storage.tenants import Tenant

ACTOR = uuid.uuid4()
CONTACT = {
    "name": "Contact",
    "pluralName": "Contacts",
    "fields": [{"name": "email", "type": "email"}, {"name": "score", "type": "integer"}],
}


@pytest.fixture
def contact(owner_database: Database, tenant: Tenant) -> Entity:
    found = define(owner_database, tenant, CONTACT).named("Contact")
    assert found is not None
    return found


def subscribe(owner: Database, tenant: Tenant, *events: str) -> None:
    """A webhook row as the API stores one, with the triggers that it needs."""
    capture.capture(owner, tenant.id, events)
    with owner.transaction() as tx:
        tx.run(
            statement(
                "insert into hubblewave.webhooks (tenant_id, name, url, events)"
                " values (%s, 'test', 'https://example.com', %s)",
                (tenant.id, list(events)),
            )
        )


def events_of(owner: Database, tenant: Tenant) -> list[dict[str, Any]]:
    with owner.transaction() as tx:
        return tx.all(
            statement(
                "select to_jsonb(e) from hubblewave.events e where tenant_id = %s order by n",
                (tenant.id,),
                lambda row: row[0],
            )
        )


def write(app: Database, tenant: Tenant, entity: Entity) -> uuid.UUID:
    """One record made, changed and deleted."""
    with app.transaction(tenant.id) as tx:
        made = tx.one(records.insert_record(entity, {"email": "a@b.example"}, actor_id=ACTOR))
        assert made is not None
        tx.one(records.update_record(entity, made.id, {"score": 1}, actor_id=ACTOR))
        tx.one(records.delete_record(entity, made.id))
    return made.id


def test_only_a_subscribed_entity_writes_events(
    owner_database: Database, app_database: Database, tenant: Tenant, contact: Entity
) -> None:
    write(app_database, tenant, contact)
    assert events_of(owner_database, tenant) == []
    subscribe(owner_database, tenant, "contact.*", "import.completed")
    record = write(app_database, tenant, contact)
    found = events_of(owner_database, tenant)
    assert [e["type"] for e in found] == ["contact.created", "contact.updated", "contact.deleted"]
    assert {e["ordering_key"] for e in found} == {str(record)}
    assert [e["record"]["version"] for e in found] == [1, 2, 2]
    with owner_database.transaction() as tx:
        tx.run(statement("delete from hubblewave.webhooks"))
    assert capture.capture(owner_database, tenant.id) == [contact.id]
    write(app_database, tenant, contact)
    assert len(events_of(owner_database, tenant)) == 3


def test_a_change_that_is_rolled_back_has_no_event(
    owner_database: Database, app_database: Database, tenant: Tenant, contact: Entity
) -> None:
    subscribe(owner_database, tenant, "*")

    def fail() -> None:
        with app_database.transaction(tenant.id) as tx:
            tx.one(records.insert_record(contact, {"score": 1}, actor_id=ACTOR))
            tx.one(record_event(tenant.id, "export.completed", {"id": "x"}, "x"))
            raise RuntimeError("the request fails")

    with pytest.raises(RuntimeError):
        fail()
    assert events_of(owner_database, tenant) == []


def test_an_event_said_by_hand_is_stored_as_it_is(
    owner_database: Database, app_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    data = {"id": uuid.uuid4(), "name": "Zoë", "rows": 3, "error": None}
    with app_database.transaction(tenant.id) as tx:
        assert tx.one(record_event(tenant.id, "export.completed", data, "key")) is not None
    (event,) = events_of(owner_database, tenant)
    assert json.loads(event["data"]) == {**data, "id": str(data["id"])}
    with app_database.transaction(other_tenant.id) as tx:
        assert tx.all(statement("select 1 from hubblewave.events")) == []


def test_a_wildcard_takes_in_entities_that_come_later(
    owner_database: Database, app_database: Database, tenant: Tenant, contact: Entity
) -> None:
    subscribe(owner_database, tenant, "*.created")
    catalog = define(owner_database, tenant, {**CONTACT, "name": "Order", "pluralName": "Orders"})
    order = catalog.named("Order")
    assert order is not None
    with app_database.transaction(tenant.id) as tx:
        tx.one(records.insert_record(order, {"score": 1}, actor_id=ACTOR))
    assert [e["type"] for e in events_of(owner_database, tenant)] == ["order.created"]
    wish = Wish("Order", {**CONTACT, "name": "Purchase", "pluralName": "Purchases"})
    change_definition(owner_database, tenant.id, wish, requested_by=None)
    with app_database.transaction(tenant.id) as tx:
        tx.one(records.insert_record(order, {"score": 1}, actor_id=ACTOR))
    assert events_of(owner_database, tenant)[-1]["type"] == "purchase.created"


def test_a_silenced_transaction_says_nothing(
    owner_database: Database, app_database: Database, tenant: Tenant, contact: Entity
) -> None:
    subscribe(owner_database, tenant, "contact.created")
    with app_database.transaction(tenant.id) as tx:
        tx.run(capture.silence())
        tx.one(records.insert_record(contact, {"score": 1}, actor_id=ACTOR))
    assert events_of(owner_database, tenant) == []
    with app_database.transaction(tenant.id) as tx:
        tx.one(records.insert_record(contact, {"score": 1}, actor_id=ACTOR))
    assert len(events_of(owner_database, tenant)) == 1


def test_days_that_are_over_are_dropped_unless_a_delivery_needs_them(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    keep = statement(
        "select hubblewave.keep_days('events', '10 days')", (), lambda row: int(row[0])
    )
    with owner_database.transaction() as tx:
        tx.run(
            spelled(
                "do $$ declare d date := current_date - 20; begin execute format("
                "'create table hubblewave.%I partition of hubblewave.events for values from (%L) to"
                " (%L)', 'events_' || to_char(d, 'YYYYMMDD'), d, d + 1);"
                " execute format('alter table hubblewave.%I enable row level security',"
                " 'events_' || to_char(d, 'YYYYMMDD')); end $$"
            )
        )
        tx.run(
            statement(
                "insert into hubblewave.events (tenant_id, type, occurred_at, ordering_key, data)"
                " values (%s, 'import.completed', current_date - 20, 'k', '{}')",
                (tenant.id,),
            )
        )
    subscribe(owner_database, tenant, "import.completed")
    with owner_database.transaction() as tx:
        tx.run(
            statement(
                "insert into hubblewave.webhook_deliveries (tenant_id, webhook_id, event_id, event_n,"
                " occurred_at, type, attempts_left) select w.tenant_id, w.id, e.id, e.n,"
                " e.occurred_at, e.type, 10 from hubblewave.webhooks w, hubblewave.events e"
            )
        )
    with worker_database.transaction() as tx:
        assert tx.one(keep) == 0
    with owner_database.transaction() as tx:
        tx.run(statement("delete from hubblewave.webhook_deliveries"))
    with worker_database.transaction() as tx:
        assert tx.one(keep) == 1
    assert events_of(owner_database, tenant) == []

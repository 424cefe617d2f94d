"""Laws of record events: every committed change of a record is told once, in the record's own order,
with what the record was like then, however transactions interleave and wherever a reader resumes."""

import json
from collections import defaultdict
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.feed import Place
from hubblewave_pipelines.core.query import All, columns_of
from hubblewave_pipelines.storage.database import Database, Role, Transaction, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.history import restore_deleted
from hubblewave_pipelines.storage.history_table import history_table
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.record_events import (
    Kind,
    select_events,
    select_now,
    select_shown,
)
from hubblewave_pipelines.storage.records import delete_record, insert_record, update_record
from hubblewave_pipelines.storage.tenants import Tenant, on_behalf

ACTOR = UUID(int=7)
IDS = [UUID(int=0x0190A9A0_0000_7000_8000_000000000000 + n) for n in range(4)]
NOTE = {
    "name": "Note",
    "pluralName": "Notes",
    "fields": [{"name": "text", "type": "text"}, {"name": "rank", "type": "integer"}],
}

Told = tuple[str, str | None]


@pytest.fixture
def note(owner_database: Database, tenant: Tenant) -> Entity:
    found = define(owner_database, tenant, NOTE).named("Note")
    assert found is not None
    return found


def put(tx: Transaction, entity: Entity, record_id: UUID, text: str) -> None:
    """Create, change or bring back a record."""
    values = {"text": text}
    if tx.one(update_record(entity, record_id, values, actor_id=ACTOR)) is not None:
        return
    last = f"select version from {history_table(entity)} where id = %s order by n desc limit 1"
    gone = tx.one(statement(last, [record_id], lambda row: int(row[0])))
    if gone is None:
        tx.one(insert_record(entity, values, actor_id=ACTOR, record_id=record_id))
        return
    tx.one(restore_deleted(entity, record_id, gone, actor_id=ACTOR))
    tx.one(update_record(entity, record_id, values, actor_id=ACTOR))


def text_of(tx: Transaction, entity: Entity, record_id: UUID) -> str | None:
    column = entity.fields_by_name["text"].column
    return tx.one(
        statement(
            f"select {column} from {qualified(entity)} where id = %s", [record_id], lambda r: r[0]
        )
    )


class Listener:
    """A reader of the events, autonomous: every look is a statement of its own, on one connection."""

    def __init__(self, tx: Transaction, tenant: Tenant, entity: Entity, limit: int) -> None:
        self.tx, self.tenant, self.entity, self.limit = tx, tenant, entity, limit
        now = tx.one(on_behalf(tenant.id, select_now()))
        assert now is not None
        self.place: Place = now.place
        self.told: dict[UUID, list[Told]] = defaultdict(list)
        self.places: list[Place] = []
        self.changed: list[set[str]] = []

    def read(self) -> bool:
        page = self.tx.one(
            on_behalf(self.tenant.id, select_events(self.entity, self.place, self.limit))
        )
        assert page is not None
        assert len(page.events) <= self.limit
        shown = self.tx.one(
            on_behalf(
                self.tenant.id,
                select_shown(self.entity, page.events, columns_of(self.entity), All()),
            )
        )
        assert shown is not None
        names = {column.physical: column.name for column in columns_of(self.entity)}
        for k, event in enumerate(page.events):
            assert event.place not in self.places
            self.places.append(event.place)
            if k in shown.records:
                text = json.loads(shown.records[k])["text"]
                self.told[event.place.id].append((event.kind, text))
                self.changed.append({names[c] for c in event.changed if c in names})
        self.place = page.next
        return page.more

    def drain(self) -> None:
        while self.read():
            pass


write = st.tuples(
    st.sampled_from(["put", "put", "delete"]), st.integers(0, 2), st.sampled_from(IDS[:3])
)
end = st.tuples(st.just("end"), st.integers(0, 2), st.sampled_from([True, True, False]))
read = st.tuples(st.just("read"), st.integers(0, 1), st.none())
steps = st.integers(20, 60).flatmap(
    lambda size: st.lists(st.one_of(write, write, end, read), min_size=size, max_size=size)
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_any_interleaving_tells_every_committed_change_once_in_order(
    app_database: Database, note: Entity, tenant: Tenant, steps: list[tuple[str, int, Any]]
) -> None:
    """The oracle: what each transaction found and what it left, at the moment of its commit.

    One exception: what a transaction that began earlier changes again before anybody was told of it
    is told together with that change.
    """
    truth: dict[UUID, list[tuple[int, str | None, str | None]]] = defaultdict(list)
    with app_database.transaction(tenant.id) as tx:
        tx.run(statement(f"delete from {qualified(note)}"))
    with ExitStack() as stack:
        connections = [
            stack.enter_context(app_database.connect(autocommit=False)) for _ in range(3)
        ]
        writers = [Transaction(connection) for connection in connections]
        reader = Transaction(stack.enter_context(Database(app_database.url, Role.APP).connect()))
        listeners = [Listener(reader, tenant, note, limit) for limit in (1, 3)]
        found: list[dict[UUID, str | None]] = [{}, {}, {}]
        began = [0, 0, 0]

        def finish(who: int, *, commit: bool) -> None:
            if commit:
                for record, was in found[who].items():
                    now, told = text_of(writers[who], note, record), truth[record]
                    if now == was:
                        continue
                    if told and told[-1][0] >= began[who]:
                        told[-1] = (told[-1][0], told[-1][1], now)
                    else:
                        told.append((began[who], was, now))
            connections[who].execute("commit" if commit else "rollback")
            found[who].clear()

        for number, (what, who, detail) in enumerate(steps):
            if what == "read":
                listeners[who].read()
            elif what == "end":
                finish(who, commit=detail)
            elif not any(detail in other for n, other in enumerate(found) if n != who):
                if not found[who]:
                    writers[who].act_for(tenant.id)
                    began[who] = (
                        writers[who].one(
                            statement("select pg_current_xact_id()::text", (), lambda r: int(r[0]))
                        )
                        or 0
                    )
                found[who].setdefault(detail, text_of(writers[who], note, detail))
                if what == "put":
                    put(writers[who], note, detail, f"text {number}")
                else:
                    writers[who].one(delete_record(note, detail))
        for who in range(3):
            finish(who, commit=True)
        for listener in listeners:
            listener.drain()
            for record in IDS[:3]:
                assert listener.told[record] == [
                    (Kind.DELETED, was)
                    if now is None
                    else (Kind.UPDATED if was else Kind.CREATED, now)
                    for _, was, now in truth[record]
                    if was is not None or now is not None
                ]

"""Changes of definition beside running work: who waits for whom, and who never does."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import Conflict, Unavailable
from hubblewave_pipelines.storage import ddl
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Role, Statement, statement
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.tenants import Tenant
from tests.tables import shape, surplus

BODY: dict[str, Any] = {
    "name": "Contact",
    "pluralName": "Contacts",
    "fields": [{"name": "a", "type": "text"}],
}
WIDER = {**BODY, "fields": [*BODY["fields"], {"name": "b", "type": "text", "maxLength": 9}]}


@pytest.fixture
def entity(owner_database: Database, tenant: Tenant) -> Entity:
    (made,) = define(owner_database, tenant, BODY)
    return made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def change(owner: Database, tenant: Tenant, wish: Wish) -> Entity:
    entity = change_definition(owner, tenant.id, wish, requested_by=None).entity
    assert entity is not None
    return entity


def waits(database: Database, mode: str) -> bool:
    with database.transaction() as tx:
        return (
            tx.all(statement("select from pg_locks where mode = %s and not granted", [mode])) != []
        )


def until(happened: Callable[[], bool], change: Future[Any]) -> None:
    """Come back when it has happened; the change must not be over before."""
    pause = threading.Event()
    while not happened():
        assert not change.done(), change.result()
        pause.wait(0.02)


def test_a_change_behind_a_long_reader_stops_no_other_reader(
    owner_database: Database,
    app_database: Database,
    tenant: Tenant,
    entity: Entity,
    threads: ThreadPoolExecutor,
) -> None:
    read = statement(f"select count(*) from {qualified(entity)}")
    with app_database.transaction(tenant.id) as long_reader:
        long_reader.one(read)
        changing = threads.submit(change, owner_database, tenant, Wish("Contact", WIDER))
        until(lambda: waits(owner_database, "AccessExclusiveLock"), changing)
        for _ in range(20):
            # The ALTER may be queued before each of these: none may have to wait for the reader.
            with app_database.transaction(tenant.id) as tx:
                tx.run(statement("set local statement_timeout = '5s'"))
                assert tx.one(read) == (0,)
        assert not changing.done()
    assert [f.name for f in changing.result(60).fields] == ["a", "b"]
    assert surplus(owner_database, changing.result()) == set()


def test_a_table_in_use_for_too_long_is_left_as_it_was(
    owner_database: Database,
    app_database: Database,
    tenant: Tenant,
    entity: Entity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ddl, "_PATIENCE", 0.3)
    before = shape(owner_database, entity)
    with app_database.transaction(tenant.id) as long_reader:
        long_reader.one(statement(f"select count(*) from {qualified(entity)}"))
        with pytest.raises(Unavailable) as caught:
            change(owner_database, tenant, Wish("Contact", WIDER))
    assert caught.value.retry_after
    assert shape(owner_database, entity) == before
    change(owner_database, tenant, Wish("Contact", WIDER))


def test_what_was_added_is_taken_away_when_publishing_is_refused(
    owner_database: Database,
    app_database: Database,
    tenant: Tenant,
    entity: Entity,
    monkeypatch: pytest.MonkeyPatch,
    threads: ThreadPoolExecutor,
) -> None:
    """The index is built beside a writer; then a reader holds up the last step for too long."""
    unique = {**BODY, "fields": [{"name": "a", "type": "text", "unique": True, "required": True}]}
    before = shape(owner_database, entity)
    built, held = threading.Event(), threading.Event()
    build = ddl.Definitions._build_index

    def build_then_wait(self: ddl.Definitions, *given: Any) -> None:
        build(self, *given)
        monkeypatch.setattr(ddl, "_PATIENCE", 0.0)
        built.set()
        assert held.wait(60)

    monkeypatch.setattr(ddl.Definitions, "_build_index", build_then_wait)
    changing = threads.submit(change, owner_database, tenant, Wish("Contact", unique))
    assert built.wait(60)
    with app_database.transaction(tenant.id) as reader:
        reader.one(statement(f"select count(*) from {qualified(entity)}"))
        held.set()
        with pytest.raises(Unavailable):
            changing.result(60)
    monkeypatch.undo()
    # The undoing was held up too: the next change does it first.
    change(owner_database, tenant, Wish("Contact", {**BODY, "description": "again"}))
    assert shape(owner_database, entity) == before


def test_of_two_changes_at_once_the_second_sees_the_first(
    owner_database: Database, tenant: Tenant, threads: ThreadPoolExecutor
) -> None:
    bodies = [{**BODY, "name": f"Thing{n}", "pluralName": "Things"} for n in range(4)]
    futures = [threads.submit(change, owner_database, tenant, Wish(None, body)) for body in bodies]
    refused = [f.exception(60) for f in futures]
    assert [type(e) for e in refused if e is not None] == [Conflict] * 3
    with owner_database.transaction() as tx:
        assert len(list(load_catalog(tx, tenant.id))) == 1
        assert tx.one(
            statement("select count(*) from pg_tables where tablename like 'e\\_%%'")
        ) == (1,)


def test_tenants_do_not_wait_for_each_other(
    owner_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    with ddl.definitions(owner_database, tenant.id):
        change(owner_database, other_tenant, Wish(None, BODY))


def test_a_vacuum_in_the_way_is_known_from_a_reader(
    owner_database: Database, tenant: Tenant, entity: Entity
) -> None:
    """Autovacuum gives way only to who waits a second; a reader must not be waited for so long."""
    table = qualified(entity)
    with ddl.definitions(owner_database, tenant.id) as held:
        with owner_database.transaction() as reader:
            reader.one(statement(f"select count(*) from {table}"))
            assert not held._vacuum_is_at_work()
        with owner_database.transaction() as vacuum:
            vacuum.run(statement(f"lock table {table} in share update exclusive mode"))
            assert held._vacuum_is_at_work()


def test_an_error_of_the_server_leaves_nothing_behind(
    owner_database: Database,
    tenant: Tenant,
    entity: Entity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(version_of: object) -> Statement[Any]:
        return statement("select 1 / 0")

    before = shape(owner_database, entity)
    monkeypatch.setattr(ddl.ledger, "next_version", broken)
    with pytest.raises(psycopg.errors.DivisionByZero):
        change(owner_database, tenant, Wish("Contact", WIDER))
    assert shape(owner_database, entity) == before
    with owner_database.transaction() as tx:
        states = tx.all(
            statement("select state from hubblewave.schema_changes order by created_at")
        )
    assert states == [("done",), ("failed",)]


def test_a_database_that_is_away_is_said_so(tenant: Tenant) -> None:
    nowhere = Database("postgresql://hubblewave@127.0.0.1:1/nothing", Role.OWNER)
    with pytest.raises(Unavailable):
        change(nowhere, tenant, Wish(None, BODY))

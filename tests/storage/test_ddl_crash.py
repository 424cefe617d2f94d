"""A process that dies in the middle of a change: the next change finds and repairs it."""

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from hubblewave_pipelines.core.definition import as_json
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Statement, statement
from hubblewave_pipelines.storage.ddl import Wish, _lock_key, change_definition, define
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.tenants import Tenant
from tests.tables import rows_of, surplus

# Changes a definition and kills itself before the statement of the given number.
PROGRAM = """
import json, os, signal, sys
from uuid import UUID
from hubblewave_pipelines.storage.database import Database, Role, Transaction
from hubblewave_pipelines.storage.ddl import Wish, change_definition

url, tenant, body, number = sys.argv[1], UUID(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
run, ran = Transaction.run, 0

def run_until_killed(self, query):
    global ran
    if ran == number:
        os.kill(os.getpid(), signal.SIGKILL)
    ran += 1
    return run(self, query)

Transaction.run = run_until_killed
change_definition(Database(url, Role.OWNER), tenant, Wish("Contact", body), requested_by=None)
"""

TARGET = {"name": "Company", "pluralName": "Companies", "fields": []}
BODY: dict[str, Any] = {
    "name": "Contact",
    "pluralName": "Contacts",
    "fields": [
        {"name": "a", "type": "text", "required": True, "maxLength": 100},
        {"name": "b", "type": "enum", "enum": ["x", "y"]},
        {"name": "gone", "type": "text", "unique": True, "required": True},
    ],
}
CHANGED: dict[str, Any] = {
    "name": "Contact",
    "pluralName": "Contacts",
    "fields": [
        {"name": "a", "type": "text", "unique": True},
        {"name": "b", "type": "enum", "enum": ["x", "z"], "required": True},
        {"name": "c", "type": "integer", "default": 5, "required": True, "min": 0},
    ],
    "relationships": [
        {"name": "company", "type": "manyToOne", "targetEntity": "Company"},
        {"name": "clients", "type": "manyToMany", "targetEntity": "Company"},
    ],
}


@pytest.mark.parametrize("number", range(1, 43, 3))
def test_a_killed_change_is_undone_by_the_next(
    owner_database: Database, tenant: Tenant, number: int
) -> None:
    _, before = define(owner_database, tenant, TARGET, BODY)
    columns = ", ".join(before.columns[name] for name in ("a", "b", "gone"))
    with owner_database.transaction() as tx:
        tx.run(statement(f"insert into {qualified(before)} ({columns}) values ('1', 'x', 'g')"))
    command = [sys.executable, "-c", PROGRAM, owner_database.url, str(tenant.id)]
    died = subprocess.run(
        [*command, json.dumps(CHANGED), str(number)], capture_output=True, text=True, check=False
    )
    with owner_database.transaction() as tx:
        catalog = load_catalog(tx, tenant.id)
        # Its backend may still be finishing its last statement: the change's lock tells.
        tx.one(statement("select pg_advisory_lock(%s)", [_lock_key(tenant.id)]))
        tx.one(statement("select pg_advisory_unlock_all()"))
    entity = catalog.named("Contact")
    assert entity is not None
    if died.returncode == 0:  # it was over before the statement of that number
        assert surplus(owner_database, entity) == {before.columns["gone"]}
        return
    assert died.returncode == -9, died.stderr
    assert entity == before, "a definition was published before its last step"

    # Any change repairs; this one asks for no step on the table at all.
    wish = Wish("Contact", {**as_json(before), "description": "repaired"})
    repaired = change_definition(owner_database, tenant.id, wish, requested_by=None).entity
    assert repaired is not None
    assert surplus(owner_database, repaired) == set()

    wish = Wish("Contact", CHANGED)
    changed = change_definition(owner_database, tenant.id, wish, requested_by=None).entity
    assert changed is not None
    assert surplus(owner_database, changed) == {before.columns["gone"]}
    (row,) = rows_of(owner_database, changed)
    assert [row[changed.columns[name]] for name in ("a", "b", "c")] == ["1", "x", 5]
    with owner_database.transaction() as tx:
        assert (
            tx.all(statement("select from hubblewave.schema_changes where state = 'running'")) == []
        )
        links = tx.one(statement("select count(*) from pg_tables where tablename like 'l\\_%%'"))
        assert links == (1,)


def test_a_killed_index_build_is_taken_away_by_the_next(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    """The server builds on after its client is dead, so the index is there, valid or not."""
    _, before = define(owner_database, tenant, TARGET, BODY)
    command = [sys.executable, "-c", PROGRAM, owner_database.url, str(tenant.id)]
    unique = {**BODY, "fields": [{**BODY["fields"][0], "unique": True}, *BODY["fields"][1:]]}
    waiting = statement(
        "select from pg_stat_activity where query like 'create unique index concurrently%%' "
        "and wait_event_type = 'Lock'"
    )
    columns = ", ".join(before.columns[name] for name in ("a", "gone"))
    with app_database.transaction(tenant.id) as writer:
        writer.run(statement(f"insert into {qualified(before)} ({columns}) values ('1', 'g')"))
        with subprocess.Popen([*command, json.dumps(unique), "9999"]) as process:
            pause = threading.Event()
            while not _any(owner_database, waiting):
                assert process.poll() is None
                pause.wait(0.05)
            process.kill()
    wish = Wish("Contact", {**as_json(before), "description": "repaired"})
    repaired = change_definition(owner_database, tenant.id, wish, requested_by=None).entity
    assert repaired is not None
    assert surplus(owner_database, repaired) == set()


def _any(database: Database, query: Statement[Any]) -> bool:
    with database.transaction() as tx:
        return tx.all(query) != []

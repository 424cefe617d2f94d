"""A credential and a read in one statement: the tenant's rows, nobody else's, and none without."""

import json
from typing import Any
from uuid import UUID

import pytest

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.identity import ApiKey, new_api_key
from hubblewave_pipelines.core.parameters import parse_query
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.compiler import select_page
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant, authenticated

NOTE = {"name": "Note", "pluralName": "Notes", "fields": [{"name": "text", "type": "text"}]}


def add_key(owner: Database, tenant: Tenant) -> ApiKey:
    key = new_api_key()
    with owner.transaction() as tx:
        stored = tenants.insert_key(
            tenant.id,
            key,
            name="test",
            scopes=["read"],
            plan=None,
            expires_at=None,
            created_by=None,
        )
        tx.run(stored)
    return key


@pytest.fixture
def note(owner_database: Database, tenant: Tenant) -> Entity:
    entity = define(owner_database, tenant, NOTE).named("Note")
    assert entity is not None
    with owner_database.connect() as connection:
        table, column = f"{entity.schema}.{entity.table}", entity.columns["text"]
        fill = f"insert into {table} ({column}) select 'note ' || i from generate_series(1, 300) i"
        connection.execute(fill.encode())
    return entity


def alone(entity: Entity) -> Catalog:
    return Catalog(UUID(int=0), 1, (entity,))


def read(app: Database, key: ApiKey, entity: Entity, **given: str) -> Any:
    query = parse_query(entity, given.items(), secret=b"", catalog=alone(entity))
    with app.connect() as connection:  # autocommit: the statement is its own transaction
        found = authenticated(key, select_page(query))
        rows = connection.execute(found.text.encode(), found.params).fetchall()  # type: ignore[arg-type]
        setting = connection.execute("select hubblewave.current_tenant()").fetchone()
    assert setting == (None,), "the tenant ends with the statement"
    return [found.row(row) for row in rows]


@pytest.mark.parametrize(
    "given",
    [{}, {"sort": "text"}, {"filter[text]": "note 7"}, {"count": "exact", "pageSize": "1000"}],
    ids=str,
)
@pytest.mark.parametrize("times", [1, 8])  # from the sixth on psycopg prepares, and plans are kept
def test_the_tenant_is_set_before_its_rows_are_read(
    app_database: Database,
    owner_database: Database,
    tenant: Tenant,
    note: Entity,
    given: dict[str, str],
    times: int,
) -> None:
    key = add_key(owner_database, tenant)
    query = parse_query(note, given.items(), secret=b"", catalog=alone(note))
    found = authenticated(key, select_page(query))
    with app_database.connect() as connection:
        for _ in range(times):
            row = connection.execute(found.text.encode(), found.params).fetchone()  # type: ignore[arg-type]
            assert row is not None
            principal, page = found.row(row)
            assert principal.tenant_id == tenant.id
            assert page is not None
            expected = 1 if "filter[text]" in given else min(300, query.page_size)
            assert len(json.loads(page.items)) == expected


def test_another_tenants_key_reads_nothing(
    app_database: Database, owner_database: Database, other_tenant: Tenant, note: Entity
) -> None:
    [(principal, page)] = read(app_database, add_key(owner_database, other_tenant), note)
    assert principal.tenant_id == other_tenant.id
    assert json.loads(page.items) == []


def test_an_unknown_key_gives_no_row(app_database: Database, note: Entity) -> None:
    assert read(app_database, new_api_key(), note) == []


def test_a_read_with_named_parameters_is_refused(tenant: Tenant) -> None:
    with pytest.raises(TypeError):
        authenticated(new_api_key(), statement("select %(x)s", {"x": 1}))

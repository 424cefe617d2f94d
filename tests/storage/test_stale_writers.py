"""Rules that only writers know: no row gets past one that was published while it was on its way."""

from typing import Any

import pytest
from psycopg.errors import UndefinedColumn

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import Conflict
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.storage import ddl, tenants
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Statement, statement
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.stale_writers import know_catalog
from hubblewave_pipelines.storage.tenants import Tenant

FIELD = {"name": "code", "type": "text"}
BODY: dict[str, Any] = {"name": "Thing", "pluralName": "Things", "fields": [FIELD]}
STRICT = {**BODY, "fields": [{**FIELD, "pattern": "[0-9]+"}]}


def insert(entity: Entity, text: str) -> Statement[Any]:
    column = entity.fields[0].column
    return statement(f"insert into {qualified(entity)} ({column}) values (%s)", [text])


def test_who_began_before_a_rule_cannot_write_by_the_older_one(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    (entity,) = define(owner_database, tenant, BODY)
    key = new_api_key()
    with owner_database.transaction() as tx:
        given = {"name": "k", "scopes": ["write"], "plan": None}
        tx.run(
            tenants.insert_key(tenant.id, key, **given, expires_at=None, created_by=None)  # type: ignore[arg-type]
        )
        version = load_catalog(tx, tenant.id).version
    with app_database.transaction() as request, app_database.transaction(tenant.id) as chunk:
        principal = request.one(tenants.authenticate(key))
        assert principal is not None
        assert principal.catalog_version == version
        chunk.run(know_catalog(version))
        done = change_definition(
            owner_database, tenant.id, Wish("Thing", STRICT), requested_by=None
        )
        for stale in (request, chunk):  # a caller begins again after this; an import's run does
            with pytest.raises(UndefinedColumn), stale.connection.transaction():
                stale.run(insert(entity, "letters"))
    with app_database.transaction() as request, app_database.transaction(tenant.id) as chunk:
        request.one(tenants.authenticate(key))
        request.run(insert(entity, "1"))
        chunk.run(know_catalog(done.catalog.version))
        chunk.run(insert(entity, "2"))
    relaxed = change_definition(owner_database, tenant.id, Wish("Thing", BODY), requested_by=None)
    with app_database.transaction(tenant.id) as chunk:
        chunk.run(know_catalog(relaxed.catalog.version))
        chunk.run(insert(entity, "letters"))


def test_what_is_written_between_the_look_and_the_publishing_is_looked_at(
    owner_database: Database,
    app_database: Database,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (entity,) = define(owner_database, tenant, BODY)
    looked = ddl.check_values

    def then_somebody_writes(*given: Any, **named: Any) -> None:
        looked(*given, **named)
        if "since" not in named:
            with app_database.transaction(tenant.id) as tx:
                tx.run(insert(entity, "letters"))

    monkeypatch.setattr(ddl, "check_values", then_somebody_writes)
    with pytest.raises(Conflict, match=r'matches .* in 1 record, for example "letters"'):
        change_definition(owner_database, tenant.id, Wish("Thing", STRICT), requested_by=None)
    with app_database.transaction(tenant.id) as tx:
        tx.run(insert(entity, "more letters"))  # the refused rule left no trace

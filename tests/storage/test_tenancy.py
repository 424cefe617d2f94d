"""Tenancy and credentials as the database itself enforces them."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import MetaData, create_engine
from sqlalchemy.dialects import postgresql

from hubblewave_pipelines.core.identity import ApiKey, new_api_key
from hubblewave_pipelines.storage import tables, tenants
from hubblewave_pipelines.storage.database import Database, Role, Transaction, conninfo, statement
from hubblewave_pipelines.storage.migrate import current, head, migrate
from hubblewave_pipelines.storage.tenants import Tenant

POSTGRESQL = postgresql.dialect()
PAST = datetime(2020, 1, 1, tzinfo=UTC)


def _add_key(tx: Transaction, tenant: Tenant, *, expires_at: datetime | None = None) -> ApiKey:
    key = new_api_key()
    tx.one(
        tenants.insert_key(
            tenant.id,
            key,
            name="test",
            scopes=["read"],
            plan=None,
            expires_at=expires_at,
            created_by=None,
        )
    )
    return key


def test_a_key_opens_its_tenant_and_nothing_else(
    owner_database: Database, app_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    with owner_database.transaction() as tx:
        key, foreign = _add_key(tx, tenant), _add_key(tx, other_tenant)
    with app_database.transaction() as tx:
        assert tx.all(tenants.keys_of(tenant.id)) == []
        principal = tx.one(tenants.authenticate(key))
        assert principal is not None
        assert (principal.tenant_id, principal.plan) == (tenant.id, "enterprise")
        assert [found.id for found in tx.all(tenants.keys_of(tenant.id))] == [key.id]
        assert tx.all(tenants.keys_of(other_tenant.id)) == []
        assert (
            tx.run(
                statement("update hubblewave.api_keys set name = 'x' where id = %s", [foreign.id])
            )
            == 0
        )
        assert [found.slug for found in tx.all(tenants.all_tenants())] == ["default"]


def test_a_pooled_connection_forgets_its_tenant(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    with owner_database.transaction() as tx:
        key = _add_key(tx, tenant)
    with app_database.transaction() as tx:
        tx.one(tenants.authenticate(key))
    with app_database.transaction() as tx:
        assert tx.all(tenants.keys_of(tenant.id)) == []
        assert tx.all(tenants.all_tenants()) == []


def test_a_row_for_another_tenant_is_refused_by_the_database(
    app_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        app_database.transaction(tenant.id) as tx,
    ):
        _add_key(tx, other_tenant)


@pytest.mark.parametrize("case", ["revoked", "expired", "wrong secret", "unknown"])
def test_a_key_that_is_no_longer_good_opens_nothing(
    owner_database: Database, app_database: Database, tenant: Tenant, case: str
) -> None:
    with owner_database.transaction() as tx:
        key = _add_key(tx, tenant, expires_at=PAST if case == "expired" else None)
        if case == "revoked":
            assert tx.one(tenants.revoke_key(tenant.id, key.id)) is not None
    if case == "wrong secret":
        key = ApiKey(key.id, new_api_key().secret)
    if case == "unknown":
        key = new_api_key()
    with app_database.transaction() as tx:
        assert tx.one(tenants.authenticate(key)) is None


def test_a_key_that_expires_later_still_opens(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    with owner_database.transaction() as tx:
        key = _add_key(tx, tenant, expires_at=datetime.now(UTC) + timedelta(hours=1))
    with app_database.transaction() as tx:
        assert tx.one(tenants.authenticate(key)) is not None


def test_a_taken_tenant_name_makes_no_second_tenant(
    owner_database: Database, tenant: Tenant
) -> None:
    with owner_database.transaction() as tx:
        assert tx.one(tenants.insert_tenant(tenant.slug, "Again", "free")) is None


def test_every_control_table_of_tenants_has_row_security(owner_database: Database) -> None:
    unprotected = statement(
        """
        select c.relname from pg_class c
        join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'hubblewave'
        where c.relkind in ('r', 'p') and not (
          c.relrowsecurity and exists (select from pg_policy p where p.polrelid = c.oid))
        """,
        row=lambda row: row[0],
    )
    with owner_database.transaction() as tx:
        assert tx.all(unprotected) == []


@pytest.mark.parametrize("role", [Role.APP, Role.WORKER])
def test_the_roles_that_touch_data_own_nothing_and_bypass_nothing(
    owner_database: Database, role: Role
) -> None:
    powers = statement(
        "select rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or exists "
        "(select from pg_class where relowner = r.oid) from pg_roles r where rolname = %s",
        [role.value],
        lambda row: row[0],
    )
    with owner_database.transaction() as tx:
        assert tx.one(powers) is False


def test_the_worker_sees_all_queues_but_no_tenants_keys(
    owner_database: Database, worker_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    with owner_database.transaction() as tx:
        _add_key(tx, tenant)
    with worker_database.transaction() as tx:
        assert len(tx.all(tenants.all_tenants())) == 2
        assert tx.all(tenants.keys_of(tenant.id)) == []


def test_migrating_again_changes_nothing(database_url: str) -> None:
    assert current(database_url) == head()
    assert migrate(database_url) == head()


def test_core_tables_describe_the_migrated_database(database_url: str) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo(database_url, Role.OWNER))
    )
    found = MetaData(schema="hubblewave")
    found.reflect(engine)
    engine.dispose()
    for name, table in tables.metadata.tables.items():
        described = {column.name: column.type.compile(POSTGRESQL) for column in table.columns}
        actual = {
            column.name: column.type.compile(POSTGRESQL) for column in found.tables[name].columns
        }
        assert described.keys() == actual.keys(), name
        assert {n: t for n, t in described.items() if t != actual[n]} == {}, name

"""Row security on the tables that definitions make: the second line behind the bound names."""

import psycopg
import pytest

from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.storage.physical import link_table, qualified
from hubblewave_pipelines.storage.tenants import Tenant

COMPANY = {"name": "Company", "pluralName": "Companies", "fields": []}
CONTACT = {
    "name": "Contact",
    "pluralName": "Contacts",
    "fields": [{"name": "a", "type": "text"}],
    "relationships": [{"name": "clients", "type": "manyToMany", "targetEntity": "Company"}],
}


@pytest.fixture
def catalog(owner_database: Database, tenant: Tenant, other_tenant: Tenant) -> Catalog:
    """Tables made at once and by a later change, in two tenants."""
    define(owner_database, other_tenant, COMPANY, CONTACT)
    define(owner_database, tenant, COMPANY, {**CONTACT, "relationships": []})
    wish = Wish("Contact", CONTACT)
    return change_definition(owner_database, tenant.id, wish, requested_by=None).catalog


def test_another_tenants_session_sees_no_record_and_writes_none(
    app_database: Database, catalog: Catalog, tenant: Tenant, other_tenant: Tenant
) -> None:
    contact, company = catalog.named("Contact"), catalog.named("Company")
    assert contact is not None
    assert company is not None
    link = link_table(contact.schema, str(contact.relations[0].link))
    made = []
    with app_database.transaction(tenant.id) as tx:
        for entity in (contact, company):
            row = tx.one(statement(f"insert into {qualified(entity)} default values returning id"))
            assert row is not None
            made.append(row[0])
        tx.run(statement(f"insert into {link} values (%s, %s)", made))
    for table in (qualified(contact), qualified(company), link):
        # Nobody's session and another tenant's; the app role, which may use every schema.
        for stranger in (None, other_tenant.id):
            with app_database.transaction(stranger) as tx:
                assert tx.all(statement(f"select from {table}")) == []
                assert tx.run(statement(f"delete from {table}")) == 0
        with app_database.transaction(tenant.id) as tx:
            assert len(tx.all(statement(f"select from {table}"))) == 1
    for text in (
        f"insert into {qualified(contact)} default values",
        f"insert into {link} values ('{made[0]}', '{made[1]}')",
    ):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            app_database.transaction(other_tenant.id) as tx,
        ):
            tx.run(statement(text))


def test_every_table_in_a_tenants_schema_has_row_security_and_its_own_policy(
    owner_database: Database, catalog: Catalog, tenant: Tenant, other_tenant: Tenant
) -> None:
    query = """select n.nspname, c.relname, c.relrowsecurity, c.relowner::regrole::text,
      (select array_agg(pg_get_expr(polqual, polrelid) || pg_get_expr(polwithcheck, polrelid)
         || polroles::regrole[]::text || polcmd::text) from pg_policy where polrelid = c.oid)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and n.nspname = any (%s)"""
    with owner_database.transaction() as tx:
        tables = tx.all(statement(query, [[tenant.schema, other_tenant.schema]]))
    assert len(tables) == 10
    ids = {tenant.schema: str(tenant.id), other_tenant.schema: str(other_tenant.id)}
    for schema, table, secured, owner, policies in tables:
        assert secured, table
        assert owner == "hubblewave"
        (policy,) = policies
        assert policy.count(ids[schema]) == 2, policy
        assert policy.endswith("{hubblewave_app}*")


def test_a_pipeline_sees_the_tenant_it_acts_for_and_no_other(
    worker_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    contact = catalog.named("Contact")
    assert contact is not None
    with worker_database.transaction(tenant.id) as tx:
        tx.run(statement(f"insert into {qualified(contact)} default values"))
        assert len(tx.all(statement(f"select from {qualified(contact)}"))) == 1
    with worker_database.transaction() as tx:
        assert tx.all(statement(f"select from {qualified(contact)}")) == []


def test_the_app_role_may_not_change_a_table(
    app_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    contact = catalog.named("Contact")
    assert contact is not None
    for text in (
        f"alter table {qualified(contact)} disable row level security",
        f"drop table {qualified(contact)}",
        f"truncate {qualified(contact)}",
        f"create table {tenant.schema}.mine ()",
    ):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            app_database.transaction(tenant.id) as tx,
        ):
            tx.run(statement(text))

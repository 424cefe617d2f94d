"""What the database keeps of replaced versions: by every kind of statement, for every table."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.storage import history_table, migrations
from hubblewave_pipelines.storage.database import Database, Transaction, statement
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.storage.physical import qualified, spelled
from hubblewave_pipelines.storage.records import delete_record, insert_record, update_record
from hubblewave_pipelines.storage.tenants import Tenant

ACTOR = UUID(int=7)
OWNER: dict[str, Any] = {"name": "Owner", "pluralName": "Owners", "fields": []}
PET: dict[str, Any] = {
    "name": "Pet",
    "pluralName": "Pets",
    "fields": [{"name": "name", "type": "text"}, {"name": "age", "type": "integer"}],
    "relationships": [
        {"name": "owner", "type": "manyToOne", "targetEntity": "Owner", "onDelete": "setNull"},
        {"name": "keeper", "type": "manyToOne", "targetEntity": "Owner", "onDelete": "cascade"},
    ],
}


@pytest.fixture
def catalog(owner_database: Database, tenant: Tenant) -> Catalog:
    return define(owner_database, tenant, OWNER, PET)


def entity(catalog: Catalog, name: str) -> Entity:
    found = catalog.named(name)
    assert found is not None
    return found


def kept(tx: Transaction, of: Entity) -> list[tuple[Any, ...]]:
    """(id, version, whether it ended by deletion, by whom, the row), in order."""
    text = "select id, version, deleted_at is not null, deleted_by, record from "
    return tx.all(statement(f"{text}{history_table.history_table(of)} order by n"))


def made(tx: Transaction, of: Entity, **values: object) -> UUID:
    written = tx.one(insert_record(of, values, actor_id=ACTOR))
    assert written is not None
    return written.id


def act(tx: Transaction, actor: UUID) -> None:
    tx.run(statement("select set_config('hubblewave.actor', %s, true)", [str(actor)]))


def test_an_insert_writes_no_history(
    app_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    pet = entity(catalog, "Pet")
    with app_database.transaction(tenant.id) as tx:
        made(tx, pet, name="Rex")
        assert kept(tx, pet) == []


def test_an_update_and_a_delete_keep_the_version_they_end(
    app_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    pet = entity(catalog, "Pet")
    name = pet.fields_by_name["name"].column
    with app_database.transaction(tenant.id) as tx:
        act(tx, ACTOR)
        record = made(tx, pet, name="Rex")
        tx.one(update_record(pet, record, {"name": "Max"}, actor_id=ACTOR))
        tx.one(delete_record(pet, record))
        (first, second) = kept(tx, pet)
    assert first[:4] == (record, 1, False, None)
    assert second[:4] == (record, 2, True, ACTOR)
    assert (first[4][name], second[4][name]) == ("Rex", "Max")


def test_a_statement_that_changes_nothing_keeps_nothing(
    app_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    pet = entity(catalog, "Pet")
    with app_database.transaction(tenant.id) as tx:
        assert tx.one(delete_record(pet, uuid4())) is None
        assert tx.one(update_record(pet, uuid4(), {"age": 1}, actor_id=ACTOR)) is None
        assert kept(tx, pet) == []


def test_what_is_rolled_back_leaves_no_history(
    app_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    pet = entity(catalog, "Pet")
    with app_database.transaction(tenant.id) as tx:
        record = made(tx, pet, name="Rex")
        tx.run(statement("savepoint here"))
        tx.one(delete_record(pet, record))
        assert len(kept(tx, pet)) == 1
        tx.run(statement("rollback to savepoint here"))
        assert kept(tx, pet) == []


def test_a_cascade_keeps_every_record_it_deletes_and_says_who_began_it(
    app_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    owner, pet = entity(catalog, "Owner"), entity(catalog, "Pet")
    with app_database.transaction(tenant.id) as tx:
        owners = [made(tx, owner) for _ in range(3)]
        pets = [made(tx, pet, keeperId=owners[n % 3]) for n in range(9)]
    with app_database.transaction(tenant.id) as tx:
        act(tx, ACTOR)
        assert tx.run(statement(f"delete from {qualified(owner)}")) == 3
        gone = kept(tx, pet)
    assert sorted(row[0] for row in gone) == sorted(pets)
    assert {row[1:4] for row in gone} == {(1, True, ACTOR)}


def test_setting_a_reference_null_is_a_new_version_in_the_order_of_commits(
    app_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    owner, pet = entity(catalog, "Owner"), entity(catalog, "Pet")
    reference = pet.references["ownerId"].column
    with app_database.transaction(tenant.id) as tx:
        held = made(tx, owner)
        record = made(tx, pet, name="Rex", ownerId=held)
    with app_database.transaction(tenant.id) as tx:
        act(tx, ACTOR)
        tx.one(delete_record(owner, held))
        (row,) = tx.all(
            statement(
                f"select version, updated_by, {reference}, xid = pg_current_xact_id(),"
                f" updated_at = now() from {qualified(pet)}"
            )
        )
        (old,) = kept(tx, pet)
    assert row == (2, ACTOR, None, True, True)
    assert old[:3] == (record, 1, False)
    assert old[4][reference] == str(held)


def test_history_is_read_by_its_tenant_and_written_by_nobody(
    app_database: Database, catalog: Catalog, tenant: Tenant, other_tenant: Tenant
) -> None:
    pet = entity(catalog, "Pet")
    table = history_table.history_table(pet)
    with app_database.transaction(tenant.id) as tx:
        tx.one(delete_record(pet, made(tx, pet)))
        assert len(kept(tx, pet)) == 1
    for stranger in (None, other_tenant.id):
        with app_database.transaction(stranger) as tx:
            assert kept(tx, pet) == []
    for text in (
        f"delete from {table}",
        f"update {table} set version = 9",
        f"insert into {table} (id, version, record) values (gen_random_uuid(), 1, '{{}}')",
        f"truncate {table}",
    ):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            app_database.transaction(tenant.id) as tx,
        ):
            tx.run(statement(text))


def test_an_entitys_history_goes_with_the_entity(
    owner_database: Database, catalog: Catalog, tenant: Tenant
) -> None:
    wish = Wish("Pet", remove=True, force=True)
    change_definition(owner_database, tenant.id, wish, requested_by=None)
    with owner_database.transaction() as tx:
        text = (
            "select relname from pg_class where relnamespace = %s::regnamespace and relkind = 'r'"
        )
        left = {row[0][0] for row in tx.all(statement(text, [tenant.schema]))}
        assert len(tx.all(statement(text, [tenant.schema]))) == 2
    assert left == {"e", "h"}


_SHAPE = """select 'column', attname, format_type(atttypid, atttypmod) || attnotnull::text || attidentity::text
  from pg_attribute where attrelid = %(h)s::regclass and attnum > 0
  union all select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
    where indrelid in (%(h)s::regclass, %(e)s::regclass)
  union all select 'policy', polname, pg_get_expr(polqual, polrelid)
    || pg_get_expr(polwithcheck, polrelid) || polroles::regrole[]::text || polcmd::text
    from pg_policy where polrelid = %(h)s::regclass
  union all select 'right', 'relacl', relacl::text || relrowsecurity::text from pg_class
    where oid = %(h)s::regclass
  union all select 'trigger', tgname, pg_get_triggerdef(oid) from pg_trigger
    where tgrelid = %(e)s::regclass and not tgisinternal order by 1, 2"""


def test_entities_older_than_history_get_by_migration_what_new_ones_are_made_with(
    owner_database: Database, catalog: Catalog
) -> None:
    pet = entity(catalog, "Pet")
    names = {"e": qualified(pet), "h": history_table.history_table(pet)}
    versions = Path(migrations.__file__).parent / "versions"
    files = [versions / "0003_history.sql", versions / "0014_versions_in_order.sql"]
    last_blocks = ["do $$" + file.read_text().rpartition("do $$")[2] for file in files]
    with owner_database.transaction() as tx:
        fresh = tx.all(statement(_SHAPE, names))
        for found in catalog:
            tx.run(statement(f"drop table {history_table.history_table(found)}"))
            tx.run(statement(f"drop index {found.schema}.o_{found.id}"))
            for trigger in ("keep_updated", "keep_deleted", "stamp"):
                tx.run(statement(f"drop trigger {trigger} on {qualified(found)}"))
        for block in last_blocks:
            tx.run(spelled(block))
        assert tx.all(statement(_SHAPE, names)) == fresh
    assert len(fresh) > 15

"""Look-ups by a unique decimal: the same records as without, by an index, and of one's own tenant alone."""

import json
from decimal import Decimal
from typing import Any

import pytest

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.parameters import parse_query
from hubblewave_pipelines.core.query import Query
from hubblewave_pipelines.storage.compiler import select_page
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.lookups import looked_up
from hubblewave_pipelines.storage.tenants import Tenant

PART = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "number", "type": "decimal", "unique": True},
        {"name": "price", "type": "decimal"},
    ],
}


@pytest.fixture
def catalogs(owner_database: Database, tenant: Tenant, other_tenant: Tenant) -> list[Catalog]:
    """The same 3,000 parts of two tenants."""
    found = []
    for one in (tenant, other_tenant):
        catalog = define(owner_database, one, PART)
        entity = part(catalog)
        number, price = (field.column for field in entity.fields)
        table = f"{entity.schema}.{entity.table}"
        insert = f"insert into {table} ({number}, {price}) select n * 0.5, n from generate_series(1, 3000) n"
        with owner_database.transaction(one.id) as tx:
            tx.run(statement(insert))
        with owner_database.transaction(one.id) as tx:
            tx.run(statement(f"analyze {table}"))
        found.append(catalog)
    return found


def part(catalog: Catalog) -> Entity:
    found = catalog.named("Part")
    assert found is not None
    return found


def asked(catalog: Catalog, **given: str) -> Query:
    return parse_query(part(catalog), list(given.items()), secret=b"test", catalog=catalog)


def numbers(database: Database, tenant: Tenant, query: Query) -> list[Decimal]:
    with database.transaction(tenant.id) as tx:
        page = tx.one(select_page(query))
    assert page is not None
    return sorted(Decimal(item["number"]) for item in json.loads(page.items))


def test_an_index_serves_them_and_they_find_what_is_there(
    app_database: Database, tenant: Tenant, catalogs: list[Catalog]
) -> None:
    catalog = catalogs[0]
    for given, wanted in (
        ({"filter[number]": "12.500"}, ["12.5"]),
        ({"filter[number]": "12.7"}, []),
        ({"filter[number][in]": "1,2.0,9999"}, ["1", "2"]),
        ({"filter[number]": "12.5", "filter[price]": "25"}, ["12.5"]),
        ({"filter[number]": "12.5", "filter[price]": "26"}, []),
    ):
        query = asked(catalog, **given)
        assert len(looked_up(query.entity, query.filter)) == 1
        assert numbers(app_database, tenant, query) == [Decimal(text) for text in wanted]
    select = select_page(asked(catalog, **{"filter[number]": "12.5"}))
    explain = statement(f"explain {select.text}", select.params, lambda row: str(row[0]))
    with app_database.transaction(tenant.id) as tx:
        plan = "\n".join(tx.all(explain))
    assert "Index Cond" in plan, plan
    assert "Seq Scan" not in plan, plan


def test_nothing_is_looked_up_that_is_not_unique_or_not_there(catalogs: list[Catalog]) -> None:
    catalog = catalogs[0]
    tree = json.dumps({"or": [{"number": {"eq": "1"}}, {"price": {"eq": "1"}}]})
    for given in (
        {"filter[price]": "1"},
        {"filter[number][gt]": "1"},
        {"filter[number][ne]": "1"},
        {"where": tree},
    ):
        query = asked(catalog, **given)
        assert looked_up(query.entity, query.filter) == []


def test_another_tenants_table_has_nothing_to_be_found(
    app_database: Database, tenant: Tenant, other_tenant: Tenant, catalogs: list[Catalog]
) -> None:
    mine, theirs = (asked(catalog, **{"filter[number]": "12.5"}) for catalog in catalogs)
    assert numbers(app_database, tenant, theirs) == []
    assert numbers(app_database, other_tenant, mine) == []

    def ids(entity: Entity) -> Any:
        table, column = f"{entity.schema}.{entity.table}", entity.fields[0].column
        look = "select count(*) from hubblewave.ids_by_decimal(%s::text::regclass, %s, array[12.5])"
        return statement(look, [table, column], lambda row: row[0])

    with app_database.transaction(tenant.id) as tx:
        assert tx.one(ids(part(catalogs[0]))) == 1
        assert tx.one(ids(part(catalogs[1]))) == 0
    with app_database.transaction() as tx:  # nobody's connection
        assert tx.one(ids(part(catalogs[0]))) == 0

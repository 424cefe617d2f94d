"""The catalog of a tenant: read in one snapshot, kept by version, loaded once for many."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

import pytest

from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage.catalog import CatalogCache, load_catalog
from hubblewave_pipelines.storage.database import (
    AsyncDatabase,
    AsyncTransaction,
    Database,
    Role,
    Statement,
)
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Principal, Tenant

T = TypeVar("T")


def body(name: str) -> dict[str, Any]:
    return {"name": name, "pluralName": f"{name}s", "fields": [{"name": "a", "type": "text"}]}


def principal(tenant: Tenant, version: int) -> Principal:
    return Principal(
        tenant.id, tenant.slug, UUID(int=7), frozenset({"read"}), "free", tenant.schema, version
    )


def in_app(url: str, work: Callable[[AsyncDatabase], Awaitable[T]]) -> T:
    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncDatabase]:
        database = AsyncDatabase(url, Role.APP)
        await database.open()
        try:
            yield database
        finally:
            await database.close()

    async def main() -> T:
        async with opened() as database:
            return await work(database)

    return asyncio.run(main())


class Counting(AsyncTransaction):
    """Counts the queries that pass through, and holds each until told to go on."""

    def __init__(self, inner: AsyncTransaction, gate: asyncio.Event) -> None:
        super().__init__(inner.connection)
        self.gate, self.queries = gate, 0

    async def all(self, query: Statement[T]) -> list[T]:
        self.queries += 1
        await self.gate.wait()
        return await super().all(query)


def test_pipelines_read_the_present_catalog(
    owner_database: Database, worker_database: Database, tenant: Tenant
) -> None:
    with worker_database.transaction() as tx:
        empty = load_catalog(tx, tenant.id)
    defined = define(owner_database, tenant, body("Contact"))
    with worker_database.transaction() as tx:
        found = load_catalog(tx, tenant.id)
        with pytest.raises(NotFound):
            load_catalog(tx, UUID(int=9))
    assert (list(empty), empty.version) == ([], 1)
    assert (found, found.version) == (defined, 2)


def test_another_tenants_catalog_cannot_be_read(
    owner_database: Database, app_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    define(owner_database, tenant, body("Contact"))
    with app_database.transaction(other_tenant.id) as tx, pytest.raises(NotFound):
        load_catalog(tx, tenant.id)


def test_a_catalog_is_kept_and_a_new_version_is_read(
    owner_database: Database, database_url: str, tenant: Tenant
) -> None:
    cache = CatalogCache()

    async def work(database: AsyncDatabase) -> None:
        first = define(owner_database, tenant, body("Contact"))
        async with database.transaction(tenant.id) as tx:
            kept = await cache.get(tx, principal(tenant, first.version))
            assert kept == first
            assert await cache.get(tx, principal(tenant, first.version)) is kept
        second = define(owner_database, tenant, body("Company"))
        async with database.transaction(tenant.id) as tx:
            assert await cache.get(tx, principal(tenant, second.version)) == second
            # A request that began before the change still finds what it began with.
            assert await cache.get(tx, principal(tenant, first.version)) is kept

    in_app(database_url, work)


def test_a_version_that_is_gone_gives_the_newer_one_under_its_own_number(
    owner_database: Database, database_url: str, tenant: Tenant
) -> None:
    """The definitions changed between the credential and the load."""
    cache = CatalogCache()
    catalog = define(owner_database, tenant, body("Contact"))

    async def work(database: AsyncDatabase) -> None:
        async with database.transaction(tenant.id) as tx:
            found = await cache.get(tx, principal(tenant, catalog.version - 1))
            assert found == catalog
            assert await cache.get(tx, principal(tenant, catalog.version)) is found

    in_app(database_url, work)


def test_many_requests_that_miss_at_once_cost_one_load(
    owner_database: Database, database_url: str, tenant: Tenant
) -> None:
    cache = CatalogCache()
    catalog = define(owner_database, tenant, body("Contact"))

    async def work(database: AsyncDatabase) -> None:
        gate = asyncio.Event()
        async with database.transaction(tenant.id) as tx:
            counting = Counting(tx, gate)
            who = principal(tenant, catalog.version)
            waiting = [asyncio.create_task(cache.get(counting, who)) for _ in range(20)]
            await asyncio.sleep(0)
            gate.set()
            found = await asyncio.gather(*waiting)
            assert all(each is found[0] for each in found)
            assert counting.queries == 1

    in_app(database_url, work)


def test_a_loader_that_goes_away_leaves_the_load_to_the_next(
    owner_database: Database, database_url: str, tenant: Tenant
) -> None:
    cache = CatalogCache()
    catalog = define(owner_database, tenant, body("Contact"))

    async def work(database: AsyncDatabase) -> None:
        never = asyncio.Event()
        who = principal(tenant, catalog.version)
        async with database.transaction(tenant.id) as tx:
            leader = asyncio.create_task(cache.get(Counting(tx, never), who))
            await asyncio.sleep(0)
            follower = asyncio.create_task(cache.get(tx, who))
            await asyncio.sleep(0)
            leader.cancel()
            assert await follower == catalog

    in_app(database_url, work)


def test_the_cache_keeps_a_bounded_number_of_catalogs(
    owner_database: Database, database_url: str, tenant: Tenant, other_tenant: Tenant
) -> None:
    cache = CatalogCache(size=1)

    async def work(database: AsyncDatabase) -> None:
        for each in (tenant, other_tenant, tenant):
            async with database.transaction(each.id) as tx:
                found = await cache.get(tx, principal(each, 1))
            assert found.tenant_id == each.id
            assert len(cache) == 1

    in_app(database_url, work)


def test_a_change_of_one_entity_leaves_the_others_as_they_were_read(
    owner_database: Database, database_url: str, tenant: Tenant
) -> None:
    cache = CatalogCache(entities=3)

    async def work(database: AsyncDatabase) -> None:
        first = define(owner_database, tenant, body("Contact"))
        async with database.transaction(tenant.id) as tx:
            kept = await cache.get(tx, principal(tenant, first.version))
        second = define(owner_database, tenant, body("Company"))
        async with database.transaction(tenant.id) as tx:
            found = await cache.get(tx, principal(tenant, second.version))
        assert found == second
        assert found.named("Contact") is kept.named("Contact")
        assert len(cache) == 2
        third = define(owner_database, tenant, body("Invoice"))
        async with database.transaction(tenant.id) as tx:
            last = await cache.get(tx, principal(tenant, third.version))
        assert last.named("Company") is found.named("Company")
        assert len(cache) == 1  # there is room for three entities

    in_app(database_url, work)


def test_a_catalog_cannot_be_changed(owner_database: Database, tenant: Tenant) -> None:
    catalog = define(owner_database, tenant, body("Contact"))
    (entity,) = catalog
    with pytest.raises(AttributeError):
        entity.name = "Other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        catalog.version = 9  # type: ignore[misc]
    assert replace(catalog) == catalog

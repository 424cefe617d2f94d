"""The definitions of a tenant as a frozen `Catalog`, read once per (tenant, version) and process."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select

from hubblewave_pipelines.core.definition import from_stored
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage.database import (
    AsyncTransaction,
    Statement,
    Transaction,
    compiled,
)
from hubblewave_pipelines.storage.tables import entities, tenants
from hubblewave_pipelines.storage.tenants import Principal

CatalogRow = tuple[int, str, dict[str, Any] | None]


def load_catalog_rows(tenant_id: UUID) -> Statement[CatalogRow]:
    """(version, schema, definition) per entity, in one snapshot: the version is that of the rows.

    A tenant without entities gives one row without definition; an unknown tenant gives none.
    """
    query = (
        select(tenants.c.catalog_version, tenants.c.schema_name, entities.c.definition)
        .select_from(tenants.outerjoin(entities, entities.c.tenant_id == tenants.c.id))
        .where(tenants.c.id == tenant_id)
        .order_by(entities.c.slug)
    )
    return compiled(query, lambda row: (row[0], row[1], row[2]))


def catalog_from(tenant_id: UUID, version: int, schema: str, rows: Sequence[CatalogRow]) -> Catalog:
    """The catalog that rows of `load_catalog_rows` hold."""
    definitions = [definition for _, _, definition in rows if definition is not None]
    return Catalog(tenant_id, version, tuple(from_stored(d, schema) for d in definitions))


def _catalog(tenant_id: UUID, rows: Sequence[CatalogRow]) -> Catalog:
    if not rows:
        raise NotFound(f"There is no tenant {tenant_id}.")
    version, schema, _ = rows[0]
    return catalog_from(tenant_id, version, schema, rows)


def load_definitions(tx: Transaction, tenant_id: UUID) -> tuple[Catalog, str]:
    """The present catalog of a tenant, and its schema. Raises NotFound: there is no tenant."""
    rows = tx.all(load_catalog_rows(tenant_id))
    return _catalog(tenant_id, rows), rows[0][1]


def load_catalog(tx: Transaction, tenant_id: UUID) -> Catalog:
    """The present catalog of a tenant, for pipelines. Raises NotFound when there is no tenant."""
    return load_definitions(tx, tenant_id)[0]


class CatalogCache:
    """The catalogs this process used last. Nothing is ever stale: the version is in the key, and
    every request reads the version with its credential."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[UUID, int], Catalog] = OrderedDict()
        self._loading: dict[tuple[UUID, int], asyncio.Future[Catalog]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, tx: AsyncTransaction, principal: Principal) -> Catalog:
        """The catalog of the principal's version, or a newer one that was committed since.

        Many requests that miss at once cost one load.
        """
        key = (principal.tenant_id, principal.catalog_version)
        while True:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
            loading = self._loading.get(key)
            if loading is None:
                return await self._load(tx, key)
            await asyncio.wait([loading])
            if not loading.cancelled() and loading.exception() is None:
                return loading.result()
            # The loader's own connection failed or its client went away: this one tries itself.

    async def _load(self, tx: AsyncTransaction, key: tuple[UUID, int]) -> Catalog:
        loading: asyncio.Future[Catalog] = asyncio.get_running_loop().create_future()
        self._loading[key] = loading
        try:
            catalog = _catalog(key[0], await tx.all(load_catalog_rows(key[0])))
        except BaseException:
            loading.cancel()
            raise
        finally:
            del self._loading[key]
        loading.set_result(catalog)
        self._kept[(catalog.tenant_id, catalog.version)] = catalog
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return catalog

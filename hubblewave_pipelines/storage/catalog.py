"""The definitions of a tenant as a frozen `Catalog`, read once per (tenant, version) and process."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Text, cast, select

from hubblewave_pipelines.core.definition import from_stored
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage.database import (
    AsyncTransaction,
    Statement,
    Transaction,
    compiled,
)
from hubblewave_pipelines.storage.tables import entities, tenants
from hubblewave_pipelines.storage.tenants import Principal

CatalogRow = tuple[int, str, str | None]
MOST_ENTITIES = 20_000  # in the catalogs kept: some 100 MB


def load_catalog_rows(tenant_id: UUID) -> Statement[CatalogRow]:
    """(version, schema, definition as JSON) per entity, in one snapshot: the version is that of
    the rows.

    A tenant without entities gives one row without definition; an unknown tenant gives none.
    """
    query = (
        select(tenants.c.catalog_version, tenants.c.schema_name, cast(entities.c.definition, Text))
        .select_from(tenants.outerjoin(entities, entities.c.tenant_id == tenants.c.id))
        .where(tenants.c.id == tenant_id)
        .order_by(entities.c.slug)
    )
    return compiled(query, lambda row: (row[0], row[1], row[2]))


def read_entities(
    rows: Sequence[CatalogRow], known: Mapping[str, Entity] | None = None
) -> dict[str, Entity]:
    """The entities of these rows by their definition; those `known` are taken from there, so that
    a change of one entity costs the reading of one."""
    found = known or {}
    return {
        definition: found.get(definition) or from_stored(json.loads(definition), schema)
        for _, schema, definition in rows
        if definition is not None
    }


def catalog_from(tenant_id: UUID, version: int, schema: str, rows: Sequence[CatalogRow]) -> Catalog:
    """The catalog that rows of `load_catalog_rows` hold."""
    return Catalog(tenant_id, version, tuple(read_entities(rows).values()))


def _catalog(
    tenant_id: UUID, rows: Sequence[CatalogRow], known: Mapping[str, Entity] | None = None
) -> tuple[Catalog, dict[str, Entity]]:
    if not rows:
        raise NotFound(f"There is no tenant {tenant_id}.")
    read = read_entities(rows, known)
    return Catalog(tenant_id, rows[0][0], tuple(read.values())), read


def load_definitions(tx: Transaction, tenant_id: UUID) -> tuple[Catalog, str]:
    """The present catalog of a tenant, and its schema. Raises NotFound: there is no tenant."""
    rows = tx.all(load_catalog_rows(tenant_id))
    return _catalog(tenant_id, rows)[0], rows[0][1]


def load_catalog(tx: Transaction, tenant_id: UUID) -> Catalog:
    """The present catalog of a tenant, for pipelines. Raises NotFound when there is no tenant."""
    return load_definitions(tx, tenant_id)[0]


class CatalogCache:
    """The catalogs this process used last, at most `size` with MOST_ENTITIES between them.

    Nothing is ever stale: the version is in the key, and every request reads the version with its
    credential. Versions of one tenant share the entities that did not change between them.
    """

    def __init__(self, size: int = 256, entities: int = MOST_ENTITIES) -> None:
        self._size = size
        self._most = entities
        self._held = 0  # entities in the catalogs kept
        self._read: dict[UUID, dict[str, Entity]] = {}  # by definition, of the newest version kept
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
            rows = await tx.all(load_catalog_rows(key[0]))
            catalog, read = _catalog(key[0], rows, self._read.get(key[0]))
        except BaseException:
            loading.cancel()
            raise
        finally:
            del self._loading[key]
        loading.set_result(catalog)
        self._keep(catalog, read)
        return catalog

    def _keep(self, catalog: Catalog, read: dict[str, Entity]) -> None:
        key = (catalog.tenant_id, catalog.version)
        if key not in self._kept:
            self._held += len(catalog.entities)
        self._kept[key] = catalog
        self._kept.move_to_end(key)
        self._read[catalog.tenant_id] = read
        while len(self._kept) > self._size or (self._held > self._most and len(self._kept) > 1):
            (tenant_id, _), gone = self._kept.popitem(last=False)
            self._held -= len(gone.entities)
            if all(kept != tenant_id for kept, _ in self._kept):
                del self._read[tenant_id]

"""GET /{plural}/{id}/{relation}: the records that one record is related to."""

from typing import Any
from uuid import UUID

from starlette.responses import Response

from api.calls import Call
from api.lists import cursor_secret, list_parameters, page_answer, record_answer
from api.reads import Read
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.core.hops import Hop, hop_of
from hubblewave_pipelines.core.parameters import parse_query, parse_selection
from hubblewave_pipelines.core.query import LinkedFrom, Page
from hubblewave_pipelines.storage.compiler import select_page, select_record
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.records import version_of
from hubblewave_pipelines.storage.tenants import Principal


def related_records(call: Call, principal: Principal, catalog: Catalog) -> Read[Any]:
    """A page of them, or the one that a manyToOne refers to.

    Raises NotFound when there is no such record or relation.
    """
    entity = call.entity(catalog)
    hop = hop_of(entity, call.rest[1], catalog)
    if hop is None:
        raise NotFound(f"There is nothing at {call.request.url.path}.")
    record_id = call.record_id(entity)
    if hop.many:
        return _page(call, entity, hop, record_id, principal, catalog)
    return _one(call, entity, hop, record_id, catalog)


async def _require(tx: AsyncTransaction, entity: Entity, record_id: UUID) -> None:
    if await tx.one(version_of(entity, record_id)) is None:
        raise NotFound(f"There is no {entity.name} {record_id}.")


def _page(
    call: Call, entity: Entity, hop: Hop, record_id: UUID, principal: Principal, catalog: Catalog
) -> Read[Page]:
    secret, within = cursor_secret(call.request, principal), LinkedFrom(entity, hop, record_id)
    given = list_parameters(call.request)
    query = parse_query(hop.target, given, secret=secret, catalog=catalog, within=within)

    async def answer(page: Page | None, tx: AsyncTransaction | None) -> Response | None:
        if page is not None and page.shown == 0:
            # Whoever refers to something exists; an empty page may be that of nobody.
            if tx is None:
                return None
            await _require(tx, entity, record_id)
        return await page_answer(query, page, tx, secret, call.request)

    return Read(hop.target, select_page(query), answer)


def _one(
    call: Call, entity: Entity, hop: Hop, record_id: UUID, catalog: Catalog
) -> Read[tuple[int, str]]:
    given = call.request.query_params.multi_items()
    selection = parse_selection(hop.target, given, catalog=catalog)

    async def answer(found: tuple[int, str] | None, tx: AsyncTransaction | None) -> Response | None:
        if found is not None:
            return record_answer(call, selection, *found)
        if tx is None:
            return None
        await _require(tx, entity, record_id)
        raise NotFound(f"{entity.name} {record_id} has no {hop.name}.")

    linked = LinkedFrom(entity, hop, record_id)
    return Read(hop.target, select_record(hop.target, selection, linked), answer)

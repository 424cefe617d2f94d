"""Reading records: lists by address or by body, one record, and what they say of themselves."""

from dataclasses import replace

import msgspec
from starlette.responses import Response

from api.body import JSON
from api.calls import Call
from api.conditions import etag, is_known
from api.reads import Read
from hubblewave_pipelines.core.cursor import page_info
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.core.parameters import (
    parse_query,
    parse_query_body,
    parse_selection,
    refuse_parameters,
)
from hubblewave_pipelines.core.query import ID, Comparison, Operator, Page, Query, Selection
from hubblewave_pipelines.storage.compiler import (
    needs_estimate,
    select_estimate,
    select_page,
    select_record,
)
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.tenants import Principal


def cursor_secret(principal: Principal) -> bytes:
    """What seals the tenant's cursors: the same in every process, and never shown to anybody."""
    return f"{principal.tenant_id} {principal.schema}".encode()


async def page_answer(
    query: Query, page: Page | None, tx: AsyncTransaction | None, secret: bytes
) -> Response | None:
    """A page as an answer; None when it takes a transaction to finish it and there is none."""
    if page is None:
        raise AssertionError("an aggregate always answers one row")
    if needs_estimate(query, page):
        if tx is None:
            return None
        estimate = await tx.one(select_estimate(query))
        page = replace(page, total=estimate)
    info = msgspec.json.encode(page_info(query, page, secret)).decode()
    return Response(f'{{"items":{page.items},"pageInfo":{info}}}', 200, None, JSON)


def record_answer(call: Call, selection: Selection, version: int, text: str) -> Response:
    """One record as an answer. With related records in it, the record's version says nothing of
    the whole, so there is no ETag and nothing to compare with If-None-Match."""
    if selection.related:
        return Response(text, 200, None, JSON)
    if is_known(call.request.headers, version):
        return Response(status_code=304, headers={"ETag": etag(version)})
    return Response(text, 200, {"ETag": etag(version)}, JSON)


def _page(query: Query, secret: bytes) -> Read[Page]:
    async def answer(page: Page | None, tx: AsyncTransaction | None) -> Response | None:
        return await page_answer(query, page, tx, secret)

    return Read(query.entity, select_page(query), answer)


def listing(call: Call, principal: Principal, catalog: Catalog) -> Read[Page]:
    """GET /{plural}."""
    entity, secret = call.entity(catalog), cursor_secret(principal)
    given = call.request.query_params.multi_items()
    return _page(parse_query(entity, given, secret=secret, catalog=catalog), secret)


def querying(call: Call, principal: Principal, catalog: Catalog) -> Read[Page]:
    """POST /{plural}/query: a list whose parameters are too long for an address."""
    entity, secret = call.entity(catalog), cursor_secret(principal)
    refuse_parameters(call.request.query_params.multi_items())
    return _page(parse_query_body(entity, call.body, secret=secret, catalog=catalog), secret)


def reading(call: Call, principal: Principal, catalog: Catalog) -> Read[tuple[int, str]]:
    """GET /{plural}/{id}."""
    entity = call.entity(catalog)
    given = call.request.query_params.multi_items()
    selection = parse_selection(entity, given, catalog=catalog)
    record_id = call.record_id(entity)

    async def answer(found: tuple[int, str] | None, tx: AsyncTransaction | None) -> Response | None:
        if found is None:
            raise NotFound(f"There is no {entity.name} {record_id}.")
        return record_answer(call, selection, *found)

    this = Comparison(ID, Operator.EQ, record_id)
    return Read(entity, select_record(entity, selection, this), answer)

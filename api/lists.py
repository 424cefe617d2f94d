"""Reading records: lists by address or by body, one record, and what they say of themselves."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api.body import JSON
from api.calls import Call
from api.conditions import etag, is_known
from api.context import platform
from api.preferences import preferred_count
from api.reads import Read
from hubblewave_pipelines.core.cursor import page_info
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import Expired, Fault, MalformedRequest, NotFound
from hubblewave_pipelines.core.parameters import (
    DEEPEST_ROW,
    parse_query,
    parse_query_body,
    parse_record,
    refuse_parameters,
)
from hubblewave_pipelines.core.query import ID, Comparison, Operator, Page, Query, Selection, View
from hubblewave_pipelines.storage.compiler import (
    needs_estimate,
    select_estimate,
    select_page,
    select_record,
)
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.history_retention import kept_since
from hubblewave_pipelines.storage.tenants import Principal


def cursor_secret(request: Request, principal: Principal) -> bytes:
    """What seals the tenant's cursors: the same in every API process of an installation."""
    return platform(request).secrets.cursor_secret(principal.tenant_id)


def _links(request: Request, query: Query, info: dict[str, Any]) -> dict[str, str]:
    """Link (RFC 8288): the pages beside this one, numbered where this one was."""
    given = request.query_params.multi_items()
    kept = [(name, value) for name, value in given if name not in ("page", "after", "before")]
    numbered = len(kept) < len(given) and query.position is None
    found = []
    for rel, there, step, name, cursor in (
        ("next", info["hasNextPage"], 1, "after", info["endCursor"]),
        ("prev", info["hasPreviousPage"], -1, "before", info["startCursor"]),
    ):
        page = query.page + step
        if not there:
            continue
        if numbered and page * query.page_size <= DEEPEST_ROW:
            place = ("page", str(page))
        elif cursor is not None:
            place = (name, cursor)
        else:
            continue
        address = f"{request.scope['path']}?{urlencode([*kept, place])}"
        found.append(f'<{address}>; rel="{rel}"')
    return {"Link": ", ".join(found)} if found else {}


async def page_answer(
    query: Query,
    page: Page | None,
    tx: AsyncTransaction | None,
    secret: bytes,
    request: Request | None = None,
) -> Response | None:
    """A page as an answer, with links to those beside it when it came from the address of
    `request`; None when it takes a transaction to finish it and there is none.
    """
    if page is None:
        raise AssertionError("an aggregate always answers one row")
    if needs_estimate(query, page):
        if tx is None:
            return None
        estimate = await tx.one(select_estimate(query))
        page = replace(page, total=estimate)
    info = page_info(query, page, secret)
    headers = {} if request is None else _links(request, query, info)
    if request is not None and preferred_count(request.headers) == query.count:
        headers["Preference-Applied"] = f"count={query.count}"
    text = msgspec.json.encode(info).decode()
    return Response(f'{{"items":{page.items},"pageInfo":{text}}}', 200, headers, JSON)


async def _is_kept(view: View, entity: Entity, tx: AsyncTransaction | None) -> bool:
    """False when it takes a transaction to tell. Raises Expired when what was there is gone."""
    if view.as_of is None:
        return True
    if tx is None:
        return False
    since = await tx.one(kept_since(entity))
    if since is not None and view.as_of < since:
        raise Expired(f"Earlier versions are kept from {since.isoformat()} on.")
    return True


def _require_past(view: View) -> None:
    """Raises MalformedRequest for an instant that is still to come: its records are not known."""
    if view.as_of is not None and view.as_of > datetime.now(UTC):
        detail = "is in the future"
        raise MalformedRequest(f"asOf {detail}.", faults=[Fault("range", detail, parameter="asOf")])


def list_parameters(request: Request) -> list[tuple[str, str]]:
    """The parameters of a list, `Prefer: count=` among them where the address does not count."""
    given = request.query_params.multi_items()
    count = preferred_count(request.headers)
    if count is not None and "count" not in request.query_params:
        given.append(("count", count))
    return given


def record_answer(call: Call, selection: Selection, version: int, text: str) -> Response:
    """One record as an answer. With related records in it, the record's version says nothing of
    the whole, so there is no ETag and nothing to compare with If-None-Match."""
    if selection.related:
        return Response(text, 200, None, JSON)
    if is_known(call.request.headers, version):
        return Response(status_code=304, headers={"ETag": etag(version)})
    return Response(text, 200, {"ETag": etag(version)}, JSON)


def _page(query: Query, secret: bytes, request: Request | None = None) -> Read[Page]:
    _require_past(query.view)

    async def answer(page: Page | None, tx: AsyncTransaction | None) -> Response | None:
        if not await _is_kept(query.view, query.entity, tx):
            return None
        return await page_answer(query, page, tx, secret, request)

    return Read(query.entity, select_page(query), answer, whole=query.view.as_of is None)


def listing(call: Call, principal: Principal, catalog: Catalog) -> Read[Page]:
    """GET /{plural}."""
    entity, secret = call.entity(catalog), cursor_secret(call.request, principal)
    given = list_parameters(call.request)
    query = parse_query(entity, given, secret=secret, catalog=catalog)
    return _page(query, secret, call.request)


def querying(call: Call, principal: Principal, catalog: Catalog) -> Read[Page]:
    """POST /{plural}/query: a list whose parameters are too long for an address."""
    entity, secret = call.entity(catalog), cursor_secret(call.request, principal)
    refuse_parameters(call.request.query_params.multi_items())
    return _page(parse_query_body(entity, call.body, secret=secret, catalog=catalog), secret)


def reading(call: Call, principal: Principal, catalog: Catalog) -> Read[tuple[int, str]]:
    """GET /{plural}/{id}."""
    entity = call.entity(catalog)
    given = call.request.query_params.multi_items()
    selection, view = parse_record(entity, given, catalog=catalog)
    _require_past(view)
    record_id = call.record_id(entity)

    async def answer(found: tuple[int, str] | None, tx: AsyncTransaction | None) -> Response | None:
        if not await _is_kept(view, entity, tx):
            return None
        if found is None:
            raise NotFound(f"There is no {entity.name} {record_id}.")
        return record_answer(call, selection, *found)

    this = Comparison(ID, Operator.EQ, record_id)
    select = select_record(entity, selection, this, view)
    return Read(entity, select, answer, whole=view.as_of is None)

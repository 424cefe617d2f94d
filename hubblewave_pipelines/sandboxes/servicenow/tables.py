"""The Table API and the Aggregate API: what one request asks of a table, and what it is answered."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.faults import FaultKind
from hubblewave_pipelines.sandboxes.servicenow import schema
from hubblewave_pipelines.sandboxes.servicenow.encoded_query import Query, collated, parse
from hubblewave_pipelines.sandboxes.servicenow.refusing import NO_RECORD, Refused, failure
from hubblewave_pipelines.sandboxes.servicenow.signing import signed_in, unauthenticated
from hubblewave_pipelines.sandboxes.vendor import befallen

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.servicenow.instance import ServiceNow

Row = Mapping[str, str]
DEFAULT_LIMIT = 10_000
WRONG_ZONE = timedelta(hours=10)
CANCELLED = failure(
    "Transaction cancelled: maximum execution time exceeded",
    "Transaction cancelled: maximum execution time exceeded. Check logs for error trace or enable "
    "glide.rest.debug property to verify REST request processing",
)
AUDITS = ("sys_audit_delete", "sys_audit")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, alone or as an item of a batch."""

    method: str
    version: str
    table: str
    sys_id: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    befell: Callable[..., Any] = lambda *_: None

    def on(self, name: str) -> bool:
        return self.params.get(name, "").lower() == "true"

    def whole(self, name: str, default: int) -> int:
        try:
            return int(self.params.get(name, default))
        except ValueError:
            return default


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def routes(instance: "ServiceNow") -> list[BaseRoute]:
    async def table(request: Request) -> Response:
        return await _answered(instance, request, answer)

    async def stats(request: Request) -> Response:
        return await _answered(instance, request, aggregate)

    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    found: list[BaseRoute] = []
    for base in ("/api/now", "/api/now/{version:str}"):
        found += [
            Route(f"{base}/table/{{table}}", table, methods=every),
            Route(f"{base}/table/{{table}}/{{sys_id}}", table, methods=every),
            Route(f"{base}/stats/{{table}}", stats, methods=["GET"]),
        ]
    return found


async def _answered(
    instance: "ServiceNow", request: Request, act: Callable[["ServiceNow", Asked], Told]
) -> Response:
    if not signed_in(instance, request.headers):
        return unauthenticated()
    path = request.path_params
    asked = Asked(
        request.method,
        path.get("version", ""),
        path["table"],
        path.get("sys_id", ""),
        dict(request.query_params),
        await request.body(),
        lambda *kinds: befallen(request, *kinds),
    )
    told = act(instance, asked)
    headers = dict(told.headers)
    if "Link" in headers:
        base = str(request.url.replace(query=""))
        headers["Link"] = headers["Link"].replace("<?", f"<{base}?")
    if told.body is None:
        return Response(status_code=told.status, headers=headers)
    return JSONResponse(told.body, told.status, headers)


def answer(instance: "ServiceNow", asked: Asked) -> Told:
    """Raises Refused."""
    _allowed(instance, asked.table)
    with instance.stage.lock:
        match asked.method, bool(asked.sys_id):
            case "GET", False:
                return _listed(instance, asked)
            case "GET", True:
                return Told(200, {"result": shown(instance, asked, _one(instance, asked))})
            case "POST", False:
                number = instance.create(asked.table, _values(asked), instance.clock.now())
                row = instance.stage.tables[asked.table].rows[number]
                return Told(201, {"result": shown(instance, asked, row)})
            case (("PUT" | "PATCH"), True):
                _one(instance, asked)
                instance.edit(asked.table, asked.sys_id, _values(asked), instance.clock.now())
                return Told(200, {"result": shown(instance, asked, _one(instance, asked))})
            case "DELETE", True:
                _one(instance, asked)
                instance.delete(asked.table, asked.sys_id, instance.clock.now())
                return Told(204)
            case _:
                raise Refused(405, "Method not supported")


def _allowed(instance: "ServiceNow", table: str) -> None:
    if table not in schema.TABLES:
        raise Refused(400, f"Invalid table {table}")
    if table in AUDITS and instance.no_audit:
        raise Refused(403, "User Not Authorized", "Failed API level ACL Validation")


def _listed(instance: "ServiceNow", asked: Asked) -> Told:
    found = matching(instance, asked)
    limit = max(0, asked.whole("sysparm_limit", DEFAULT_LIMIT))
    offset = max(0, asked.whole("sysparm_offset", 0))
    page = [row for row in found[offset : offset + limit] if row["sys_id"] not in instance.hidden]
    if asked.befell(FaultKind.SHORT_PAGE):
        page = page[: max(1, len(page) // 2)]
    if asked.befell(FaultKind.DUPLICATE_ROW):
        page = [*_before(instance, asked, page), *page]
    if not found and asked.version == "v1":
        raise Refused(404, "No Record found", "Records matching query not found")
    result: list[Any] = [shown(instance, asked, row) for row in page]
    if asked.befell(FaultKind.ROWS_AND_ERROR):
        part = [*result[: len(result) // 2], '{"sys_id":"']
        return Told(200, {"result": part, **CANCELLED})
    headers = {}
    if not asked.on("sysparm_no_count") and not instance.no_total:
        headers["X-Total-Count"] = str(len(found))
    if not asked.on("sysparm_suppress_pagination_header") and offset + limit < len(found):
        following = {**asked.params, "sysparm_offset": str(offset + limit)}
        headers["Link"] = f'<?{urlencode(following)}>;rel="next"'
    return Told(200, {"result": result}, headers)


def matching(instance: "ServiceNow", asked: Asked) -> list[Row]:
    """What the query finds, in its order, before any ACL."""
    shift = WRONG_ZONE if asked.befell(FaultKind.WRONG_ZONE) else timedelta(0)
    query = parse(
        asked.params.get("sysparm_query", ""),
        lambda name: _kind(asked.table, name),
        lambda row, name: read(instance, asked.table, row, name),
        shift,
    )
    if query.ignored and instance.no_rows:
        return []
    rows = [row for row in _rows(instance, asked.table, query) if query.matches(row)]
    for name, descending in reversed(query.order or (("sys_created_on", False),)):
        if name == "sys_id" and not descending and len(query.order) == 1:
            continue  # they are in that order
        rows.sort(key=lambda row: _sorting(asked.table, name, row), reverse=descending)
    return rows


def _rows(instance: "ServiceNow", table: str, query: Query) -> Sequence[Row]:
    """Rows of the table and of those that extend it, by sys_id."""
    names = [n for n in schema.descendants(table) if instance.stage.tables[n].rows]
    held = [instance.stage.tables[name] for name in names]
    rows = [one.rows[key] for one in held for key in one.keys(query.after)]
    return rows if len(held) < 2 else sorted(rows, key=lambda row: collated(row["sys_id"]))


def _sorting(table: str, name: str, row: Row) -> Any:
    column = schema.columns(table).get(name)
    value = row.get(name, "")
    if column is not None and schema.kind(column) == "number":
        return float(value or 0)
    return collated(value)


def _kind(table: str, name: str) -> str | None:
    own, _, rest = name.partition(".")
    column = schema.columns(table).get(own)
    if column is None:
        return None
    if rest:
        return _kind(column.reference, rest) if column.reference in schema.TABLES else None
    return schema.kind(column)


def read(instance: "ServiceNow", table: str, row: Row, name: str) -> str:
    """A field of a row, or along its references one of another table's."""
    own, _, rest = name.partition(".")
    if not rest:
        return row.get(own, "")
    column = schema.columns(table)[own]
    other = instance.stage.tables.get(column.reference)
    found = None if other is None else other.rows.get(row.get(own, ""))
    return "" if found is None else read(instance, column.reference, found, rest)


def shown(instance: "ServiceNow", asked: Asked, row: Row) -> dict[str, Any]:
    """All values are text; references are objects with a link unless that was asked away."""
    known = schema.columns(asked.table)
    names = [name for name in asked.params.get("sysparm_fields", "").split(",") if name]
    display = asked.params.get("sysparm_display_value", "false").lower()
    found: dict[str, Any] = {}
    for name in names or known:
        if name not in known:
            if _kind(asked.table, name) is not None:
                found[name] = read(instance, asked.table, row, name)
            continue
        column, value = known[name], row.get(name, "")
        label = _display(instance, column, value)
        if display == "all":
            found[name] = {"display_value": label, "value": value}
        elif (
            column.kind == "reference" and value and not asked.on("sysparm_exclude_reference_link")
        ):
            link = f"https://sandbox/api/now/table/{column.reference}/{value}"
            found[name] = {"link": link, "value": value}
            if display == "true":
                found[name] = {"display_value": label, "link": link}
        else:
            found[name] = label if display == "true" else value
    return found


def _display(instance: "ServiceNow", column: schema.Column, value: str) -> str:
    if column.choices:
        return dict(column.choices).get(value, value)
    if column.kind == "reference" and column.reference in instance.stage.tables:
        row = instance.stage.tables[column.reference].rows.get(value)
        return value if row is None else row.get("name") or row.get("number") or value
    return value


def _one(instance: "ServiceNow", asked: Asked) -> Row:
    home = instance.home(asked.table, asked.sys_id)
    if home is None or asked.sys_id in instance.hidden:
        raise Refused(404, *NO_RECORD)
    row: Row = instance.stage.tables[home].rows[asked.sys_id]
    return row


def _before(instance: "ServiceNow", asked: Asked, page: Sequence[Row]) -> list[Row]:
    keys = instance.stage.tables[asked.table].keys(before=page[0]["sys_id"]) if page else []
    return [instance.stage.tables[asked.table].rows[keys[-1]]] if keys else []


def _values(asked: Asked) -> Mapping[str, Any]:
    """Of a list only the first is taken."""
    try:
        body = json.loads(asked.body)
    except ValueError as error:
        raise Refused(
            400, "Exception while reading request", "The payload is not valid JSON"
        ) from error
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, dict):
        raise Refused(400, "Exception while reading request", "The payload is not valid JSON")
    return first


def aggregate(instance: "ServiceNow", asked: Asked) -> Told:
    """`/stats`: counts before any ACL, minima and maxima. Raises Refused."""
    _allowed(instance, asked.table)
    with instance.stage.lock:
        rows = matching(instance, asked)
        stats: dict[str, Any] = {}
        if asked.on("sysparm_count"):
            stats["count"] = str(len(rows))
        for what, best in (("min", min), ("max", max)):
            names = [n for n in asked.params.get(f"sysparm_{what}_fields", "").split(",") if n]
            if names:
                stats[what] = {n: best((row.get(n, "") for row in rows), default="") for n in names}
        return Told(200, {"result": {"stats": stats}})

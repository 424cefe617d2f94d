"""A shop's customers and orders as plain JSON: one path per pagination style, changes by a closed window."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.sample import Sample
from hubblewave_pipelines.sandboxes.stage import Table
from hubblewave_pipelines.sandboxes.vendor import Options, Vendor, befallen

TOKEN = "sandbox-token"  # noqa: S105 - what the sandbox prints for everybody to use
STYLES = ("cursor", "link_header", "next_url", "page", "offset", "keyset")
TABLES = ("customers", "orders")
_SPAN = timedelta(days=365)
_USUAL, _MOST = 100, 1000


def stamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Shop(Vendor):
    """`/api/{table}/{style}` lists, `/api/{table}/items/{id}` is one record. `updated_from` (inclusive) and
    `updated_to` choose by `updatedAt`; pages hold `limit` records, 100 unless given, 1,000 at most."""

    name: ClassVar[str] = "http"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.sample = Sample(self.random)
        self._last = dict.fromkeys(TABLES, 0)
        for name in TABLES:
            table = self.stage.add(Table(name, "id"))
            rows = [self._row(name, {}, self._past()) for _ in range(options.records)]
            table.load({row["id"]: row for row in rows})

    def _past(self) -> datetime:
        return self.sample.instant(self.started, int(_SPAN.total_seconds()))

    def _row(self, table: str, values: Mapping[str, Any], at: datetime) -> dict[str, Any]:
        self._last[table] += 1
        number, name = self._last[table], f"{self.sample.first()} {self.sample.last()}"
        found: dict[str, Any] = {"id": f"{table[0]}{number:08d}", "name": name}
        if table == "orders":
            found |= {"total": str(self.sample.amount()), "paid": self.random.random() < 0.8}
        return {
            **found,
            "email": self.sample.maybe(self.sample.email(name)),
            "address": {"city": self.sample.city(), "country": self.sample.country()},
            "note": self.sample.maybe(self.sample.text(200), missing=0.3),
            **values,
            "updatedAt": stamp(at),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/api/{table}/items/{key}", self._item, name="item"),
            *(Route(f"/api/{{table}}/{style}", self._list, name=style) for style in STYLES),
        ]

    async def _item(self, request: Request) -> Response:
        if refused := self._stranger(request):
            return refused
        table = self.stage.tables.get(request.path_params["table"])
        row = table.rows.get(request.path_params["key"]) if table else None
        return JSONResponse(row) if row else JSONResponse({"error": "not found"}, 404)

    async def _list(self, request: Request) -> Response:
        if refused := self._stranger(request):
            return refused
        table, asked = self.stage.tables.get(request.path_params["table"]), request.query_params
        if table is None:
            return JSONResponse({"error": "no such table"}, 404)
        style = request.url.path.rpartition("/")[2]
        low, high = asked.get("updated_from", ""), asked.get("updated_to", "~")
        try:
            size = min(int(asked.get("limit", _USUAL)), _MOST)
            start = {
                "page": size * (int(asked.get("page", 1)) - 1),
                "offset": int(asked.get("offset", 0)),
            }
        except ValueError:
            return JSONResponse({"error": "limit, page and offset are numbers"}, 400)
        by_key = style not in start
        after = asked.get("after") or asked.get("cursor") if by_key else None
        with self.stage.lock:
            rows = [row for row in table.indexed() if low <= row["updatedAt"] < high]
        total = len(rows)
        rows = [row for row in rows if row["id"] > after] if after else rows
        at = start.get(style, 0)
        page, more = rows[at : at + size], len(rows) > at + size
        return self._answer(request, style, page, more, total)

    def _answer(
        self, request: Request, style: str, page: list[Any], more: bool, total: int
    ) -> Response:
        if style not in ("page", "offset") and befallen(request, FaultKind.SHORT_PAGE):
            page, more = page[: len(page) // 2], True  # there is more, and the next page has it
        body: dict[str, Any] = {"data": page, "total": total, "next": None}
        headers = {"Date": format_datetime(self.clock.now(), usegmt=True)}
        if page and more:
            cursor = page[-1]["id"]
            if befallen(request, FaultKind.REPEATED_TOKEN):
                cursor = request.query_params.get("cursor", cursor)
            asked = urlencode({**request.query_params, "cursor": cursor})
            link = str(request.url.replace(query=asked))
            if style == "cursor":
                body["next"] = cursor
            elif style == "next_url":
                body["next"] = link
            elif style == "link_header":
                headers["Link"] = f'<{link}>; rel="next"'
        return JSONResponse(body, headers=headers)

    def _stranger(self, request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {TOKEN}":
            return None
        return JSONResponse({"error": "a bearer token is needed"}, 401)

    def refusal(self, fault: Fault, path: str) -> Response:
        match fault.kind:
            case FaultKind.UNAUTHORIZED:
                return JSONResponse({"error": "a bearer token is needed"}, 401)
            case FaultKind.QUOTA | FaultKind.THROTTLE_SECONDS | FaultKind.THROTTLE_DATE:
                until = self.clock.now() + timedelta(seconds=fault.seconds)
                dated = fault.kind is FaultKind.THROTTLE_DATE
                wish = (
                    format_datetime(until, usegmt=True)
                    if dated
                    else str(max(1, round(fault.seconds)))
                )
                return JSONResponse({"error": "too many requests"}, 429, {"Retry-After": wish})
            case FaultKind.ERROR_500:
                return JSONResponse({"error": "internal"}, 500)
            case FaultKind.ERROR_503:
                return Response(status_code=503)
            case _:
                return JSONResponse({"data": [], "error": "the answer is not complete"}, 200)

    def connector(self, url: str) -> dict[str, Any]:
        return {
            "type": "custom",
            "config": {"baseUrl": url, "streams": [self._stream(name) for name in TABLES]},
            "credentials": {"kind": "bearer", "token": TOKEN},
        }

    def _stream(self, table: str) -> dict[str, Any]:
        own = [{"name": "total", "type": "decimal"}, {"name": "paid", "type": "boolean"}]
        return {
            "name": table,
            "path": f"/api/{table}/cursor",
            "recordsPath": "data",
            "key": "id",
            "fields": [
                {"name": "name"},
                {"name": "email", "type": "email"},
                {"name": "city", "path": "address.city"},
                {"name": "note", "type": "longtext"},
                *(own if table == "orders" else []),
            ],
            "pagination": {"style": "cursor", "cursorPath": "next", "param": "cursor"},
            "cursor": {
                "field": "updatedAt",
                "startParam": "updated_from",
                "endParam": "updated_to",
            },
            "deletes": "snapshot",
            "itemPath": f"/api/{table}/items/{{key}}",
        }

    def create(self, table: str, values: Mapping[str, Any], at: datetime) -> str:
        with self.stage.lock:
            if table not in self.stage.tables:
                raise KeyError(table)
            row = self._row(table, values, at)
            self.stage.put(table, row, at=at)
        return str(row["id"])

    def edit(self, table: str, key: str, values: Mapping[str, Any], at: datetime) -> None:
        with self.stage.lock:
            row = self.stage.tables[table].rows[key]
            self.stage.put(table, {**row, **values, "updatedAt": stamp(at)}, at=at)

    def delete(self, table: str, key: str, at: datetime) -> None:
        with self.stage.lock:
            if key not in self.stage.tables[table].rows:
                raise KeyError(key)
            self.stage.drop(table, key, at=at)

    def touch(self, at: datetime) -> None:
        with self.stage.lock:
            table = self.random.choice(TABLES)
            keys = self.stage.tables[table].keys()
            dice = self.random.random()
            if not keys or dice < 0.15:
                self.create(table, {}, at)
            elif dice < 0.2:
                self.delete(table, self.random.choice(keys), at)
            else:
                changed = {"note": self.sample.text(200), "name": self.sample.last()}
                self.edit(table, self.random.choice(keys), changed, at)

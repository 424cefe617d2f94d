"""REST queries: pages of at most 2,000 records, and cursors that the next ones hang on."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hubblewave_pipelines.sandboxes.faults import FaultKind
from hubblewave_pipelines.sandboxes.salesforce import cells
from hubblewave_pipelines.sandboxes.salesforce.asking import Asked, ask
from hubblewave_pipelines.sandboxes.salesforce.org import Org
from hubblewave_pipelines.sandboxes.salesforce.refusing import Refused
from hubblewave_pipelines.sandboxes.salesforce.soql import parse
from hubblewave_pipelines.sandboxes.stage import Row
from hubblewave_pipelines.sandboxes.vendor import befallen

PAGE = 2_000
_LEAST_PAGE = 200
_CURSORS = 10  # open per user; the oldest is closed for a new one
ZONE_FAULT = timedelta(hours=7)


@dataclass(frozen=True, slots=True)
class _Cursor:
    asked: Asked
    ids: list[str]
    batch: int
    operation: str


class Queries:
    def __init__(self, org: Org) -> None:
        self._org = org
        self._cursors: OrderedDict[str, _Cursor] = OrderedDict()
        self._numbers = itertools.count(1)

    def asked(self, request: Request, text: str) -> Asked:
        """A query read and checked against the objects there are."""
        shift = ZONE_FAULT if befallen(request, FaultKind.WRONG_ZONE) else timedelta(0)
        return ask(parse(text), self._org.sobjects, self._org.stage.clock.now(), shift)

    def rows(self, asked: Asked, *, deleted_too: bool) -> list[Row]:
        table = self._org.table(asked.sobject.name)
        with self._org.stage.lock:
            return asked.found(table.indexed(), deleted_too=deleted_too)

    def first(self, request: Request, operation: str) -> Response:
        text = request.query_params.get("q")
        if text is None:
            raise Refused(400, "MALFORMED_QUERY", "unexpected token: <EOF>")
        asked = self.asked(request, text)
        rows = self.rows(asked, deleted_too=operation == "queryAll")
        if asked.soql.count:
            return _json({"totalSize": len(rows), "done": True, "records": []})
        batch = _batch(request.headers.get("sforce-query-options", ""))
        cursor = _Cursor(asked, [row["Id"] for row in rows], batch, operation)
        name = f"01g5gK{next(self._numbers):012d}"
        if len(rows) > batch or befallen(
            request,
            FaultKind.SHORT_PAGE,
            FaultKind.REPEATED_TOKEN,
            FaultKind.EMPTY_PAGE_WITH_TOKEN,
        ):
            self._cursors[name] = cursor
            while len(self._cursors) > _CURSORS:
                self._cursors.popitem(last=False)
        return self._page(request, name, cursor, 0)

    def more(self, request: Request, locator: str) -> Response:
        name, _, at = locator.rpartition("-")
        cursor = self._cursors.get(name)
        if cursor is None or not at.isdigit():
            raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(request, name, cursor, int(at))

    def _page(self, request: Request, name: str, cursor: _Cursor, start: int) -> Response:
        """Rows as they are now: one that was edited since the first page comes with its new values."""
        end = min(start + cursor.batch, len(cursor.ids))
        if befallen(request, FaultKind.SHORT_PAGE):  # as wide rows have it
            end = start + max((end - start) // 2, 1)
        first, following = start, end
        if befallen(request, FaultKind.DUPLICATE_ROW):
            first = max(start - 1, 0)
        again = befallen(request, FaultKind.REPEATED_TOKEN)
        if again:
            following = start
        empty = befallen(request, FaultKind.EMPTY_PAGE_WITH_TOKEN)
        if empty:
            first, following = end, start
        ids = cursor.ids[first:end]
        rows = self._org.table(cursor.asked.sobject.name).rows
        with self._org.stage.lock:
            found = [rows[key] for key in ids if key in rows]
        version = request.path_params["version"]
        body: dict[str, Any] = {
            "totalSize": len(cursor.ids),
            "done": following >= len(cursor.ids),
            "records": cells.records(cursor.asked.sobject, cursor.asked.fields, found, version),
        }
        if not body["done"]:
            path = f"/services/data/{version}/{cursor.operation}/{name}-{following}"
            body["nextRecordsUrl"] = path
        return _json(body)


def _batch(options: str) -> int:
    for option in options.split(","):
        name, _, value = option.partition("=")
        if name.strip().lower() == "batchsize" and value.strip().isdigit():
            return min(max(int(value), _LEAST_PAGE), PAGE)
    return PAGE


def _json(body: Any) -> Response:
    return Response(cells.encoded(body), media_type="application/json;charset=UTF-8")

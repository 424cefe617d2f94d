"""Reading issues: Cloud's search by token, Data Center's by startAt, bulk fetches, counts, changelogs."""

import base64
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.faults import FaultKind
from hubblewave_pipelines.sandboxes.jira import catalog, shapes
from hubblewave_pipelines.sandboxes.jira.finding import Found, find, site_of
from hubblewave_pipelines.sandboxes.jira.jql import JqlError, parse
from hubblewave_pipelines.sandboxes.jira.refusing import Refused
from hubblewave_pipelines.sandboxes.jira.signing import hidden, private, searchable
from hubblewave_pipelines.sandboxes.stage import Row
from hubblewave_pipelines.sandboxes.vendor import befallen

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.jira.site import Jira

IDS_ONLY = 5_000
WITH_FIELDS = 100
CENTER_PAGE = 1_000
TOKEN_LIFE = timedelta(days=7)
NOTHING: dict[str, object] = {"issues": [], "isLast": True}
REMOVED = (
    "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. "
    "A full migration guideline is available at https://developer.atlassian.com/changelog/#CHANGE-2046"
)


def routes(site: "Jira") -> list[BaseRoute]:
    desk = Searches(site)
    base = "/rest/api/{version:str}"
    both = ["GET", "POST"]
    if not site.cloud:
        nothing: dict[str, object] = {"startAt": 0, "maxResults": 50, "total": 0, "issues": []}
        return [
            Route(f"{base}/search", searchable(site, desk.search_center, nothing), methods=both),
            Route(f"{base}/issue/{{key}}", hidden(site, desk.issue), methods=["GET"]),
        ]
    return [
        Route(f"{base}/search", desk.removed, methods=both),
        Route(f"{base}/search/jql", searchable(site, desk.search, NOTHING), methods=both),
        Route(
            f"{base}/search/approximate-count",
            searchable(site, desk.count, {"count": 0}),
            methods=["POST"],
        ),
        Route(f"{base}/issue/bulkfetch", private(site, desk.bulkfetch), methods=["POST"]),
        Route(f"{base}/changelog/bulkfetch", private(site, desk.changelogs), methods=["POST"]),
        Route(f"{base}/issue/{{key}}", hidden(site, desk.issue), methods=["GET"]),
    ]


class Searches:
    def __init__(self, site: "Jira") -> None:
        self.site = site

    async def removed(self, _: Request) -> Response:
        return JSONResponse({"errorMessages": [REMOVED], "errors": {}}, 410)

    async def search(self, request: Request) -> Response:
        asked = await _asked(request)
        fields = shapes.chosen(_names(asked.get("fields")))
        most = IDS_ONLY if fields is None or not fields else WITH_FIELDS
        limit = max(1, min(_whole(asked, "maxResults", 50), most))
        jql = str(asked.get("jql") or "")
        befell = befallen(request, FaultKind.WRONG_ZONE)
        with self.site.stage.lock:
            found = self._found(jql, shifted=befell is not None, bounded=True)
            start = self._start(asked.get("nextPageToken"), jql, found)
            rows = self._reconciled(found.rows, _ids(asked.get("reconcileIssues")), jql)
            return self._page(request, asked, found, rows, start, limit, jql, fields)

    def _page(
        self,
        request: Request,
        asked: dict[str, Any],
        found: Found,
        rows: Sequence[Row],
        start: int,
        limit: int,
        jql: str,
        fields: list[str] | None,
    ) -> Response:
        token = asked.get("nextPageToken")
        end = start + limit
        if befallen(request, FaultKind.SHORT_PAGE):
            end = start + max(1, limit // 2)
        if befallen(request, FaultKind.EMPTY_PAGE_WITH_TOKEN) and start < len(rows):
            return JSONResponse(
                {
                    "issues": [],
                    "nextPageToken": self._token(jql, rows, start, found),
                    "isLast": False,
                }
            )
        shown = [self.site.issues.rows.get(row["id"]) for row in rows[start:end]]
        form = self.site.form(request)
        page = [shapes.issue(row, form, fields) for row in shown if row is not None]
        if befallen(request, FaultKind.DUPLICATE_ROW) and start:
            again = self.site.issues.rows.get(rows[start - 1]["id"])
            page = [*([shapes.issue(again, form, fields)] if again else []), *page]
        if befallen(request, FaultKind.ROWS_AND_ERROR):
            half = page[: len(page) // 2]
            return JSONResponse({"issues": half, "errorMessages": ["The search was interrupted."]})
        if end >= len(rows):
            return JSONResponse({"issues": page, "isLast": True})
        following = self._token(jql, rows, end, found)
        if token and befallen(request, FaultKind.REPEATED_TOKEN):
            following = str(token)
        return JSONResponse({"issues": page, "nextPageToken": following, "isLast": False})

    def _found(self, jql: str, *, shifted: bool = False, bounded: bool = False) -> Found:
        try:
            return find(self.site, jql, shifted=shifted, bounded=bounded)
        except JqlError as error:
            raise Refused(400, str(error)) from error

    def _token(self, jql: str, rows: Sequence[Row], place: int, found: Found) -> str:
        """Says which row it comes after, so that rows which leave the result move nothing."""
        after = rows[place - 1]["id"] if place else None
        body = {
            "jql": jql,
            "after": after,
            "row": None
            if after is None
            else {name: rows[place - 1].get(name) for name in found.sorted_by},
            "until": (self.site.clock.now() + TOKEN_LIFE).isoformat(),
        }
        return base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")

    def _start(self, token: Any, jql: str, found: Found) -> int:
        if not token:
            return 0
        try:
            text = str(token)
            body = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            expired = body["until"] < self.site.clock.now().isoformat()
            same, row = body["jql"] == jql, body["row"]
        except (ValueError, KeyError, TypeError):
            expired, same, row = False, False, None
        if expired or not same:
            raise Refused(400, "The provided next page token is invalid or has expired.")
        return 0 if row is None else found.past(row)

    def _reconciled(self, rows: Sequence[Row], ids: list[str], jql: str) -> list[Row]:
        """Named issues are read as they are now, wherever the index stands."""
        if not ids:
            return list(rows)
        if len(ids) > 50:
            raise Refused(400, "The number of issues in reconcileIssues must not exceed 50.")
        missing = [number for number in ids if number not in self.site.issues.rows]
        if missing:
            raise Refused(400, f"Issues {', '.join(missing)} in reconcileIssues do not exist.")
        found = self._found(jql)
        named = [self.site.issues.rows[number] for number in ids]
        where = parse(jql, site_of(self.site)).where
        fresh = [row for row in named if where is None or where(row)]
        return sorted([*(row for row in rows if row["id"] not in ids), *fresh], key=found.key)

    async def search_center(self, request: Request) -> Response:
        asked = await _asked(request)
        start, limit = (
            _whole(asked, "startAt", 0),
            min(_whole(asked, "maxResults", 50), CENTER_PAGE),
        )
        befell = befallen(request, FaultKind.WRONG_ZONE)
        if start + limit > self.site.window:
            raise Refused(
                400,
                f"Result window is too large: startAt + maxResults must not exceed {self.site.window}.",
            )
        names = _names(asked.get("fields")) or ["*navigable"]
        fields = shapes.chosen(names) or []
        with self.site.stage.lock:
            found = self._found(str(asked.get("jql") or ""), shifted=befell is not None)
            form = self.site.form(request)
            end = start + (max(1, limit // 2) if befallen(request, FaultKind.SHORT_PAGE) else limit)
            if start and befallen(request, FaultKind.DUPLICATE_ROW):
                start -= 1
            rows = [self.site.issues.rows.get(row["id"]) for row in found.rows[start:end]]
            page = [
                {**shapes.issue(row, form, fields), "key": shapes.key_of(row)}
                for row in rows
                if row is not None
            ]
            body: dict[str, Any] = {
                "expand": "schema,names",
                "startAt": start,
                "maxResults": limit,
                "total": len(found.rows),
                "issues": page,
            }
            if befallen(request, FaultKind.ROWS_AND_ERROR):
                body = {
                    "issues": page[: len(page) // 2],
                    "errorMessages": ["The search was interrupted."],
                }
            return JSONResponse(body)

    async def count(self, request: Request) -> Response:
        asked = await _asked(request)
        with self.site.stage.lock:
            found = self._found(str(asked.get("jql") or ""), bounded=True)
            return JSONResponse({"count": len(found.rows)})

    async def bulkfetch(self, request: Request) -> Response:
        asked = await _asked(request)
        wanted = [str(key) for key in asked.get("issueIdsOrKeys") or ()]
        if not wanted or len(wanted) > WITH_FIELDS:
            raise Refused(400, "issueIdsOrKeys must hold between 1 and 100 issues.")
        fields = shapes.chosen(_names(asked.get("fields")) or ["*navigable"]) or []
        with self.site.stage.lock:
            ids = {key: self.site.key(key) for key in wanted}
            known = sorted({number for number in ids.values() if number}, key=int)
            form = self.site.form(request)
            return JSONResponse(
                {
                    "expand": "schema,names",
                    "issues": [shapes.issue(self.site.issues.rows[n], form, fields) for n in known],
                    "issueErrors": [
                        {"id": key, "errorMessage": "Issue not found."}
                        for key, number in ids.items()
                        if number is None
                    ],
                }
            )

    async def issue(self, request: Request) -> Response:
        with self.site.stage.lock:
            number = self.site.key(request.path_params["key"])
            if number is None:
                raise Refused(404, "Issue does not exist or you do not have permission to see it.")
            names = _names(request.query_params.getlist("fields")) or ["*all"]
            row = self.site.issues.rows[number]
            form = self.site.form(request)
            shown = shapes.issue(row, form, shapes.chosen(names) or [])
            if "properties" in request.query_params:
                shown["properties"] = row["properties"]
            return JSONResponse(shown)

    async def changelogs(self, request: Request) -> Response:
        asked = await _asked(request)
        wanted = [str(key) for key in asked.get("issueIdsOrKeys") or ()]
        fields = {str(name) for name in asked.get("fieldIds") or ()}
        if not wanted or len(wanted) > 1_000 or len(fields) > 10:
            raise Refused(
                400, "Between 1 and 1000 issues, and at most 10 fields, can be asked for."
            )
        start, limit = int(asked.get("nextPageToken") or 0), _whole(asked, "maxResults", 1_000)
        with self.site.stage.lock:
            known = sorted({n for n in map(self.site.key, wanted) if n}, key=int)
            entries = [
                (
                    number,
                    {
                        **entry,
                        "author": shapes.person(catalog.ACCOUNT, self.site.form(request)),
                        "items": kept,
                    },
                )
                for number in known
                for entry in self.site.issues.rows[number]["history"]
                if (
                    kept := [
                        item for item in entry["items"] if not fields or item["fieldId"] in fields
                    ]
                )
            ]
        logs: dict[str, list[Any]] = {}
        for number, entry in entries[start : start + limit]:
            logs.setdefault(number, []).append(entry)
        body: dict[str, Any] = {
            "issueChangeLogs": [{"issueId": n, "changeHistories": held} for n, held in logs.items()]
        }
        if start + limit < len(entries):
            body["nextPageToken"] = str(start + limit)
        return JSONResponse(body)


async def _asked(request: Request) -> dict[str, Any]:
    if request.method == "GET":
        query = request.query_params
        return {
            name: query.getlist(name) if name in ("fields", "reconcileIssues") else query[name]
            for name in query
        }
    raw = await request.body()
    try:
        body = json.loads(raw or b"{}")
    except ValueError as error:
        raise Refused(
            400, "Invalid request payload. Refer to the REST API documentation."
        ) from error
    if not isinstance(body, dict):
        raise Refused(400, "Invalid request payload. Refer to the REST API documentation.")
    return body


def _names(given: Any) -> list[str]:
    listed = [given] if isinstance(given, str) else list(given or ())
    return [part.strip() for one in listed for part in str(one).split(",") if part.strip()]


def _ids(given: Any) -> list[str]:
    return [str(one) for one in ([given] if isinstance(given, (str, int)) else given or ())]


def _whole(asked: dict[str, Any], name: str, default: int) -> int:
    try:
        return int(asked.get(name, default) if asked.get(name) is not None else default)
    except (TypeError, ValueError) as error:
        raise Refused(400, f"{name} must be a number.") from error

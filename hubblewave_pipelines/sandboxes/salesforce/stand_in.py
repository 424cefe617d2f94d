"""The Salesforce sandbox put together: who may ask, what is counted, which path does what."""

import functools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.salesforce import (
    cells,
    oauth,
    refusing,
    writing,
)
from hubblewave_pipelines.sandboxes.salesforce.ingest import IngestJobs
from hubblewave_pipelines.sandboxes.salesforce.jobs import QueryJobs
from hubblewave_pipelines.sandboxes.salesforce.model import VERSIONS, SObject, id_of
from hubblewave_pipelines.sandboxes.salesforce.org import Org
from hubblewave_pipelines.sandboxes.salesforce.paths import Handler, paths
from hubblewave_pipelines.sandboxes.salesforce.queries import Queries
from hubblewave_pipelines.sandboxes.salesforce.refusing import GrantRefused, Refused, not_found
from hubblewave_pipelines.sandboxes.sample import Sample
from hubblewave_pipelines.sandboxes.vendor import Options, Vendor

_DAILY = 100_000
_EDGE_STATUS = 420


class SalesforceSandbox(Vendor):
    """`extra`: dailyRequests, sessionSeconds, jobPace (how long bulk jobs take, 1.0)."""

    name = "salesforce"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.sample = Sample(self.random)
        self.org = Org(self.stage, self.sample, options.records, self.started)
        self.sessions = oauth.Sessions(id_of("00D", 1), id_of("005", 1))
        self.sessions.lifetime = timedelta(seconds=options.extra.get("sessionSeconds", 7_200))
        self.daily = int(options.extra.get("dailyRequests", _DAILY))
        self.used = 0
        pace = float(options.extra.get("jobPace", 1.0))
        self.queries = Queries(self.org)
        self.jobs = QueryJobs(self.queries, pace)
        self.ingest = IngestJobs(self.org, pace)

    def routes(self) -> Sequence[BaseRoute]:
        return paths(self)

    def errors(self) -> Mapping[Any, Callable[[Request, Any], Awaitable[Response]]]:
        async def nothing(_: Request, __: Exception) -> Response:
            return JSONResponse([not_found().as_json()], status_code=404)

        return {
            Refused: refusing.refused,
            GrantRefused: refusing.grant_refused,
            404: nothing,
        }

    def held(self, handler: Handler) -> Handler:
        """For whoever has a session; counted against the day's requests, and said so."""

        @functools.wraps(handler)
        async def checked(request: Request) -> Response:
            self.sessions.hold(request.headers.get("authorization"), self.clock.now())
            self.org.empty_bin(self.clock.now())
            version = request.path_params.get("version")
            if version is not None and version.removeprefix("v") not in VERSIONS:
                raise not_found()
            self.used += 1
            if self.used > self.daily:
                raise Refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            response = await handler(request)
            response.headers["Sforce-Limit-Info"] = f"api-usage={self.used}/{self.daily}"
            return response

        return checked

    def limits(self) -> dict[str, dict[str, int]]:
        def of(most: int, used: int) -> dict[str, int]:
            return {"Max": most, "Remaining": max(most - used, 0)}

        return {
            "DailyApiRequests": of(self.daily, self.used),
            "DailyBulkApiBatches": of(15_000, 0),
            "DailyBulkV2QueryJobs": of(10_000, self.jobs.open),
            "DailyBulkV2QueryFileStorageMB": of(976_562, 0),
            "DataStorageMB": of(10_240, 100),
        }

    def refusal(self, fault: Fault, path: str) -> Response:
        """Salesforce's own words. Retry-After is not its habit; asked for, it is given."""
        if path.endswith("/oauth2/token") and fault.kind is FaultKind.UNAUTHORIZED:
            body = {"error": "invalid_grant", "error_description": "expired access/refresh token"}
            return JSONResponse(body, status_code=400)
        status, code, message = {
            FaultKind.UNAUTHORIZED: (401, "INVALID_SESSION_ID", "Session expired or invalid"),
            FaultKind.QUOTA: (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
            FaultKind.ERROR_500: (500, "UNKNOWN_EXCEPTION", "An unexpected error occurred."),
            FaultKind.ERROR_503: (503, "SERVER_UNAVAILABLE", "The server is unavailable"),
        }.get(fault.kind, (429, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded."))
        if fault.kind is FaultKind.EDGE_PAGE:
            return HTMLResponse("<html><body>Please wait.</body></html>", _EDGE_STATUS)
        headers = {}
        if fault.kind is FaultKind.THROTTLE_SECONDS:
            headers = {"Retry-After": str(max(int(fault.seconds), 1))}
        if fault.kind is FaultKind.THROTTLE_DATE:
            until = self.clock.now() + timedelta(seconds=fault.seconds + 1)
            headers = {"Retry-After": format_datetime(until, usegmt=True)}
        error = Refused(status, code, message)
        return JSONResponse([error.as_json()], status_code=status, headers=headers)

    def connector(self, url: str) -> dict[str, Any]:
        return {
            "type": "salesforce",
            "config": {"baseUrl": url},
            "credentials": {
                "kind": "client_credentials",  # good for every start of the sandbox
                "clientId": oauth.CLIENT_ID,
                "clientSecret": oauth.CLIENT_SECRET,
            },
        }

    def sobject(self, name: str) -> SObject:
        return writing.sobject_of(self.org, name)

    def controls(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """{"table", "key"} each: purge (past the bin, without a trace), undelete, and late (an edit
        with "values" that is stamped now and seen after "seconds"); and expire, which ends all sessions.
        """

        def late(body: dict[str, Any]) -> dict[str, Any]:
            now = self.clock.now()
            seen = now + timedelta(seconds=float(body.get("seconds", 60)))
            self.org.edit(self.sobject(body["table"]), body["key"], body["values"], now, seen)
            return {"stamped": now.isoformat(), "seen": seen.isoformat()}

        def purge(body: dict[str, Any]) -> dict[str, Any]:
            self.org.purge(self.sobject(body["table"]), body["key"], self.clock.now())
            return {}

        def undelete(body: dict[str, Any]) -> dict[str, Any]:
            self.org.undelete(self.sobject(body["table"]), body["key"], self.clock.now())
            return {}

        def expire(_: dict[str, Any]) -> dict[str, Any]:
            self.sessions.end_all()
            return {}

        return {"late": late, "purge": purge, "undelete": undelete, "expire": expire}

    def create(self, table: str, values: Mapping[str, Any], at: datetime) -> str:
        return self.org.create(self.sobject(table), values, at)

    def edit(self, table: str, key: str, values: Mapping[str, Any], at: datetime) -> None:
        self.org.edit(self.sobject(table), key, values, at)

    def delete(self, table: str, key: str, at: datetime) -> None:
        self.org.delete(self.sobject(table), key, at)

    def touch(self, at: datetime) -> None:
        """Mostly an edit of an account or contact; now and then a new one, a delete, or an edit in
        a transaction that takes up to a minute.
        """
        name = self.random.choice(("Account", "Contact"))
        sobject, table = self.org.sobjects[name], self.org.table(name)
        chance = self.random.random()
        keys = table.keys()
        if chance < 0.1 or not keys:
            person = {"LastName": self.sample.last(), "FirstName": self.sample.first()}
            values = person if name == "Contact" else {"Name": self.sample.company()}
            self.org.create(sobject, values, at)
            return
        key = self.random.choice(keys)
        if table.rows[key]["IsDeleted"]:
            return
        if chance < 0.15:
            self.org.delete(sobject, key, at)
            return
        city = "BillingCity" if name == "Account" else "MailingCity"
        values = {"Phone": self.sample.phone(), city: self.sample.city()}
        late = timedelta(seconds=self.random.randrange(5, 60)) if chance > 0.97 else None
        self.org.edit(sobject, key, values, at, None if late is None else at + late)

    async def body(self, request: Request) -> dict[str, Any]:
        """The JSON object that was sent. Raises Refused."""
        try:
            found = json.loads(await request.body() or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused(400, "JSON_PARSER_ERROR", "The HTTP entity body is not a JSON object")
        return found

    def record(self, sobject: SObject, row: dict[str, Any], version: str) -> Response:
        shown = cells.records(sobject, tuple(sobject.fields.values()), [row], version)[0]
        return Response(cells.encoded(shown), media_type="application/json;charset=UTF-8")

"""The Jira sandbox: Cloud, or Data Center, with a search index that lags behind what is written."""

import itertools
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.jira import administration, catalog, searching, seeding, writing
from hubblewave_pipelines.sandboxes.jira.refusing import Refused, refused, throttled
from hubblewave_pipelines.sandboxes.jira.shapes import Form, key_of, milliseconds
from hubblewave_pipelines.sandboxes.stage import Row, Table
from hubblewave_pipelines.sandboxes.vendor import Options, Vendor, on

TABLE = "issue"


class Jira(Vendor):
    """Switches (`extra`): deployment cloud|datacenter, zone (the account's), index_delay (seconds at
    most), to_the_minute (epoch literals are cut to the minute), window (how far startAt reaches),
    quiet (no header says who was signed in). Cloud also answers below `/ex/jira/{cloudId}`.
    """

    name: ClassVar[str] = "jira"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        extra = options.extra
        self.cloud = extra.get("deployment", "cloud") != "datacenter"
        self.zone = ZoneInfo(extra.get("zone", "Australia/Adelaide"))
        self.index_delay = float(extra.get("index_delay", 10.0))
        self.to_the_minute = on(extra.get("to_the_minute"))
        self.window = int(extra.get("window", 10_000))
        self.quiet = on(extra.get("quiet"))  # no header tells who was signed in
        self.issues = self.stage.add(Table(TABLE, "id", order=int))
        self.tasks: dict[str, dict[str, Any]] = {}
        self.grants: dict[str, datetime] = {}  # access tokens of OAuth -> when they end
        self.refresh_tokens = {"sandbox-refresh-token"}
        self.found: dict[Any, list[Row]] = {}  # results of searches, until something changes
        self.issues.load(
            {row["id"]: row for row in seeding.issues(self.random, options.records, self.started)}
        )
        self.by_key = {key_of(row): row["id"] for row in self.issues.rows.values()}
        self._ids = itertools.count(seeding.FIRST_ID + options.records)
        self._numbers = {
            project: itertools.count(
                1
                + max(
                    (r["number"] for r in self.issues.rows.values() if r["project"] == project),
                    default=0,
                )
            )
            for project in catalog.PROJECTS
        }

    def routes(self) -> Sequence[BaseRoute]:
        own = [*administration.routes(self), *searching.routes(self), *writing.routes(self)]
        return [*own, Mount(f"/ex/jira/{catalog.CLOUD_ID}", routes=own)] if self.cloud else own

    def errors(self) -> Mapping[Any, Callable[[Request, Any], Awaitable[Response]]]:
        return {Refused: refused}

    def form(self, request: Request) -> Form:
        version = request.path_params.get("version", "3")
        return Form(str(request.base_url).rstrip("/"), self.zone, version == "3", self.cloud)

    def refusal(self, fault: Fault, path: str) -> Response:
        match fault.kind:
            case FaultKind.UNAUTHORIZED if self.cloud and "/search" in path:
                return JSONResponse(
                    {"count": 0} if path.endswith("count") else {"issues": [], "isLast": True}
                )
            case FaultKind.UNAUTHORIZED:
                return JSONResponse(
                    {
                        "message": "Client must be authenticated to access this resource.",
                        "status-code": 401,
                    },
                    401,
                )
            case FaultKind.QUOTA:
                return throttled(self.clock.now(), fault.seconds, "jira-quota-tenant-based")
            case FaultKind.THROTTLE_SECONDS:
                return throttled(self.clock.now(), fault.seconds, "jira-burst-based")
            case FaultKind.THROTTLE_DATE:
                return throttled(self.clock.now(), fault.seconds, "jira-burst-based", dated=True)
            case FaultKind.ERROR_500:
                return JSONResponse({"errorMessages": ["Internal server error"], "errors": {}}, 500)
            case FaultKind.ERROR_503:
                return Response(status_code=503)
            case _:
                return HTMLResponse(
                    "<html><body><h1>Atlassian is down for maintenance</h1></body></html>", 502
                )

    def connector(self, url: str) -> dict[str, Any]:
        if self.cloud:
            return {
                "type": "jira",
                "config": {"baseUrl": url, "deployment": "cloud"},
                "credentials": {
                    "kind": "basic",
                    "username": catalog.EMAIL,
                    "password": catalog.TOKEN,
                },
            }
        return {
            "type": "jira",
            "config": {"baseUrl": url, "deployment": "dataCenter"},
            "credentials": {"kind": "bearer", "token": catalog.PAT},
        }

    def key(self, text: str) -> str | None:
        """The id of an issue named by its id or key."""
        if text in self.issues.rows:
            return text
        return self.by_key.get(text.upper())

    def create(self, table: str, values: Mapping[str, Any], at: datetime) -> str:
        with self.stage.lock:
            project = values.get("project", "PAY")
            stamp = milliseconds(at)
            row: Row = {
                **seeding.blank(),
                "reporter": catalog.ACCOUNT,
                **values,
                "id": str(next(self._ids)),
                "project": project,
                "number": next(self._numbers[project]),
                "created": stamp,
                "updated": stamp,
            }
            self.by_key[key_of(row)] = row["id"]
            self._put(row, at)
            return str(row["id"])

    def edit(self, table: str, key: str, values: Mapping[str, Any], at: datetime) -> None:
        with self.stage.lock:
            found = self.key(key)
            if found is None:
                raise KeyError(key)
            old = self.issues.rows[found]
            row: Row = {**old, **values, "updated": max(milliseconds(at), old["updated"])}
            if row["project"] != old["project"]:
                row["number"] = next(self._numbers[row["project"]])
                self.by_key[key_of(row)] = row["id"]  # the old key keeps leading here, as in Jira
            if row["status"] != old["status"]:
                done = row["status"] == "Done"
                row["resolution"] = "Done" if done else None
                row["resolutiondate"] = row["updated"] if done else None
            items = [
                {
                    "field": name,
                    "fieldId": name,
                    "fromString": _text(old.get(name)),
                    "toString": _text(row[name]),
                }
                for name in row
                if name in catalog.BY_ID and old.get(name) != row[name] and name != "updated"
            ]
            entry = {"id": str(len(old["history"]) + 1), "created": row["updated"], "items": items}
            row["history"] = (*old["history"], entry)
            self._put(row, at)

    def delete(self, table: str, key: str, at: datetime) -> None:
        with self.stage.lock:
            found = self.key(key)
            if found is None:
                raise KeyError(key)
            self.by_key = {name: held for name, held in self.by_key.items() if held != found}
            self.stage.drop(TABLE, found, at=at, indexed=self._visible(at))

    def touch(self, at: datetime) -> None:
        with self.stage.lock:
            dice = self.random
            ids = self.issues.keys()
            what = dice.random()
            if what < 0.1 or not ids:
                stamp = milliseconds(at)
                self.create(
                    TABLE,
                    {
                        **seeding.values(dice, stamp, stamp),
                        "project": dice.choice(list(catalog.PROJECTS)),
                    },
                    at,
                )
            elif what < 0.15:
                self.delete(TABLE, dice.choice(ids), at)
            elif what < 0.2:
                self.edit(
                    TABLE, dice.choice(ids), {"project": dice.choice(list(catalog.PROJECTS))}, at
                )
            else:
                self.edit(TABLE, dice.choice(ids), _change(dice), at)

    def _put(self, row: Row, at: datetime) -> None:
        self.stage.put(TABLE, row, at=at, indexed=self._visible(at))

    def _visible(self, at: datetime) -> datetime:
        """When a search sees a change: some seconds after it was made, each after its own wait."""
        return at + timedelta(seconds=self.random.uniform(0, self.index_delay))


def _change(dice: random.Random) -> Row:
    return dice.choice(
        (
            {"summary": f"{dice.choice(seeding.VERBS)} {dice.choice(seeding.TROUBLES)}"},
            {"status": dice.choice(list(catalog.STATUSES))},
            {"assignee": dice.choice([None, *catalog.PEOPLE])},
            {"customfield_10010": dice.choice((None, 1, 2.5, 5))},
            {"labels": dice.sample(["triage", "p1", "late"], 2)},
        )
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

"""The ServiceNow sandbox: an instance whose tables change, with ACLs that hide rows from its account."""

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.servicenow import batches, schema, seeding, signing, tables
from hubblewave_pipelines.sandboxes.servicenow.encoded_query import collated
from hubblewave_pipelines.sandboxes.servicenow.refusing import Refused, failure, refused
from hubblewave_pipelines.sandboxes.servicenow.seeding import stamp
from hubblewave_pipelines.sandboxes.stage import Table
from hubblewave_pipelines.sandboxes.vendor import Options, Vendor, on

USER = signing.ACCOUNT[0]
HIBERNATING = """<html><head><title>Instance Hibernating page</title></head>
<body><h1>Your instance is hibernating.</h1><p>Sign in to the developer site to wake it.</p></body></html>"""


class ServiceNow(Vendor):
    """Switches (`extra`): hidden (the share of rows that ACLs hide), no_rows (an invalid query finds
    nothing, as `glide.invalid_query.returns_no_rows` makes it), no_audit (sys_audit_delete and
    sys_audit cannot be read), no_total (no X-Total-Count).
    """

    name: ClassVar[str] = "servicenow"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        extra = options.extra
        self.no_rows = on(extra.get("no_rows"))
        self.no_audit = on(extra.get("no_audit"))
        self.no_total = on(extra.get("no_total"))
        self.hidden: set[str] = set()
        self.grants: dict[str, datetime] = {}
        self.refresh_tokens: set[str] = set()
        self._numbers = itertools.count(options.records + 1)
        self._seed(options.records)
        share = float(extra.get("hidden", 0))
        for key in self.stage.tables["incident"].keys() if share else ():
            if self.random.random() < share:
                self.hidden.add(key)

    def _seed(self, records: int) -> None:
        start = self.started
        users = list(seeding.people(self.random, max(7, min(200, records // 10)), start))
        firms = list(seeding.companies(self.random, max(5, min(100, records // 20)), start))
        ids = [row["sys_id"] for row in users]
        companies = [row["sys_id"] for row in firms]
        loaded = {
            "sys_user": users,
            "core_company": firms,
            "incident": list(
                seeding.tasks(self.random, "incident", records, start, ids, companies)
            ),
            "problem": list(
                seeding.tasks(self.random, "problem", records // 10, start, ids, companies)
            ),
        }
        described = schema.definitions(stamp(start - seeding.SPAN))
        for name in schema.TABLES:
            table = self.stage.add(Table(name, "sys_id", order=collated))
            table.load(described.get(name) or {r["sys_id"]: r for r in loaded.get(name, ())})

    def routes(self) -> Sequence[BaseRoute]:
        return [*tables.routes(self), *signing.routes(self), *batches.routes(self)]

    def errors(self) -> Mapping[Any, Callable[[Request, Any], Awaitable[Response]]]:
        return {Refused: refused}

    def refusal(self, fault: Fault, path: str) -> Response:
        now = self.clock.now()
        match fault.kind:
            case FaultKind.UNAUTHORIZED:
                return signing.unauthenticated()
            case FaultKind.QUOTA | FaultKind.THROTTLE_SECONDS | FaultKind.THROTTLE_DATE:
                until = now + timedelta(seconds=fault.seconds)
                dated = fault.kind is FaultKind.THROTTLE_DATE
                body = failure("Rate limit exceeded", "Rejected request due to rate limit")
                return JSONResponse(
                    body,
                    429,
                    {
                        "Retry-After": format_datetime(until, usegmt=True)
                        if dated
                        else str(max(1, round(fault.seconds))),
                        "X-RateLimit-Limit": "5000",
                        "X-RateLimit-Reset": str(int(until.timestamp())),
                        "X-RateLimit-Rule": schema.sys_id("rule"),
                    },
                )
            case FaultKind.ERROR_500:
                return JSONResponse(
                    failure("Internal error", "com.glide.db.GlideSQLException"), 500
                )
            case FaultKind.ERROR_503:
                return Response(status_code=503)
            case _:
                return HTMLResponse(HIBERNATING)

    def connector(self, url: str) -> dict[str, Any]:
        return {
            "type": "servicenow",
            "config": {"baseUrl": url},
            "credentials": {"kind": "basic", "username": USER, "password": signing.ACCOUNT[1]},
        }

    def create(self, table: str, values: Mapping[str, Any], at: datetime) -> str:
        with self.stage.lock:
            known = schema.columns(table)
            row = {name: column.default for name, column in known.items()}
            row |= self.accepted(table, values)
            row |= {
                "sys_id": seeding.new_sys_id(self.random),
                "sys_created_on": stamp(at),
                "sys_created_by": USER,
                "sys_updated_on": stamp(at),
                "sys_updated_by": USER,
                "sys_mod_count": "0",
            }
            if "sys_class_name" in known:
                row["sys_class_name"] = table
            if "number" in known and not row["number"]:
                row["number"] = f"{table[:3].upper()}{next(self._numbers):07d}"
            self.stage.put(table, row, at=at)
            return row["sys_id"]

    def accepted(self, table: str, values: Mapping[str, Any]) -> dict[str, str]:
        """What an instance makes of values: unknown and read-only fields dropped, unreadable dates empty."""
        found = {}
        for name, value in values.items():
            column = schema.columns(table).get(name)
            if column is None or column.read_only:
                continue
            text = "" if value is None else str(value)
            if isinstance(value, bool):
                text = "true" if value else "false"
            if column.kind in ("glide_date_time", "glide_date") and text:
                form = "%Y-%m-%d %H:%M:%S" if column.kind == "glide_date_time" else "%Y-%m-%d"
                try:
                    datetime.strptime(text, form)  # noqa: DTZ007 - only whether it is one
                except ValueError:
                    text = ""
            found[name] = text[: column.length] if column.kind == "string" else text
        return found

    def edit(self, table: str, key: str, values: Mapping[str, Any], at: datetime) -> None:
        with self.stage.lock:
            home = self.home(table, key)
            if home is None:
                raise KeyError(key)
            old = self.stage.tables[home].rows[key]
            row = old | self.accepted(home, values)
            if row == old:
                return  # nothing changed, so nothing was updated
            row["sys_updated_on"] = max(stamp(at), old["sys_updated_on"])
            row["sys_updated_by"] = USER
            row["sys_mod_count"] = str(int(old["sys_mod_count"]) + 1)
            self.stage.put(home, row, at=at)

    def delete(self, table: str, key: str, at: datetime) -> None:
        """Tells the audit of deletes where the table is audited, and the audit in any case."""
        with self.stage.lock:
            home = self.home(table, key)
            if home is None:
                raise KeyError(key)
            old = self.stage.tables[home].rows[key]
            self.stage.drop(home, key, at=at)
            told = {"tablename": home, "documentkey": key}
            if any(schema.TABLES[name].audited for name in schema.lineage(home)):
                self.create(
                    "sys_audit_delete", {**told, "display_value": old.get("number", "")}, at
                )
            self.create("sys_audit", {**told, "fieldname": "DELETED"}, at)

    def home(self, table: str, key: str) -> str | None:
        """The table of the record's own class."""
        return next(
            (n for n in schema.descendants(table) if key in self.stage.tables[n].rows), None
        )

    def touch(self, at: datetime) -> None:
        with self.stage.lock:
            dice = self.random
            ids = self.stage.tables["incident"].keys()
            what = dice.random()
            if what < 0.1 or not ids:
                users = self.stage.tables["sys_user"].keys()
                text = f"{dice.choice(seeding.TROUBLES)} ({dice.random():.6f})"
                values = {"short_description": text, "caller_id": dice.choice(users)}
                self.create("incident", values, at)
            elif what < 0.15:
                self.delete("incident", dice.choice(ids), at)
            elif what < 0.6:
                self.edit("incident", dice.choice(ids), {"state": dice.choice("12367")}, at)
            else:
                text = f"{dice.choice(seeding.TROUBLES)} ({dice.random():.6f})"
                self.edit("incident", dice.choice(ids), {"short_description": text}, at)

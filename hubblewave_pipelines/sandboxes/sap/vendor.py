"""The SAP sandbox as a whole: its paths, logon, faults, and the changes that are made to its data."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.sap import catalog, logon
from hubblewave_pipelines.sandboxes.sap.batch import Serve, json_batch, multipart
from hubblewave_pipelines.sandboxes.sap.bodies import error
from hubblewave_pipelines.sandboxes.sap.desk import ServiceDesk, Twist
from hubblewave_pipelines.sandboxes.sap.exchange import Ask, Refused, Reply, refusal
from hubblewave_pipelines.sandboxes.sap.generate import tables
from hubblewave_pipelines.sandboxes.sap.keys import KEY
from hubblewave_pipelines.sandboxes.sap.literals import read_json
from hubblewave_pipelines.sandboxes.sap.model import SERVICES, EntityType
from hubblewave_pipelines.sandboxes.sap.options import Asked
from hubblewave_pipelines.sandboxes.sap.reading import Found, seal, unseal
from hubblewave_pipelines.sandboxes.sap.writing import Writer
from hubblewave_pipelines.sandboxes.stage import Table
from hubblewave_pipelines.sandboxes.vendor import Options, Vendor, befallen

_WRITES = ("POST", "PUT", "PATCH", "MERGE", "DELETE")
_TWISTS = (
    FaultKind.REPEATED_TOKEN,
    FaultKind.EMPTY_PAGE_WITH_TOKEN,
    FaultKind.SHORT_PAGE,
    FaultKind.DUPLICATE_ROW,
    FaultKind.ROWS_AND_ERROR,
)


class Sap(Vendor):
    """An S/4HANA system as its Gateway shows it. `options.extra`: `decimals` strings|numbers (V4),
    `plus` accept|refuse (what V2 makes of a `+` for a space; V4 refuses), `page` (server paging, 0
    for none), `etags` cloud|gateway, `zone` (the system's own), `catalog` offered|missing.
    """

    name = "sap"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        extra = options.extra
        self.logons = logon.Logons()
        self.writer = Writer(
            self.stage,
            ZoneInfo(str(extra.get("zone", "UTC"))),
            gateway=extra.get("etags") == "gateway",
        )
        for name, (shape, rows) in tables(options.seed, options.records, self.started).items():
            self.writer.add(name, shape, rows)
        page = extra.get("page")
        self.desks = {
            service.path: ServiceDesk(
                service,
                self.writer,
                strings=extra.get("decimals") == "strings",
                plus_is_space=service.version == 2 and extra.get("plus") != "refuse",
                page=None if page is None else int(page) or 10**9,
            )
            for service in SERVICES
        }

    def routes(self) -> Sequence[BaseRoute]:
        methods = ["GET", "HEAD", *_WRITES]
        found: list[BaseRoute] = [Route("/sap/bc/sec/oauth2/token", self.token, methods=["POST"])]
        if self.options.extra.get("catalog") != "missing":
            found += [
                Route(catalog.V2_PATH, self.catalog_v2),
                Route(catalog.V4_PATH, self.catalog_v4),
            ]
        for path in self.desks:
            found += [
                Route(f"{path}/$metadata", self.metadata),
                Route(f"{path}/$batch", self.batch, methods=["POST"]),
                Route(f"{path}/{{rest:path}}", self.entities, methods=methods),
                Route(path, self.entities, methods=methods),
            ]
        return found

    def connector(self, url: str) -> dict[str, Any]:
        return {
            "type": "sap",
            "config": {
                "baseUrl": url,
                "client": logon.CLIENT,
                "language": "EN",
                "services": ["API_*", *(f"{s.name}={s.path}" for s in SERVICES if s.version == 4)],
            },
            "credentials": {"kind": "basic", "username": logon.USER, "password": logon.PASSWORD},
        }

    def refusal(self, fault: Fault, path: str) -> Response:
        version = 4 if "/odata4/" in path else 2
        kind = fault.kind
        if kind is FaultKind.UNAUTHORIZED:
            self.logons.forget_bearers()
            return _logon_failed("Logon failed")
        if kind is FaultKind.EDGE_PAGE:
            return Response(
                "<html><body>502 SAP Web Dispatcher</body></html>", 502, media_type="text/html"
            )
        if kind in (FaultKind.THROTTLE_SECONDS, FaultKind.THROTTLE_DATE, FaultKind.QUOTA):
            after = self._retry_after(fault)
            body = error(version, "429", "Too many requests: the quota of this system is used up")
            return Response(body, 429, {"retry-after": after}, "application/json")
        status = 500 if kind is FaultKind.ERROR_500 else 503
        if status == 503:  # of the dispatcher, before the system
            return Response(
                "<html><body>Service Unavailable</body></html>", 503, media_type="text/html"
            )
        body = error(version, "SY/530", "An exception was raised: CX_SY_OPEN_SQL_DB")
        return Response(body, status, media_type="application/json")

    def _retry_after(self, fault: Fault) -> str:
        if fault.kind is not FaultKind.THROTTLE_DATE:
            return f"{fault.seconds:.0f}"
        return format_datetime(self.clock.now() + timedelta(seconds=fault.seconds), usegmt=True)

    async def token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        try:
            issued = self.logons.issue_bearer(
                request.headers.get("authorization", ""), form, self.clock.now()
            )
        except ValueError as refused:
            return JSONResponse({"error": str(refused)}, 400)
        if issued is None:
            return JSONResponse({"error": "invalid_client"}, 401)
        return JSONResponse({"access_token": issued, "token_type": "Bearer", "expires_in": 43_199})

    async def catalog_v2(self, request: Request) -> Response:
        return self._logon(request) or JSONResponse(catalog.v2(self._base(request)))

    async def catalog_v4(self, request: Request) -> Response:
        return self._logon(request) or JSONResponse(catalog.v4())

    async def metadata(self, request: Request) -> Response:
        return await self._odata(request)

    async def entities(self, request: Request) -> Response:
        return await self._odata(request)

    async def batch(self, request: Request) -> Response:
        return await self._odata(request)

    async def _odata(self, request: Request) -> Response:
        desk = next(found for path, found in self.desks.items() if _under(request.url.path, path))
        version = desk.service.version
        refused = self._logon(request)
        if refused is not None:
            return refused
        body = await request.body()
        headers = dict(request.headers)
        cookies, now = headers.get("cookie", ""), self.clock.now()
        token = headers.get("x-csrf-token", "")
        if request.method in _WRITES:
            if befallen(request, FaultKind.CSRF_EXPIRED) is not None:
                self.logons.forget(cookies)
            if not self.logons.proves(cookies, token, now):
                return Response(
                    "CSRF token validation failed", 403, {"x-csrf-token": "Required"}, "text/plain"
                )
            if befallen(request, FaultKind.PRECONDITION) is not None:
                answer = Refused(412, "/IWFND/CM_MGW/412", "Precondition failed")
                return _response(refusal(version, answer))
        raw = request.scope["raw_path"].decode("ascii").removeprefix(desk.service.path).lstrip("/")
        query = request.scope["query_string"].decode("latin-1")
        ask = Ask(request.method, raw, query, headers, body, self._base(request))
        with self.stage.lock:
            reply = self._reply(request, desk, ask)
        response = _response(reply)
        if token.lower() == "fetch" and request.method in ("GET", "HEAD"):
            session, proof = self.logons.open_session(cookies, now)
            response.headers["x-csrf-token"] = proof
            response.set_cookie(logon.COOKIE, session, path="/", httponly=True)
        return response

    def _reply(self, request: Request, desk: ServiceDesk, ask: Ask) -> Reply:
        version = desk.service.version
        if request.method == "HEAD" and not ask.path:
            return Reply(200)
        try:
            if ask.path == "$batch":
                written = multipart if version == 2 else json_batch
                return written(ask, desk.service.path, self._serving(request, desk), self._undo)
            wrong_zone = befallen(request, FaultKind.WRONG_ZONE)
            self.writer.zone_shift = timedelta(hours=8 if wrong_zone is not None else 0)
            reply = desk.answer(ask, self._twist(request))
            is_feed = b'"results":[' in reply.body or b'"value":[' in reply.body
            if is_feed and befallen(request, FaultKind.ROWS_AND_ERROR) is not None:
                failed = error(version, "SY/530", "Time limit exceeded")
                return replace(reply, body=reply.body[:-1] + b"," + failed[1:])
        except Refused as refused:
            return refusal(version, refused)
        finally:
            self.writer.zone_shift = timedelta(0)
        return reply

    def _serving(self, request: Request, desk: ServiceDesk) -> Serve:
        """Parts of a batch, one by one; with the fault, every second one is not looked at."""
        unserviced = befallen(request, FaultKind.UNSERVICED) is not None
        count = 0

        def serve(ask: Ask) -> Reply:
            nonlocal count
            count += 1
            try:
                if unserviced and count % 2 == 0:
                    raise Refused(503, "BATCH/503", "The request was not processed")
                return desk.answer(ask)
            except Refused as refused:
                return refusal(desk.service.version, refused)

        return serve

    def _undo(self) -> Callable[[], None]:
        stage = self.stage
        began = len(stage.changes)
        before = {name: dict(table.rows) for name, table in stage.tables.items()}

        def take_back() -> None:
            for name, rows in before.items():
                table = stage.tables[name]
                if table.rows != rows:
                    table.rows = dict(rows)
                    table.load({})
            del stage.changes[began:]

        return take_back

    def _twist(self, request: Request) -> Twist | None:
        fault = request.scope.get("hubblewave.fault")
        if fault is None or fault.kind not in _TWISTS:
            return None

        def twist(found: Found, asked: Asked, table: Table) -> Found:
            begin = unseal(asked.skip_token) if asked.skip_token else {}
            kind = fault.kind
            if kind is FaultKind.REPEATED_TOKEN and asked.skip_token and found.skip_token:
                befallen(request, kind)
                return replace(found, skip_token=asked.skip_token)
            if kind is FaultKind.EMPTY_PAGE_WITH_TOKEN and asked.delta_token is None:
                befallen(request, kind)
                place = begin or {"left": asked.top, "n": len(self.stage.changes)}
                again = seal(**{**place, "waited": place.get("waited", 0) + 1})
                return Found([], [], found.count, again, None)
            if kind is FaultKind.SHORT_PAGE and len(found.rows) > 1 and asked.delta_token is None:
                befallen(request, kind)
                rows = found.rows[: len(found.rows) // 2]
                left = None if asked.top is None else begin.get("left", asked.top) - len(rows)
                token = seal(
                    after=rows[-1][KEY], left=left, n=begin.get("n", len(self.stage.changes))
                )
                return Found(rows, [], found.count, token, None)
            if kind is FaultKind.ROWS_AND_ERROR:  # the error itself comes beside them
                return Found(found.rows[: len(found.rows) // 2], [], found.count)
            if kind is FaultKind.DUPLICATE_ROW and found.rows:
                befallen(request, kind)
                before = table.keys(before=found.rows[0][KEY])
                again_row = table.rows[before[-1]] if before else found.rows[0]
                return replace(found, rows=[again_row, *found.rows])
            return found

        return twist

    def _logon(self, request: Request) -> Response | None:
        if not self.logons.admits(request.headers.get("authorization", ""), self.clock.now()):
            return _logon_failed("Logon failed")
        wanted = parse_qs(request.url.query).get("sap-client", [logon.CLIENT])[0]
        if wanted != logon.CLIENT:
            return _logon_failed(f"Client {wanted} is not available in this system")
        return None

    def _base(self, request: Request) -> str:
        return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"

    def create(self, table: str, values: Mapping[str, Any], at: datetime) -> str:
        """`values` by property; instants, dates and decimals as ISO 8601 and text."""
        shape = self.writer.shapes[table]
        row = self.writer.put(shape, self._typed(shape, values), at, fresh=True)
        return str(row[KEY])

    def edit(self, table: str, key: str, values: Mapping[str, Any], at: datetime) -> None:
        shape = self.writer.shapes[table]
        self.writer.edit(shape, key, self._typed(shape, values), at)

    def delete(self, table: str, key: str, at: datetime) -> None:
        self.writer.delete(self.writer.shapes[table], key, at)

    def touch(self, at: datetime) -> None:
        dice = self.random
        shape = self.writer.shapes[dice.choice(("partners", "orders", "orders", "products"))]
        table = self.writer.tables[shape.name]
        keys = table.keys()
        if not keys:
            return
        key = dice.choice(keys)
        if dice.random() < 0.05:
            self.writer.delete(shape, key, at)
        else:
            self.writer.edit(shape, key, _whim(dice, shape), at)

    def _typed(self, shape: EntityType, values: Mapping[str, Any]) -> dict[str, Any]:
        """Raises KeyError for a property that there is not, ValueError for a value it cannot hold."""
        return {name: read_json(shape.by_name[name], value, 4) for name, value in values.items()}


def _whim(dice: random.Random, shape: EntityType) -> dict[str, Any]:
    number = dice.randrange(10**6)
    whims: dict[str, dict[str, Any]] = {
        "BusinessPartner": {"SearchTerm1": f"TERM {number}"},
        "SalesOrder": {"TotalNetAmount": Decimal(number) / 1000},
        "Product": {"ProductDescription": f"Öl {number}"},
    }
    return whims[shape.keys[0]]


def _under(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))


def _logon_failed(why: str) -> Response:
    realm = f'Basic realm="SAP NetWeaver Application Server [{logon.SYSTEM}/{logon.CLIENT}]"'
    page = f"<html><head><title>Logon Error Message</title></head><body><p>{why}</p></body></html>"
    return Response(page, 401, {"www-authenticate": realm}, "text/html")

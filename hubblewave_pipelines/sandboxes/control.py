"""`/__sandbox`: how tests and people steer a sandbox while it runs, and ask what it has seen."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.vendor import Outage

if TYPE_CHECKING:
    from hubblewave_pipelines.sandboxes.app import Sandbox

Body = dict[str, Any]
_CHANGES_SHOWN = 1_000


def routes(sandbox: "Sandbox") -> list[BaseRoute]:
    """GET the state; POST faults, clock, creates, edits, deletes, outage, reset and the vendor's own."""
    desk = _Desk(sandbox)
    posts: dict[str, Callable[[Body], Body]] = {
        "faults": desk.set_faults,
        "clock": desk.set_clock,
        "creates": desk.create,
        "edits": desk.edit,
        "deletes": desk.delete,
        "outage": desk.set_outage,
        "reset": desk.reset,
        **sandbox.vendor.controls(),
    }
    return [
        Route("/__sandbox", _getting(desk.state), methods=["GET"]),
        Route("/__sandbox/requests", _getting(desk.requests), methods=["GET"]),
        Route("/__sandbox/changes", _getting(desk.changes), methods=["GET"]),
        *(
            Route(f"/__sandbox/{name}", _posting(act), methods=["POST"])
            for name, act in posts.items()
        ),
    ]


class _Desk:
    """What each control request does. ValueError, KeyError and TypeError say what was wrong with it."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox

    def state(self, _: Request) -> Body:
        sandbox = self._sandbox
        with sandbox.stage.lock:
            tables = {name: len(table.rows) for name, table in sandbox.stage.tables.items()}
        return {
            "vendor": sandbox.vendor.name,
            "now": sandbox.clock.now().isoformat(),
            "seed": sandbox.vendor.options.seed,
            "tables": tables,
            "changes": len(sandbox.stage.changes),
            "pending": sandbox.stage.pending,
            "editsPerSecond": sandbox.edits_per_second,
            "requests": {
                "total": sandbox.traffic.total,
                "operations": dict(sandbox.traffic.operations),
                "statuses": {str(code): n for code, n in sandbox.traffic.statuses.items()},
            },
            "faults": {
                "set": [asdict(fault) for fault in sandbox.faults.faults],
                "asked": sandbox.faults.asked,
                "applied": dict(sandbox.faults.applied),
            },
            "outages": [
                {"from": out.start.isoformat(), "to": out.end.isoformat(), "kind": out.kind.value}
                for out in sandbox.outages
            ],
        }

    def requests(self, _: Request) -> Body:
        return {
            "requests": [
                {**asdict(asked), "at": asked.at.isoformat()} for asked in self._sandbox.traffic.log
            ]
        }

    def changes(self, request: Request) -> Body:
        since = int(request.query_params.get("since", "0"))
        found = self._sandbox.stage.changes[since : since + _CHANGES_SHOWN]
        return {
            "changes": [
                {**asdict(c), "at": c.at.isoformat(), "seen": c.seen.isoformat()} for c in found
            ]
        }

    def set_faults(self, body: Body) -> Body:
        """{"faults": ["throttle_seconds:0.05", {"kind", "rate" or "request", "seconds", "path"}]}"""
        self._sandbox.faults.set(
            *(
                Fault.parse(given)
                if isinstance(given, str)
                else Fault(**{**given, "kind": FaultKind(given["kind"])})
                for given in body["faults"]
            )
        )
        return {"set": len(self._sandbox.faults.faults)}

    def set_clock(self, body: Body) -> Body:
        """{"now": instant} or {"advance": seconds}, and {"rate": how fast it runs}."""
        clock = self._sandbox.clock
        if "now" in body:
            clock.set(instant(body["now"]))
        if "advance" in body:
            clock.advance(timedelta(seconds=float(body["advance"])))
        if "rate" in body:
            clock.run(float(body["rate"]))
        self._sandbox.catch_up()
        return {"now": clock.now().isoformat()}

    def create(self, body: Body) -> Body:
        """{"table", "values", "at"?}"""
        key = self._sandbox.vendor.create(body["table"], body["values"], self._at(body))
        return {"key": key}

    def edit(self, body: Body) -> Body:
        """{"table", "key", "values", "at"?}, or {"count": changes of the sandbox's own choice}, or
        {"perSecond": how many from now on}.
        """
        sandbox = self._sandbox
        if "perSecond" in body:
            sandbox.edits_per_second = float(body["perSecond"])
        if "count" in body:
            for _ in range(int(body["count"])):
                sandbox.vendor.touch(self._at(body))
        if "table" in body:
            sandbox.vendor.edit(body["table"], body["key"], body["values"], self._at(body))
        return {"changes": len(sandbox.stage.changes)}

    def delete(self, body: Body) -> Body:
        """{"table", "keys", "at"?}"""
        for key in body["keys"]:
            self._sandbox.vendor.delete(body["table"], key, self._at(body))
        return {"changes": len(self._sandbox.stage.changes)}

    def set_outage(self, body: Body) -> Body:
        """{"from"?, "to"?, "seconds"?, "kind"?}: from now for so long when no instants are given;
        {"clear": true} ends all.
        """
        if body.get("clear"):
            self._sandbox.outages.clear()
            return {"outages": 0}
        start = instant(body["from"]) if "from" in body else self._sandbox.clock.now()
        seconds = timedelta(seconds=float(body.get("seconds", 3600)))
        end = instant(body["to"]) if "to" in body else start + seconds
        kind = FaultKind(body.get("kind", FaultKind.ERROR_503))
        self._sandbox.outages.append(Outage(start, end, kind))
        return {"from": start.isoformat(), "to": end.isoformat()}

    def reset(self, _: Body) -> Body:
        """Counters to zero, no faults, no outages. Data stay."""
        self._sandbox.traffic.clear()
        self._sandbox.faults.set()
        self._sandbox.faults.applied.clear()
        self._sandbox.outages.clear()
        return {}

    def _at(self, body: Body) -> datetime:
        return instant(body["at"]) if "at" in body else self._sandbox.clock.now()


def instant(text: str) -> datetime:
    """An ISO 8601 instant; one without a zone is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _getting(act: Callable[[Request], Body]) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        return _tried(lambda: act(request))

    return handler


def _posting(act: Callable[[Body], Body]) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        raw = await request.body()
        body = (await request.json()) if raw else {}
        return _tried(lambda: act(body))

    return handler


def _tried(act: Callable[[], Body]) -> Response:
    try:
        return JSONResponse(act())
    except (ValueError, KeyError, TypeError) as error:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=400)

"""The ASGI app around a vendor: outages, faults, edits that are due, the vendor's clock and counters."""

import asyncio
from datetime import timedelta
from email.utils import format_datetime

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubblewave_pipelines.sandboxes import control
from hubblewave_pipelines.sandboxes.faults import ANSWERS, CONNECTION, Fault, FaultKind, FaultPlan
from hubblewave_pipelines.sandboxes.traffic import Asked, Traffic
from hubblewave_pipelines.sandboxes.vendor import Outage, Vendor

_MOST_EDITS = 10_000  # due at once, after a long sleep of a laptop or a jump of the clock


class Sandbox:
    """One running stand-in: what tests hold, and what the server calls."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.stage = vendor.stage
        self.clock = vendor.clock
        self.faults = FaultPlan(vendor.options.seed)
        self.faults.set(*vendor.options.faults)
        self.traffic = Traffic()
        self.outages: list[Outage] = list(vendor.options.outages)
        self.edits_per_second = vendor.options.edits_per_second
        self._edited_until = self.clock.now()
        self._vendor: ASGIApp = Starlette(
            routes=list(vendor.routes()), exception_handlers=dict(vendor.errors())
        )
        self._control: ASGIApp = Starlette(routes=control.routes(self))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.catch_up()
        if scope["path"] == "/__sandbox" or scope["path"].startswith("/__sandbox/"):
            await self._control(scope, receive, send)
            return
        asked = self.traffic.begin(
            self.clock.now(),
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
        )
        try:
            await self._answer(scope, receive, send, self._fault(scope["path"]), asked)
        finally:
            endpoint = scope.get("endpoint")
            asked.operation = getattr(endpoint, "__name__", "")
            self.traffic.end(asked)

    def catch_up(self) -> None:
        """Make the changes that were due since the last request, each at its own instant."""
        with self.stage.lock:
            self.stage.settle()
            now = self.clock.now()
            if self.edits_per_second > 0:
                step = timedelta(seconds=1 / self.edits_per_second)
                self._edited_until = max(self._edited_until, now - step * _MOST_EDITS)
                while self._edited_until + step <= now:
                    self._edited_until += step
                    self.vendor.touch(self._edited_until)
            else:
                self._edited_until = now

    def _fault(self, path: str) -> Fault | None:
        now = self.clock.now()
        chosen = self.faults.next(path)
        out = next((outage for outage in self.outages if outage.start <= now < outage.end), None)
        return Fault(out.kind) if out is not None else chosen

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, fault: Fault | None, asked: Asked
    ) -> None:
        outgoing = _Outgoing(send, self, asked)
        kind = None if fault is None else fault.kind
        if fault is None or kind is None:
            await self._vendor(scope, receive, outgoing)
            return
        scope["hubblewave.fault"] = fault
        known = kind in CONNECTION or kind in ANSWERS or kind is FaultKind.SLOW
        if kind in (FaultKind.REFUSE, FaultKind.RESET_BEFORE):
            await _hang_up(send)
        elif kind in ANSWERS:
            response = self.vendor.refusal(fault, scope["path"])
            await _all_of(receive)
            await response(scope, receive, outgoing)
        elif kind is FaultKind.RESET_AFTER:
            await self._vendor(scope, receive, _swallow)
            await _hang_up(send)
        elif kind is FaultKind.TRUNCATE:
            outgoing.cut = True
            await self._vendor(scope, receive, outgoing)
        elif kind is FaultKind.SLOW:
            await asyncio.sleep(fault.seconds)
            await self._vendor(scope, receive, outgoing)
        else:
            await self._vendor(scope, receive, outgoing)
        if known or scope.get("hubblewave.applied"):
            asked.fault = kind.value
            self.faults.applied[kind.value] += 1


class _Outgoing:
    """The vendor's answer on its way: dated by the sandbox's clock, and cut in half on demand."""

    def __init__(self, send: Send, sandbox: Sandbox, asked: Asked) -> None:
        self._send = send
        self._sandbox = sandbox
        self._asked = asked
        self._gone = False
        self.cut = False

    async def __call__(self, message: Message) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._asked.status = message["status"]
            date = format_datetime(self._sandbox.clock.now(), usegmt=True)
            message["headers"] = [*message.get("headers", ()), (b"date", date.encode())]
        elif self.cut:
            body = message.get("body", b"")
            half = body[: len(body) // 2]
            await self._send({"type": "http.response.body", "body": half, "more_body": True})
            await _hang_up(self._send)
            self._gone = True
            return
        await self._send(message)


async def _swallow(_: Message) -> None:
    """An answer that nobody gets."""


async def _all_of(receive: Receive) -> None:
    """Read the request's body to its end: a client that still sends would see a reset instead."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


async def _hang_up(send: Send) -> None:
    """End the connection as it is. uvicorn's `send` is a method of the object that holds it."""
    cycle = send.__self__  # type: ignore[attr-defined]
    cycle.transport.abort()
    while not cycle.disconnected:
        await asyncio.sleep(0)

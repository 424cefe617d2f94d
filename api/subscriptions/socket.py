"""WebSocket /graphql: one connection from its handshake to its close code.

Three tasks: this one receives, one sends, one keeps the time; each operation has its own.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from graphql import OperationType
from starlette.requests import Request
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.context import Platform, credential, opened
from api.graphql.endpoint import asked_of
from api.graphql.execution import Asked, execute, kind_of, operation_request
from api.graphql.refusals import errors_of
from api.graphql.subscription import Subscribed, subscribed
from api.lists import cursor_secret
from api.subscriptions import protocol
from api.subscriptions.admission import admits_origin, credentials
from api.subscriptions.follower import Follower
from api.subscriptions.gauges import CLOSED
from api.subscriptions.outbox import Lane, Outbox
from api.subscriptions.protocol import Answer, Authorise, Close, Code, Conversation, Start, Stop
from hubblewave_pipelines.core.entity import Catalog, Json
from hubblewave_pipelines.core.errors import (
    Forbidden,
    PlatformError,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from hubblewave_pipelines.core.identity import ApiKey
from hubblewave_pipelines.storage.record_events import select_now
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.tenants import Principal

PING_SECONDS = 20.0
INIT_SECONDS = 10.0
_TURN = 16  # messages
_log = structlog.get_logger("api")


class _Closing(Exception):
    """The platform ends the connection."""

    def __init__(self, close: Close) -> None:
        super().__init__(close.reason)
        self.close = close


@dataclass(eq=False)
class _Operation:
    lane: Lane
    task: asyncio.Task[None] | None = None
    follower: Follower | None = None


@dataclass(eq=False)
class Socket:
    """One connection; `key` and `principal` are known from connection_init on."""

    websocket: WebSocket
    held: Platform
    conversation: Conversation = field(default_factory=Conversation)
    outbox: Outbox = field(default_factory=Outbox)
    _key: ApiKey | None = None
    principal: Principal | None = None
    _operations: dict[str, _Operation] = field(default_factory=dict)
    _ending: asyncio.Future[Close] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def key(self) -> ApiKey:
        if self._key is None:
            raise AssertionError("a socket is registered once its key is known")
        return self._key

    @property
    def tenant_id(self) -> UUID:
        if self.principal is None:
            raise AssertionError("a socket is registered once its key is known")
        return self.principal.tenant_id

    def revoke(self) -> None:
        self._end(Code.FORBIDDEN, "Forbidden: the API key was revoked, has expired or cannot read")

    def _end(self, code: Code, reason: str) -> None:
        if not self._ending.done():
            self._ending.set_result(protocol.close(code, reason))

    async def run(self) -> Code | None:
        """Until either side ends it; the code with which we closed, None when the client went."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._receive(), self._send(), self._keep_time(), self._ended())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            closing = self._closing(done)
        finally:
            running = [*tasks, *(o.task for o in self._operations.values() if o.task is not None)]
            for operation in self._operations.values():
                self._stop(operation)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if self._key is not None:
                self.held.sockets.forget(self)
        if closing is None:
            return None
        CLOSED.labels(str(int(closing.code))).inc()
        await self.websocket.close(int(closing.code), closing.reason)
        return closing.code

    async def _ended(self) -> None:
        raise _Closing(await self._ending)

    def _closing(self, done: set[asyncio.Task[None]]) -> Close | None:
        for task in done:
            match task.exception():
                case None:
                    continue
                case _Closing() as closing:
                    return closing.close
                case WebSocketDisconnect() | RuntimeError() | OSError():
                    return None  # the client went; sending to it found that out
                case error:
                    _log.error("socket", exc_info=error)
                    return protocol.close(Code.FAILED, "Internal server error")
        return None

    async def _send(self) -> None:
        for sent in itertools.count(1):
            if sent % _TURN == 0:  # a send that finds room lets nobody else run
                await asyncio.sleep(0)
            text, ended = await self.outbox.take()
            if ended is not None:
                self._operations.pop(ended.operation, None)
                if not self.conversation.ended(ended.operation):
                    continue
            await self.websocket.send_text(text)

    async def _keep_time(self) -> None:
        await asyncio.sleep(INIT_SECONDS)
        silence = self.conversation.silence()
        if silence is not None:
            raise _Closing(silence)
        while True:
            await asyncio.sleep(PING_SECONDS)
            await self.outbox.answer(protocol.ping())

    async def _receive(self) -> None:
        limit = self.held.settings.websocket_message_bytes
        while True:
            message = await self.websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                raise _Closing(protocol.close(Code.BAD_REQUEST, "Invalid message: it is binary"))
            if len(text) > limit or len(text) * 4 > limit < len(text.encode()):
                raise _Closing(protocol.close(Code.TOO_BIG, f"A message has at most {limit} bytes"))
            match self.conversation.receive(text):
                case Answer(answer):
                    await self.outbox.answer(answer)
                case Authorise(payload):
                    await self._authorise(payload)
                case Start() as start:
                    await self._start(start)
                case Stop(operation):
                    stopped = self._operations.pop(operation, None)
                    if stopped is not None:
                        self._stop(stopped)
                case Close() as close:
                    raise _Closing(close)

    async def _authorise(self, payload: Mapping[str, Json]) -> None:
        try:
            given = credentials(payload, self.websocket.headers)
            self._key = credential(given)
            request = operation_request(
                self.websocket.scope, api_key=self._key.text, request_id=uuid.uuid4().hex
            )
            async with opened(request, "read") as context:
                self.principal, catalog = context.principal, context.catalog
        except (Unauthenticated, Forbidden) as refused:
            self._key = None
            raise _Closing(protocol.close(Code.FORBIDDEN, f"Forbidden: {refused.detail}")) from None
        except (RateLimited, Unavailable) as refused:
            self._key = None
            raise _Closing(protocol.close(Code.TRY_LATER, refused.detail)) from None
        if not self.held.sockets.register(self):
            self._key = None
            raise _Closing(
                protocol.close(Code.TRY_LATER, "This tenant has too many sockets on this server")
            )
        await self.outbox.answer(self.conversation.acknowledge({"schemaVersion": catalog.version}))

    async def _start(self, start: Start) -> None:
        """Begin an operation. A subscription is live when this returns: whatever is committed
        afterwards will be told, so a client whose next ping is answered can rely on it."""
        operation = _Operation(Lane(start.id, protocol.next_start(start.id)))
        self._operations[start.id] = operation
        request_id = uuid.uuid4().hex
        try:
            most = self.held.settings.websocket_operations
            if len(self._operations) > most:
                raise RateLimited(f"A connection runs at most {most} operations at a time.")
            request = operation_request(
                self.websocket.scope, api_key=self.key.text, request_id=request_id
            )
            asked = await asked_of(request, start.payload)
            if kind_of(asked) is OperationType.SUBSCRIPTION:
                follower, catalog = await self._follower(request, asked, operation)
                work: Coroutine[Any, Any, None] = self.held.hub.follow(follower, catalog)
            else:
                work = self._answer(request, asked, operation)
        except PlatformError as refused:
            self._refuse(operation, refused, request_id)
            return
        operation.task = asyncio.create_task(work)
        operation.task.add_done_callback(partial(self._over, operation, request_id))

    def _over(self, operation: _Operation, request_id: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, PlatformError):
            _log.error("unexpected", request_id=request_id, exc_info=error)
            error = PlatformError("The platform failed; its log has more.")
        self._refuse(operation, error, request_id)

    def _refuse(self, operation: _Operation, error: PlatformError, request_id: str) -> None:
        if operation.follower is not None:
            operation.follower.fail(error)
            return
        errors = errors_of(error, request_id)
        self.outbox.finish(operation.lane, protocol.error(operation.lane.operation, errors))

    async def _answer(self, request: Request, asked: Asked, operation: _Operation) -> None:
        """A query or mutation: the same as over HTTP."""
        with refusing():
            response = await execute(request, asked)
        self.outbox.push(operation.lane, bytes(response.body).decode())
        self.outbox.finish(operation.lane, protocol.complete(operation.lane.operation))

    async def _follower(
        self, request: Request, asked: Asked, operation: _Operation
    ) -> tuple[Follower, Catalog]:
        """A subscription, with the place it begins at."""
        async with opened(request, "read") as context:
            secret, engine = cursor_secret(request, context.principal), self.held.graphql

            def compiled(catalog: Catalog) -> Subscribed:
                found = engine.operation(catalog, asked.query, asked.operation_name)
                return subscribed(found, asked.given, secret=secret)

            follower = Follower(
                compiled,
                context.catalog,
                context.principal,
                self.outbox,
                operation.lane,
                context.request_id,
            )
            if follower.place is None:
                now = await context.tx.one(select_now())
                if now is None:
                    raise AssertionError("there is always a snapshot")
                follower.begin(now.place, now.snapshot)
        operation.follower = follower
        return follower, context.catalog

    def _stop(self, operation: _Operation) -> None:
        if operation.follower is not None:
            operation.follower.stop()
        else:
            self.outbox.close(operation.lane)
        if operation.task is not None and operation.follower is None:
            operation.task.cancel()


async def graphql_socket(websocket: WebSocket) -> None:
    """One connection to WebSocket /graphql."""
    held: Platform = websocket.app.state.platform
    if not admits_origin(websocket.headers, held.settings):
        await websocket.close(int(Code.FORBIDDEN))  # before it is accepted: status 403
        return
    if protocol.SUBPROTOCOL not in websocket.scope.get("subprotocols", ()):
        await websocket.accept()
        CLOSED.labels(str(int(Code.SUBPROTOCOL))).inc()
        await websocket.close(int(Code.SUBPROTOCOL), "Subprotocol not acceptable")
        return
    await websocket.accept(protocol.SUBPROTOCOL)
    started, socket = time.perf_counter(), Socket(websocket, held)
    code = await socket.run()
    principal = socket.principal
    _log.info(
        "socket",
        code=None if code is None else int(code),
        ms=round((time.perf_counter() - started) * 1000, 2),
        tenant=principal.tenant_slug if principal is not None else None,
        actor=str(principal.actor_id) if principal is not None else None,
    )

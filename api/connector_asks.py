"""Checking a connector and discovering its streams: asked of a run, waited for a while, kept for later."""

import asyncio
import time
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.body import JsonAnswer
from api.connectors_shown import ask_json, find_connector
from api.context import Administering, Caller, caller, platform, transaction
from api.launching import launch
from api.preferences import preferred_wait
from hubblewave_pipelines.core.asset_keys import connector_key
from hubblewave_pipelines.core.errors import Conflict, NotFound
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.storage import connector_asks, work
from hubblewave_pipelines.storage.connector_asks import Ask

router = APIRouter(prefix="/connectors")
Owner = Annotated[Caller, Depends(caller("admin"))]

_WAIT, _LONGEST_WAIT = 10.0, 60.0  # seconds
_LOOK = 0.1  # seconds between looks at the row, growing to ten times that
_FRESH = timedelta(days=1)


@router.post("/{connector_id:uuid}/check")
async def check_connector(connector_id: UUID, found: Owner, request: Request) -> Response:
    """Ask the system whether everything is right: reachable, credentials, permissions, clock, quota.

    Answers 200 with the report as `result`, or 202 when that takes longer than `Prefer: wait=N`
    seconds (10, at most 60); the same address as in `Location` has it then.
    """
    refuse_parameters(request.query_params.multi_items())
    return await _asked(connector_id, found, request, "check", None)


@router.get("/{connector_id:uuid}/discover")
async def discover_connector(connector_id: UUID, found: Owner, request: Request) -> Response:
    """The streams of the system, or one with its fields (`?stream=`); `refresh=true` asks the system
    even when the last answer is younger than a day."""
    given = Given.of_address(request.query_params.multi_items())
    given.only(("stream", "refresh"))
    stream = given.text("stream")
    if stream is not None and not 0 < len(stream) <= 200:
        given.fault("stream", "length", "must have from 1 to 200 characters")
    if (refresh := given.text("refresh")) not in (None, "true", "false"):
        given.fault("refresh", "type", "must be true or false")
    given.done()
    if refresh != "true":
        async with transaction(request, found) as context:
            connector = await find_connector(context, connector_id)
            kept = connector_asks.found_lately(
                connector.tenant_id, connector.id, "discover", stream, _FRESH
            )
            ask = await context.tx.one(kept)
        if ask is not None:
            return JsonAnswer(ask_json(ask, platform(request)))
    return await _asked(connector_id, found, request, "discover", stream)


@router.get("/{connector_id:uuid}/asks/{ask_id:uuid}")
async def get_ask(
    connector_id: UUID, ask_id: UUID, context: Administering, request: Request
) -> Response:
    """A check or a discovery: how it stands, and what it found."""
    refuse_parameters(request.query_params.multi_items())
    ask = await context.tx.one(connector_asks.ask_by_id(context.principal.tenant_id, ask_id))
    if ask is None or ask.connector_id != connector_id:
        raise NotFound(f"There is no check or discovery {ask_id} of this connector.")
    return JsonAnswer(ask_json(ask, platform(request)))


async def _asked(
    connector_id: UUID, found: Caller, request: Request, kind: str, stream: str | None
) -> Response:
    held, principal = platform(request), found.principal
    until = time.monotonic() + preferred_wait(request.headers, usual=_WAIT, most=_LONGEST_WAIT)
    asked = None
    async with transaction(request, found) as context:
        connector = await find_connector(context, connector_id, locked=True)
        if connector.status == "inactive":
            raise Conflict("The connector is inactive: activate it first.")
        ask = await context.tx.one(
            connector_asks.open_ask(principal.tenant_id, connector.id, kind, stream)
        )
        if ask is None:
            ask = await context.tx.one(
                connector_asks.insert_ask(
                    principal.tenant_id, connector.id, kind, stream, principal.actor_id
                )
            )
            assert ask is not None
            key = connector_key(principal.tenant_slug, connector.id)
            asked = await context.tx.one(
                work.insert_request(principal.tenant_id, kind, ask.id, key, principal.actor_id)
            )
    if asked is not None:
        await launch(held, asked)
    ask = await _awaited(request, found, ask, until)
    headers = {"Location": f"/api/v1/connectors/{connector_id}/asks/{ask.id}"}
    return JsonAnswer(ask_json(ask, held), 200 if ask.over else 202, headers)


async def _awaited(request: Request, found: Caller, ask: Ask, until: float) -> Ask:
    """The ask once it is over, or as it is when the time is. Holds no connection while it waits."""
    pause = _LOOK
    while not ask.over and time.monotonic() < until:
        await asyncio.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 1.3, 10 * _LOOK)
        async with transaction(request, found) as context:
            now = await context.tx.one(connector_asks.ask_by_id(ask.tenant_id, ask.id))
        if now is None:
            raise NotFound("The connector was removed meanwhile.")
        ask = now
    return ask

"""/api/v1/webhooks/{id}/deliveries and /replays: what was sent, every attempt, and sending it again."""

import json
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Administering
from api.webhook_sending import moment
from api.webhooks_shown import (
    attempt_json,
    delivery_json,
    find_webhook,
    replay_json,
)
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Conflict, Fault, Invalid, MalformedRequest, NotFound
from hubblewave_pipelines.core.parameters import parse_paging
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.delivery.message import body_of
from hubblewave_pipelines.storage import deliveries, delivery_log, replays
from hubblewave_pipelines.storage.delivery_log import STATUSES

router = APIRouter(prefix="/webhooks")


@router.get("/deliveries/{delivery_id:uuid}")
async def get_delivery(delivery_id: UUID, context: Administering) -> Response:
    """One delivery: its payload while that is kept, and every attempt with request and answer."""
    tenant_id = context.principal.tenant_id
    found = await context.tx.one(delivery_log.delivery_by_id(tenant_id, delivery_id))
    if found is None:
        raise NotFound(f"There is no delivery {delivery_id}.")
    delivery, data = found
    attempts = await context.tx.all(delivery_log.attempts_of(tenant_id, delivery_id))
    payload = None
    if data is not None:
        body = body_of(delivery.type, data, delivery.occurred_at, delivery.webhook_id)
        payload = json.loads(body)
    return JsonAnswer(
        {
            **delivery_json(delivery),
            "payload": payload,
            "attemptList": [attempt_json(attempt) for attempt in attempts],
        }
    )


@router.get("/deliveries/{delivery_id:uuid}/attempts")
async def list_attempts(delivery_id: UUID, context: Administering, request: Request) -> Response:
    """The attempts of a delivery in order: request, answer (16 KiB of it), timing and reason."""
    paging = parse_paging(request.query_params.multi_items())
    tenant_id = context.principal.tenant_id
    if await context.tx.one(delivery_log.delivery_by_id(tenant_id, delivery_id)) is None:
        raise NotFound(f"There is no delivery {delivery_id}.")
    found = await context.tx.all(delivery_log.attempts_of(tenant_id, delivery_id))
    shown = found[paging.offset : paging.offset + paging.size]
    return JsonAnswer(
        {"items": [attempt_json(a) for a in shown], "pageInfo": paging.page_info(len(found))}
    )


@router.post("/deliveries/{delivery_id:uuid}/redeliver")
async def redeliver(delivery_id: UUID, context: Administering) -> Response:
    """Send a delivery's event again: a new delivery with the same `webhook-id`, signed with the
    secret of now. It counts for no statistics."""
    tenant_id = context.principal.tenant_id
    found = await context.tx.one(delivery_log.delivery_by_id(tenant_id, delivery_id))
    if found is None:
        raise NotFound(f"There is no delivery {delivery_id}.")
    old = found[0]
    made = await context.tx.one(
        deliveries.redeliver(tenant_id, old.webhook_id, old.event_id, old.occurred_at)
    )
    if made is None:
        raise Conflict("The event, or the webhook, is kept no longer.")
    again = await context.tx.one(delivery_log.delivery_by_id(tenant_id, made))
    if again is None:
        raise Conflict("The new delivery was removed meanwhile.")
    return JsonAnswer(
        delivery_json(again[0]), 202, {"Location": f"/api/v1/webhooks/deliveries/{made}"}
    )


@router.get("/{webhook_id:uuid}/deliveries")
async def list_deliveries(webhook_id: UUID, context: Administering, request: Request) -> Response:
    """A webhook's deliveries, newest first; `status` chooses among them."""
    given = request.query_params.multi_items()
    paging = parse_paging(given, "status")
    status = request.query_params.get("status")
    if status is not None and status not in STATUSES:
        fault = Fault("enum", f"must be one of {', '.join(STATUSES)}", parameter="status")
        raise MalformedRequest("The status is unknown.", faults=[fault])
    webhook = await find_webhook(context, webhook_id)
    tenant_id = context.principal.tenant_id
    total = await context.tx.one(delivery_log.count_deliveries(tenant_id, webhook.id, status)) or 0
    found = await context.tx.all(
        delivery_log.deliveries_of(
            tenant_id, webhook.id, status, limit=paging.size, offset=paging.offset
        )
    )
    return JsonAnswer(
        {"items": [delivery_json(d) for d in found], "pageInfo": paging.page_info(total)}
    )


@router.post("/{webhook_id:uuid}/replays")
async def create_replay(webhook_id: UUID, context: Administering, request: Request) -> Response:
    """Send what happened `since` a time again, or with `onlyMissing` what was never delivered.

    `{"since", "until"?, "events"?: [...], "onlyMissing"?, "dryRun"?}`; a dry run counts.
    """
    webhook = await find_webhook(context, webhook_id)
    now = await context.tx.one(delivery_log.clock())
    if now is None:
        raise Conflict("The database has no clock.")
    since, until, types, missing, dry = _wanted(await read_json(request), now)
    tenant_id = context.principal.tenant_id
    if dry:
        count = await context.tx.one(
            replays.count_events(tenant_id, webhook.id, since, until, types, only_missing=missing)
        )
        return JsonAnswer({"dryRun": True, "events": count or 0})
    made = await context.tx.one(
        replays.insert_replay(
            tenant_id,
            webhook.id,
            since,
            until,
            types,
            only_missing=missing,
            requested_by=context.principal.actor_id,
        )
    )
    if made is None:
        raise Conflict("The replay was not stored; ask again.")
    where = f"/api/v1/webhooks/{webhook.id}/replays/{made.id}"
    return JsonAnswer(replay_json(made), 202, {"Location": where})


def _wanted(body: Json, now: datetime) -> tuple[datetime, datetime, list[str] | None, bool, bool]:
    if not isinstance(body, dict):
        raise Invalid("The body must be an object.", faults=[Fault("type", "an object", "#")])
    reading = Reading()
    reading.keys(body, ("since", "until", "events", "onlyMissing", "dryRun"), "#")
    since, until = moment(reading, body, "since"), moment(reading, body, "until")
    if body.get("since") is None:
        reading.fault("#/since", "required", "since is required")
    if since is not None and since >= (until or now):
        reading.fault("#/since", "range", "since must be before until, and in the past")
    types = body.get("events")
    if types is not None and not (
        isinstance(types, list) and types and all(isinstance(t, str) for t in types)
    ):
        reading.fault("#/events", "type", "events must be a list of event types")
    missing, dry = reading.flag(body, "onlyMissing", "#"), reading.flag(body, "dryRun", "#")
    if reading.faults or since is None:
        raise Invalid("The replay cannot be made.", faults=reading.faults)
    chosen = None if types is None else [t.lower() for t in types]
    return since, min(until or now, now), chosen, missing, dry


@router.get("/{webhook_id:uuid}/replays")
async def list_replays(webhook_id: UUID, context: Administering, request: Request) -> Response:
    """A webhook's replays, newest first."""
    paging = parse_paging(request.query_params.multi_items())
    webhook = await find_webhook(context, webhook_id)
    tenant_id = context.principal.tenant_id
    total = await context.tx.one(replays.count_replays(tenant_id, webhook.id)) or 0
    found = await context.tx.all(
        replays.replays_of(tenant_id, webhook.id, paging.size, paging.offset)
    )
    return JsonAnswer(
        {"items": [replay_json(r) for r in found], "pageInfo": paging.page_info(total)}
    )


@router.get("/{webhook_id:uuid}/replays/{replay_id:uuid}")
async def get_replay(webhook_id: UUID, replay_id: UUID, context: Administering) -> Response:
    """How far a replay is."""
    return JsonAnswer(await _replay(webhook_id, replay_id, context))


@router.post("/{webhook_id:uuid}/replays/{replay_id:uuid}/cancel")
async def cancel_replay(webhook_id: UUID, replay_id: UUID, context: Administering) -> Response:
    """Stop a replay; of its deliveries those that wait are forgotten."""
    await _replay(webhook_id, replay_id, context)
    for step in replays.cancel_replay(context.principal.tenant_id, replay_id):
        await context.tx.run(step)
    return JsonAnswer(await _replay(webhook_id, replay_id, context))


async def _replay(webhook_id: UUID, replay_id: UUID, context: Administering) -> dict[str, Json]:
    webhook = await find_webhook(context, webhook_id)
    found = await context.tx.one(
        replays.replay_by_id(context.principal.tenant_id, webhook.id, replay_id)
    )
    if found is None:
        raise NotFound(f"There is no replay {replay_id}.")
    return replay_json(found)

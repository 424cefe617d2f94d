"""/api/v1/webhooks/{id}/test, /enable, /disable: trying a webhook, and switching it on and off."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import platform, transaction
from api.webhooks import Owner, answer, capture_events, verify
from api.webhooks_shown import find_webhook
from hubblewave_pipelines.core.entity import Field, FieldKind, Json
from hubblewave_pipelines.core.errors import Conflict, Fault, Invalid
from hubblewave_pipelines.core.event_types import FIXED
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.values import Refused, from_json
from hubblewave_pipelines.delivery.message import open_endpoint
from hubblewave_pipelines.delivery.probe import Tested, send_test
from hubblewave_pipelines.storage import delivery_log, webhooks
from hubblewave_pipelines.storage.delivery_log import TestRow
from hubblewave_pipelines.storage.endpoints import endpoint

router = APIRouter(prefix="/webhooks")
_SINCE = Field(id="since", name="since", kind=FieldKind.DATETIME)
_REDRIVES = ("all", "since", "none")


async def _optional_body(request: Request, *known: str) -> tuple[dict[str, Json], Reading]:
    body = await read_json(request) if await request.body() else {}
    if not isinstance(body, dict):
        raise Invalid("The body must be an object.", faults=[Fault("type", "an object", "#")])
    reading = Reading()
    reading.keys(body, known, "#")
    return body, reading


def moment(reading: Reading, body: dict[str, Json], key: str) -> datetime | None:
    """A time in a body. Faults go to `reading`."""
    if body.get(key) is None:
        return None
    try:
        found = from_json(_SINCE, body[key])
    except Refused as refused:
        reading.fault(f"#/{key}", refused.code, refused.detail)
        return None
    return found if isinstance(found, datetime) else None


@router.post("/{webhook_id:uuid}/test")
async def test_webhook(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Send a test message now, transformed and signed as any other, and say what came of it.

    `{"event": "import.completed"}` sends the example of that type. It counts for no statistics.
    """
    body, reading = await _optional_body(request, "event", "data")
    name = reading.text(body, "event", "#", longest=200)
    sample = next((event for event in FIXED if event.name == name), None)
    data = body.get("data", {"message": "This is a test webhook delivery"})
    if sample is not None and "data" not in body:
        data = dict(sample.example)
    if not isinstance(data, dict):
        reading.fault("#/data", "type", "data must be an object")
    if reading.faults:
        raise Invalid("The test cannot be sent.", faults=reading.faults)
    held, tenant_id = platform(request), found.principal.tenant_id
    async with transaction(request, found) as context:
        webhook = await find_webhook(context, webhook_id)
        sealed = await context.tx.one(endpoint(webhook.id))
        now = await context.tx.one(delivery_log.clock())
    if sealed is None or now is None:
        raise Conflict("The webhook was removed meanwhile.")
    opened = open_endpoint(sealed, held.secrets.envelope)
    tested = await send_test(
        held.outbound, held.transforms, opened, now, event=name or "test", data=data
    )
    # What an unverified address answers is nobody's to read.
    readable = webhook.verified_at is not None
    row = _row(tested, name or "test", now, readable=readable)
    async with transaction(request, found) as context:
        for step in delivery_log.log_test(tenant_id, webhook.id, row):
            await context.tx.run(step)
    return JsonAnswer(_tested(tested, row))


def _row(tested: Tested, event: str, now: datetime, *, readable: bool) -> TestRow:
    posted = tested.posted
    error = None if posted is None or posted.error_class is None else posted.error_class.value
    return TestRow(
        id=tested.delivery_id,
        event_id=tested.event_id,
        type=event,
        started_at=now,
        success=posted is not None and posted.ok,
        reason="transform_failed" if posted is None else error,
        status=None if posted is None else posted.status,
        error_class=tested.reason if posted is None else error,
        detail=tested.detail if posted is None else posted.detail,
        duration_ms=0 if posted is None else posted.duration_ms,
        request_headers=dict(tested.headers),
        response_headers=posted.headers if posted is not None and readable else None,
        response_body=posted.body if posted is not None and readable else None,
    )


def _tested(tested: Tested, row: TestRow) -> dict[str, Any]:
    return {
        "success": row.success,
        "deliveryId": row.id,
        "statusCode": row.status,
        "responseTime": row.duration_ms,
        "errorClass": row.error_class,
        "detail": row.detail,
        "request": {"headers": row.request_headers, "body": tested.body.decode()},
        "response": {"headers": row.response_headers, "body": row.response_body},
    }


@router.post("/{webhook_id:uuid}/enable")
async def enable_webhook(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Send again to a webhook that is inactive, disabled or unverified.

    `redrive` says what becomes of the deliveries it held meanwhile: `all` (default), those of events
    `since` a time, or `none`. After a disabling the first delivery goes alone, as a probe.
    """
    body, reading = await _optional_body(request, "redrive", "since")
    redrive = "all"
    if body.get("redrive") is not None:
        redrive = reading.choice(body, "redrive", "#", _REDRIVES) or "all"
    since = moment(reading, body, "since")
    if redrive == "since" and since is None and not reading.faults:
        reading.fault("#/since", "required", "since is required with redrive=since")
    if reading.faults:
        raise Invalid("The webhook cannot be enabled.", faults=reading.faults)
    tenant_id = found.principal.tenant_id
    async with transaction(request, found) as context:
        before = await find_webhook(context, webhook_id)
    await capture_events(request, tenant_id, *before.events)
    verdict = await verify(request, found, before.id) if before.verified_at is None else None
    async with transaction(request, found) as context:
        await find_webhook(context, webhook_id, locked=True)
        await context.tx.run(webhooks.enable(tenant_id, before.id))
        probe = before.disabled_at is not None
        await context.tx.run(webhooks.fresh_start(tenant_id, before.id, probe=probe))
        if redrive != "none":
            after = since if redrive == "since" else None
            await context.tx.run(webhooks.release_held(tenant_id, before.id, after))
        await context.tx.run(webhooks.cancel_held(tenant_id, before.id))
    return await answer(request, found, before.id, verdict)


@router.post("/{webhook_id:uuid}/disable")
async def disable_webhook(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Send nothing more; what waits is held until somebody enables the webhook."""
    tenant_id = found.principal.tenant_id
    async with transaction(request, found) as context:
        before = await find_webhook(context, webhook_id, locked=True)
        await context.tx.run(webhooks.update_webhook(tenant_id, before.id, {"active": False}))
        await context.tx.run(webhooks.hold_deliveries(tenant_id, before.id))
    await capture_events(request, tenant_id)
    return await answer(request, found, before.id)

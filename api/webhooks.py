"""/api/v1/webhooks: a tenant's webhooks. A secret is shown once, in the answer that makes it."""

import asyncio
import hashlib
import json
import uuid
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Administering, Caller, Context, caller, platform, transaction
from api.idempotency import REPLAYED, fingerprint, idempotency_key, once
from api.webhooks_shown import find_webhook, shown
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Conflict, Fault, Invalid, TransformFailed
from hubblewave_pipelines.core.event_types import sample_of
from hubblewave_pipelines.core.parameters import parse_paging
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.signature import new_secret, secret_fault
from hubblewave_pipelines.core.webhook import WebhookWish, parse_webhook
from hubblewave_pipelines.delivery.message import open_endpoint
from hubblewave_pipelines.delivery.probe import Verdict, challenge
from hubblewave_pipelines.storage import capture, delivery_log, webhooks
from hubblewave_pipelines.storage.endpoints import endpoint
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.webhooks import Webhook

router = APIRouter(prefix="/webhooks")
Owner = Annotated[Caller, Depends(caller("admin"))]  # for what needs several transactions

_PREFIX_SHOWN = 10
_OVERLAP_HOURS, _LONGEST_OVERLAP = 24, 168


async def capture_events(request: Request, tenant_id: UUID, *events: str) -> None:
    """Have the tables of entities that webhooks (and `events`) ask for write events, no others."""
    with refusing():
        await asyncio.to_thread(capture.capture, platform(request).owner, tenant_id, events)


async def check_transform(request: Request, tenant_id: UUID, wish: WebhookWish) -> None:
    """Compile a transform and run it on a sample. Raises TransformFailed with its place."""
    if wish.transform is None:
        return
    sample = json.dumps(sample_of(wish.events)).encode()
    try:
        await platform(request).transforms.check(wish.transform, sample, tenant=str(tenant_id))
    except TransformFailed as error:
        fault = Fault(str(error.context.get("reason", "error")), error.detail, "#/transform")
        raise TransformFailed(error.detail, faults=[fault]) from error


async def verify(request: Request, found: Caller, webhook_id: UUID) -> Verdict:
    """Challenge the receiver, and note it when it answers well."""
    held = platform(request)
    async with transaction(request, found) as context:
        sealed = await context.tx.one(endpoint(webhook_id))
        now = await context.tx.one(delivery_log.clock())
    if sealed is None or now is None:
        raise Conflict("The webhook was removed meanwhile.")
    verdict = await challenge(held.outbound, open_endpoint(sealed, held.secrets.envelope), now)
    if verdict.verified:
        async with transaction(request, found) as context:
            tenant_id = found.principal.tenant_id
            await context.tx.one(webhooks.mark_verified(tenant_id, webhook_id, sealed.url))
    return verdict


async def answer(
    request: Request,
    found: Caller,
    webhook_id: UUID,
    verdict: Verdict | None = None,
    status: int = 200,
    **more: Any,
) -> Response:
    """The webhook as it is now, with how its verification went when there was one."""
    async with transaction(request, found) as context:
        webhook = await find_webhook(context, webhook_id)
        (body,) = await shown(context, [webhook])
    if verdict is not None:
        body["verification"] = {
            "verified": verdict.verified,
            "reason": verdict.reason,
            "detail": verdict.detail,
        }
    headers = {"Location": f"/api/v1/webhooks/{webhook_id}"} if status == 201 else None
    return JsonAnswer({"webhook": body, **more} if more else body, status, headers)


async def put_secret(
    context: Context, request: Request, webhook_id: UUID, secret: str, position: int
) -> None:
    tenant_id = context.principal.tenant_id
    place = webhooks.secret_place(tenant_id, webhook_id)
    await context.tx.run(
        webhooks.put_secret(
            tenant_id,
            webhook_id,
            position,
            sealed=platform(request).secrets.envelope.seal(place, secret),
            prefix=secret[:_PREFIX_SHOWN],
            fingerprint=hashlib.sha256(secret.encode()).hexdigest()[:16],
        )
    )


def _columns(
    request: Request, tenant_id: UUID, webhook_id: UUID, wish: WebhookWish
) -> dict[str, Any]:
    return {
        "name": wish.name,
        "url": wish.url,
        "events": list(wish.events),
        "active": wish.active,
        "transform": wish.transform,
        "filter": wish.filter,
        "retry_config": dict(wish.retry_config),
        "ordering": wish.ordering,
        "ordering_escape_hours": wish.ordering_escape_hours,
        **_headers(request, tenant_id, webhook_id, wish),
    }


def _headers(
    request: Request, tenant_id: UUID, webhook_id: UUID, wish: WebhookWish
) -> dict[str, Any]:
    if not wish.headers:
        return {"headers_sealed": None, "header_names": []}
    place = webhooks.headers_place(tenant_id, webhook_id)
    text = json.dumps(dict(wish.headers))
    sealed = platform(request).secrets.envelope.seal(place, text)
    return {"headers_sealed": sealed, "header_names": list(wish.headers)}


@router.get("")
async def list_webhooks(context: Administering, request: Request) -> Response:
    """The tenant's webhooks in order of creation."""
    paging = parse_paging(request.query_params.multi_items())
    tenant_id = context.principal.tenant_id
    total = await context.tx.one(webhooks.count_webhooks(tenant_id)) or 0
    found = await context.tx.all(
        webhooks.webhooks_of(tenant_id, limit=paging.size, offset=paging.offset)
    )
    return JsonAnswer({"items": await shown(context, found), "pageInfo": paging.page_info(total)})


@router.post("")
async def create_webhook(found: Owner, request: Request) -> Response:
    """Make a webhook and challenge its receiver. `secret` in the answer is shown this once.

    A receiver that does not echo the challenge leaves it `unverified`: nothing is sent until
    `/verify` succeeds. Under an Idempotency-Key that was used for the same body before, answers
    with that webhook as it is now, and `secret` null.
    """
    held, tenant_id, webhook_id = platform(request), found.principal.tenant_id, uuid.uuid4()
    key = idempotency_key(request.headers)
    wish = parse_webhook(
        await read_json(request), catalog=found.catalog, allow=held.settings.egress
    )
    await check_transform(request, tenant_id, wish)
    secret = wish.secret or new_secret()
    columns = _columns(request, tenant_id, webhook_id, wish)
    if wish.active:
        await capture_events(request, tenant_id, *wish.events)
    async with transaction(request, found) as context:

        async def insert() -> Response:
            await context.tx.run(
                webhooks.insert_webhook(webhook_id, tenant_id, found.principal.actor_id, columns)
            )
            await context.tx.run(webhooks.insert_health(tenant_id, webhook_id))
            await put_secret(context, request, webhook_id, secret, 0)
            return JsonAnswer({"id": webhook_id}, 201)  # kept with the key, so without the secret

        if key is None:
            made = await insert()
        else:
            made = await once(context, key, await fingerprint(request), insert)
    if REPLAYED in made.headers:
        earlier = UUID(json.loads(bytes(made.body))["id"])
        shown_again = await answer(request, found, earlier, None, 201, secret=None)
        shown_again.headers[REPLAYED] = made.headers[REPLAYED]
        return shown_again
    verdict = await verify(request, found, webhook_id) if wish.active else None
    return await answer(request, found, webhook_id, verdict, 201, secret=secret)


@router.get("/{webhook_id:uuid}")
async def get_webhook(webhook_id: UUID, context: Administering) -> Response:
    """One webhook: configuration, state and health."""
    (body,) = await shown(context, [await find_webhook(context, webhook_id)])
    return JsonAnswer(body)


def _stored(webhook: Webhook) -> dict[str, Json]:
    """A webhook in the form in which it is written, its headers left out."""
    return {
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events,
        "active": webhook.active,
        "transform": webhook.transform,
        "filter": webhook.filter,
        "retryConfig": webhook.retry_config,
        "ordering": webhook.ordering,
        "orderingEscapeHours": webhook.ordering_escape_hours,
    }


@router.patch("/{webhook_id:uuid}")
async def patch_webhook(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Change what the body names (null: back to its default); headers as a whole."""
    return await _write(webhook_id, found, request, whole=False)


@router.put("/{webhook_id:uuid}")
async def put_webhook(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Replace the configuration; the secret stays."""
    return await _write(webhook_id, found, request, whole=True)


async def _write(webhook_id: UUID, found: Caller, request: Request, *, whole: bool) -> Response:
    held, tenant_id = platform(request), found.principal.tenant_id
    body = await read_json(request)
    async with transaction(request, found) as context:
        before = await find_webhook(context, webhook_id)
    merged = body if whole or not isinstance(body, dict) else {**_stored(before), **body}
    wish = parse_webhook(merged, catalog=found.catalog, allow=held.settings.egress, secret=False)
    if wish.transform != before.transform:
        await check_transform(request, tenant_id, wish)
    columns = _columns(request, tenant_id, before.id, wish)
    if not whole and "headers" not in wish.given:
        del columns["headers_sealed"], columns["header_names"]
    if wish.url != before.url:
        columns["verified_at"] = None
    if wish.active:
        await capture_events(request, tenant_id, *wish.events)
    async with transaction(request, found) as context:
        await find_webhook(context, webhook_id, locked=True)
        await context.tx.run(webhooks.update_webhook(tenant_id, before.id, columns))
        if wish.active and not before.active:
            await context.tx.run(webhooks.release_held(tenant_id, before.id, None))
        elif not wish.active:
            await context.tx.run(webhooks.hold_deliveries(tenant_id, before.id))
    await capture_events(request, tenant_id)
    unverified = before.verified_at is None or wish.url != before.url
    verdict = await verify(request, found, before.id) if wish.active and unverified else None
    return await answer(request, found, before.id, verdict)


@router.delete("/{webhook_id:uuid}")
async def delete_webhook(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Remove a webhook with its secret, waiting deliveries and dead letters."""
    async with transaction(request, found) as context:
        webhook = await find_webhook(context, webhook_id)
        await context.tx.run(webhooks.delete_webhook(found.principal.tenant_id, webhook.id))
    await capture_events(request, found.principal.tenant_id)
    return Response(status_code=204)


@router.post("/{webhook_id:uuid}/verify")
async def verify_webhook(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Challenge the receiver again."""
    async with transaction(request, found) as context:
        webhook = await find_webhook(context, webhook_id)
    verdict = await verify(request, found, webhook.id)
    return await answer(request, found, webhook.id, verdict)


@router.post("/{webhook_id:uuid}/rotate-secret")
async def rotate_secret(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Make the next secret. Until `/rotate-secret/commit`, or `overlapHours` from now (24), both
    sign `webhook-signature`, and the old one alone `X-HubbleWave-Signature`."""
    body = await read_json(request) if await request.body() else {}
    secret, overlap = _rotation(body)
    tenant_id = found.principal.tenant_id
    async with transaction(request, found) as context:
        webhook = await find_webhook(context, webhook_id, locked=True)
        present = await context.tx.all(webhooks.sealed_secrets(tenant_id, webhook.id, locked=True))
        if len(present) > 1 and present[0][2]:  # the earlier rotation is over
            for step in webhooks.promote_secret(tenant_id, webhook.id):
                await context.tx.run(step)
        await put_secret(context, request, webhook.id, secret, 1)
        await context.tx.run(webhooks.retire_at(tenant_id, webhook.id, overlap))
        if not overlap:
            for step in webhooks.promote_secret(tenant_id, webhook.id):
                await context.tx.run(step)
        await context.tx.run(webhooks.update_webhook(tenant_id, webhook.id, {}))
    return await answer(request, found, webhook.id, secret=secret)


def _rotation(body: Json) -> tuple[str, timedelta]:
    reading = Reading()
    if not isinstance(body, dict):
        raise Invalid("The body must be an object.", faults=[Fault("type", "an object", "#")])
    reading.keys(body, ("secret", "overlapHours"), "#")
    hours = reading.whole(body, "overlapHours", "#", least=0, most=_LONGEST_OVERLAP)
    secret = reading.text(body, "secret", "#", longest=1000)
    fault = None if secret is None else secret_fault(secret)
    if fault is not None:
        reading.fault("#/secret", "format", f"secret {fault}")
    if reading.faults:
        raise Invalid("The secret cannot be rotated.", faults=reading.faults)
    return secret or new_secret(), timedelta(hours=_OVERLAP_HOURS if hours is None else hours)


@router.post("/{webhook_id:uuid}/rotate-secret/commit")
async def commit_secret(webhook_id: UUID, found: Owner, request: Request) -> Response:
    """Every receiver knows the next secret: the old one is forgotten now."""
    tenant_id = found.principal.tenant_id
    async with transaction(request, found) as context:
        webhook = await find_webhook(context, webhook_id, locked=True)
        present = await context.tx.all(webhooks.sealed_secrets(tenant_id, webhook.id, locked=True))
        if len(present) < 2:
            raise Conflict("No rotation is under way; ask for one with /rotate-secret.")
        for step in webhooks.promote_secret(tenant_id, webhook.id):
            await context.tx.run(step)
        await context.tx.run(webhooks.update_webhook(tenant_id, webhook.id, {}))
    return await answer(request, found, webhook.id)

"""/api/v1/inbound/{connector}: webhooks of external systems, stored before they are answered."""

from datetime import UTC, datetime
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer
from api.context import platform
from hubblewave_pipelines.core.errors import TooLarge, Unauthenticated
from hubblewave_pipelines.core.signature import is_signed
from hubblewave_pipelines.storage import connectors, inbound
from hubblewave_pipelines.storage.refusals import refusing

router = APIRouter(prefix="/inbound")

_MAX_BODY = 1024 * 1024
_NONE_SUCH = "No connector of this id takes webhooks, or the signature is not good."


@router.post("/{connector_id:uuid}")
async def receive(connector_id: UUID, request: Request) -> Response:
    """Take a webhook of a connector's system, signed with the connector's `inboundSecret`, and answer 202 as
    soon as it is stored. The connector's sync jobs run once the system can vouch for what it told.

    The signature is HMAC-SHA256 of the exact body as `sha256=<hex>` in X-Hub-Signature,
    X-Hub-Signature-256 or X-HubbleWave-Signature, or the three headers of Standard Webhooks.
    """
    held = platform(request)
    await held.limits.charge_stranger(request)
    body = await request.body()
    if len(body) > _MAX_BODY:
        raise TooLarge(f"A webhook may have at most {_MAX_BODY} bytes.")
    with refusing():
        async with held.database.transaction() as tx:
            found = await tx.one(inbound.sealed_secret(connector_id))
            if found is None:
                raise Unauthenticated(_NONE_SUCH)
            tenant_id, sealed = found
            place = connectors.inbound_place(tenant_id, connector_id)
            secret = held.secrets.envelope.open(place, sealed)
            if not is_signed(request.headers, body, secret, datetime.now(UTC)):
                raise Unauthenticated(_NONE_SUCH)
            media = request.headers.get("content-type", "")[:200]
            event = inbound.insert_event(tenant_id, connector_id, media, body)
            event_id = await tx.one(event)
    return JsonAnswer({"id": event_id}, 202)

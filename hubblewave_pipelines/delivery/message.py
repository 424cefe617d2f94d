"""What is sent: the body of a delivery as exact bytes, and the headers that prove where it is from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from hubblewave_pipelines.core.backoff import RetryPolicy, policy_of
from hubblewave_pipelines.core.envelope import Envelope
from hubblewave_pipelines.core.signature import sign
from hubblewave_pipelines.storage.endpoints import SealedEndpoint
from hubblewave_pipelines.storage.webhooks import headers_place, secret_place


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook ready to be sent to, once `verified`. `secrets`: with the time from which the next
    one is alone."""

    webhook_id: UUID
    tenant_id: UUID
    config_at: datetime
    url: str
    headers: Mapping[str, str]
    transform: str | None
    policy: RetryPolicy
    secrets: tuple[tuple[str, datetime | None], ...]
    verified: bool

    def keys(self, now: datetime) -> list[str]:
        """The secrets that sign now, the one in force first."""
        held = self.secrets
        if len(held) > 1 and held[0][1] is not None and held[0][1] <= now:
            held = held[1:]
        return [secret for secret, _ in held]


def open_endpoint(sealed: SealedEndpoint, envelope: Envelope) -> Endpoint:
    """Raises Misconfigured when the platform's key is not the one that the secrets were sealed with."""
    own = (sealed.tenant_id, sealed.webhook_id)
    headers: dict[str, str] = {}
    if sealed.headers_sealed is not None:
        headers = json.loads(envelope.open(headers_place(*own), sealed.headers_sealed))
    return Endpoint(
        webhook_id=sealed.webhook_id,
        tenant_id=sealed.tenant_id,
        config_at=sealed.config_at,
        url=sealed.url,
        headers=headers,
        transform=sealed.transform,
        policy=policy_of(sealed.retry_config),
        secrets=tuple(
            (envelope.open(secret_place(*own), text), retires) for text, retires in sealed.secrets
        ),
        verified=sealed.verified,
    )


def moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def body_of(event: str, data: str, at: datetime, webhook_id: UUID) -> bytes:
    """`{event, data, timestamp, webhookId}`; the same for every attempt. `data` is JSON text."""
    return (
        f'{{"event":{json.dumps(event)},"data":{data},'
        f'"timestamp":"{moment(at)}","webhookId":"{webhook_id}"}}'
    ).encode()


def headers_of(
    endpoint: Endpoint,
    keys: Sequence[str],
    *,
    event: str,
    delivery: UUID,
    message: UUID,
    now: datetime,
    body: bytes,
) -> dict[str, str]:
    """The webhook's own headers and the signatures over exactly these bytes."""
    signed = sign(
        keys,
        event=event,
        delivery=str(delivery),
        message=str(message),
        timestamp=int(now.timestamp()),
        body=body,
    )
    return {**endpoint.headers, "Content-Type": "application/json", **signed}


def redacted(endpoint: Endpoint, headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as the log keeps them: the webhook's own by name only."""
    return {name: "***" if name in endpoint.headers else text for name, text in headers.items()}

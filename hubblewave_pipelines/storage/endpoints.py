"""What a worker needs to know of a webhook to send to it: one version of its configuration."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement


@dataclass(frozen=True, slots=True)
class SealedEndpoint:
    """`secrets`: (sealed text, when it gives way to the next one), the one in force first."""

    webhook_id: UUID
    tenant_id: UUID
    config_at: datetime
    url: str
    headers_sealed: str | None
    transform: str | None
    retry_config: dict[str, Json]
    secrets: tuple[tuple[str, datetime | None], ...]
    verified: bool


def endpoint(webhook_id: UUID) -> Statement[SealedEndpoint]:
    """No row when the webhook is gone."""
    return statement(
        "select w.id, w.tenant_id, w.updated_at, w.url, w.headers_sealed, w.transform,"
        " w.retry_config, (select array_agg(s.sealed order by s.position)"
        " from hubblewave.webhook_secrets s where s.webhook_id = w.id),"
        " (select array_agg(s.retires_at order by s.position)"
        " from hubblewave.webhook_secrets s where s.webhook_id = w.id), w.verified_at is not null"
        " from hubblewave.webhooks w where w.id = %s",
        (webhook_id,),
        _endpoint,
    )


def _endpoint(row: tuple[Any, ...]) -> SealedEndpoint:
    secrets = tuple(zip(row[7] or (), row[8] or (), strict=True))
    return SealedEndpoint(row[0], row[1], row[2], row[3], row[4], row[5], row[6], secrets, row[9])

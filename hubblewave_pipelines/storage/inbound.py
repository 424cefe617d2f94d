"""Webhooks that external systems sent: kept until a sync was asked for that sees what they tell of."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

from hubblewave_pipelines.storage.database import Statement, statement

_KEPT = timedelta(days=7)


def sealed_secret(connector_id: UUID) -> Statement[tuple[UUID, str]]:
    """(tenant, sealed secret) of a connector that takes webhooks; the rest of the transaction is on behalf
    of that tenant. No row when it takes none."""
    return statement(
        "select tenant_id, inbound_sealed from hubblewave.inbound_connector(%s)",
        (connector_id,),
        lambda row: (row[0], row[1]),
    )


def insert_event(
    tenant_id: UUID, connector_id: UUID, content_type: str, body: bytes
) -> Statement[UUID]:
    """Its id; of one that says the same word for word and waits, that one's."""
    return statement(
        "insert into hubblewave.inbound_events as e (tenant_id, connector_id, content_type, body,"
        " digest) values (%s, %s, %s, %s, %s) on conflict (connector_id, digest)"
        " where handled_at is null do update set received_at = now() returning e.id",
        (tenant_id, connector_id, content_type, body, hashlib.sha256(body).digest()),
        lambda row: row[0],
    )


def ripe(after: timedelta, limit: int) -> Statement[tuple[UUID, UUID]]:
    """(tenant, connector) with events that have waited for `after`. Worker only."""
    return statement(
        "select distinct tenant_id, connector_id from hubblewave.inbound_events"
        " where handled_at is null and received_at < now() - %s limit %s",
        (after, limit),
        lambda row: (row[0], row[1]),
    )


def handled(tenant_id: UUID, connector_id: UUID, after: timedelta) -> Statement[Any]:
    """What had waited for `after` at the start of the transaction is seen by the syncs it asked for."""
    return statement(
        "update hubblewave.inbound_events set handled_at = now() where tenant_id = %s"
        " and connector_id = %s and handled_at is null and received_at < now() - %s",
        (tenant_id, connector_id, after),
    )


def forget_handled(tenant_id: UUID, connector_id: UUID) -> Statement[Any]:
    return statement(
        "delete from hubblewave.inbound_events where tenant_id = %s and connector_id = %s"
        " and handled_at < now() - %s",
        (tenant_id, connector_id, _KEPT),
    )

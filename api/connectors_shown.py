"""A connector, and a check or discovery of it, as JSON: of credentials never more than names."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from api.context import Context, Platform
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage import connector_vault, connectors
from hubblewave_pipelines.storage.connector_asks import Ask
from hubblewave_pipelines.storage.connector_vault import CredentialsShown
from hubblewave_pipelines.storage.connectors import StoredConnector


async def find_connector(
    context: Context, connector_id: UUID, *, locked: bool = False
) -> StoredConnector:
    """Raises NotFound when the tenant has no such connector."""
    found = await context.tx.one(
        connectors.connector_by_id(context.principal.tenant_id, connector_id, locked=locked)
    )
    if found is None:
        raise NotFound(f"There is no connector {connector_id}.")
    return found


async def shown(context: Context, found: Sequence[StoredConnector]) -> list[dict[str, Any]]:
    ids = [connector.id for connector in found]
    query = connector_vault.credentials_shown(context.principal.tenant_id, ids)
    credentials = {each.connector_id: each for each in await context.tx.all(query)}
    return [_connector(connector, credentials.get(connector.id)) for connector in found]


def _connector(connector: StoredConnector, held: CredentialsShown | None) -> dict[str, Any]:
    pace = connector.kept_pace
    return {
        "id": connector.id,
        "name": connector.name,
        "type": connector.type,
        "config": connector.config,
        "credentials": None
        if held is None
        else {
            "kind": held.kind,
            "given": held.given,
            "generation": held.generation,
            "rejected": held.rejected,
            "expiresAt": held.expires_at,
            "givenAt": held.given_at,
            "renewedAt": held.renewed_at,
        },
        "limits": {
            "requestsPerSecond": pace.rate,
            "burst": pace.burst,
            "reservePercent": round(pace.reserve * 100, 6),
        },
        "status": connector.status,
        "lastSyncAt": connector.last_sync_at,
        "lastError": connector.last_error,
        "lastCheck": connector.last_check,
        "lastCheckAt": connector.last_check_at,
        "inboundSecretSet": connector.inbound_sealed is not None,
        "createdAt": connector.created_at,
        "updatedAt": connector.updated_at,
    }


def ask_json(ask: Ask, held: Platform) -> dict[str, Any]:
    """In the shape of jobs, with what it found as `result`."""
    return {
        "id": ask.id,
        "connectorId": ask.connector_id,
        "kind": ask.kind,
        "stream": ask.stream,
        "status": ask.status,
        "result": ask.result,
        "error": ask.error,
        "url": f"/api/v1/connectors/{ask.connector_id}/asks/{ask.id}",
        "runUrl": None if ask.run_id is None else held.dagster.run_url(ask.run_id),
        "createdAt": ask.created_at,
        "startedAt": ask.started_at,
        "completedAt": ask.completed_at,
    }

"""A webhook and what belongs to it as JSON: configuration and health, deliveries, dead letters."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from api.context import Context
from hubblewave_pipelines.core.backoff import policy_of
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage import webhooks
from hubblewave_pipelines.storage.dead_letters import DeadLetter
from hubblewave_pipelines.storage.delivery_log import Attempt, Delivery
from hubblewave_pipelines.storage.replays import Replay
from hubblewave_pipelines.storage.webhooks import Health, StoredSecret, Webhook


async def find_webhook(context: Context, webhook_id: UUID, *, locked: bool = False) -> Webhook:
    """Raises NotFound when the tenant has no such webhook."""
    found = await context.tx.one(
        webhooks.webhook_by_id(context.principal.tenant_id, webhook_id, locked=locked)
    )
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return found


async def shown(context: Context, found: Sequence[Webhook]) -> list[dict[str, Any]]:
    """Webhooks as clients see them: of secrets and headers never more than names."""
    tenant_id, ids = context.principal.tenant_id, [webhook.id for webhook in found]
    secrets: dict[UUID, list[StoredSecret]] = {}
    for webhook_id, secret in await context.tx.all(webhooks.secrets_of(tenant_id, ids)):
        secrets.setdefault(webhook_id, []).append(secret)
    health = dict(await context.tx.all(webhooks.health_of(tenant_id, ids)))
    return [_webhook(w, secrets.get(w.id, []), health.get(w.id)) for w in found]


def _webhook(
    webhook: Webhook, secrets: Sequence[StoredSecret], health: Health | None
) -> dict[str, Any]:
    policy = policy_of(webhook.retry_config)
    own = next((s for s in secrets if s.position == 0), None)
    following = next((s for s in secrets if s.position == 1), None)
    return {
        "id": webhook.id,
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events,
        "active": webhook.active,
        "status": webhook.status,
        "verifiedAt": webhook.verified_at,
        "disabledAt": webhook.disabled_at,
        "disabledReason": webhook.disabled_reason,
        "headers": {name: "***" for name in webhook.header_names},
        "transform": webhook.transform,
        "filter": webhook.filter,
        "retryConfig": {
            "preset": webhook.retry_config.get("preset"),
            "maxAttempts": policy.max_attempts,
            "backoffMultiplier": None if policy.waits else policy.multiplier,
        },
        "ordering": webhook.ordering,
        "orderingEscapeHours": webhook.ordering_escape_hours,
        "secret": None if own is None else _secret(own),
        "nextSecret": None if following is None else _secret(following),
        "health": None if health is None else _health(health),
        "createdAt": webhook.created_at,
        "updatedAt": webhook.updated_at,
    }


def _secret(secret: StoredSecret) -> dict[str, Any]:
    return {
        "prefix": secret.prefix,
        "fingerprint": secret.fingerprint,
        "createdAt": secret.created_at,
        "retiresAt": secret.retires_at,
    }


def _health(health: Health) -> dict[str, Any]:
    tried = len(health.recent)
    return {
        "succeeded": health.succeeded,
        "failed": health.failed,
        "recentSuccessRate": round(health.recent.count("1") / tried, 3) if tried else None,
        "lastSuccessAt": health.last_success_at,
        "failingSince": health.first_failure_at,
        "circuitOpenUntil": health.open_until,
        "pausedUntil": health.paused_until,
    }


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "webhookId": delivery.webhook_id,
        "eventId": delivery.event_id,
        "event": delivery.type,
        "occurredAt": delivery.occurred_at,
        "kind": delivery.kind,
        "status": delivery.status,
        "reason": delivery.reason,
        "attempts": delivery.attempts,
        "nextAttemptAt": delivery.next_at,
        "createdAt": delivery.created_at,
        "finishedAt": delivery.finished_at,
    }


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.n,
        "startedAt": attempt.started_at,
        "endedAt": attempt.ended_at,
        "durationMs": attempt.duration_ms,
        "worker": attempt.worker,
        "statusCode": attempt.status,
        "errorClass": attempt.error_class,
        "detail": attempt.detail,
        "request": {
            "headers": attempt.request_headers,
            "bodySha256": attempt.body_sha256,
            "sentSha256": attempt.sent_sha256,
        },
        "response": {"headers": attempt.response_headers, "body": attempt.response_body},
    }


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "webhookId": letter.webhook_id,
        "webhookName": letter.webhook_name,
        "deliveryId": letter.delivery_id,
        "eventId": letter.event_id,
        "event": letter.type,
        "occurredAt": letter.occurred_at,
        "data": json.loads(letter.data),
        "reason": letter.reason,
        "statusCode": letter.status,
        "errorClass": letter.error_class,
        "attempts": letter.attempts,
        "failedAt": letter.failed_at,
        "resolvedAt": letter.resolved_at,
        "resolvedBy": letter.resolved_by,
        "resolution": letter.resolution,
    }


def replay_json(replay: Replay) -> dict[str, Any]:
    return {
        "id": replay.id,
        "webhookId": replay.webhook_id,
        "since": replay.since,
        "until": replay.until,
        "events": replay.types,
        "onlyMissing": replay.only_missing,
        "status": replay.state,
        "seen": replay.seen,
        "queued": replay.queued,
        "createdAt": replay.created_at,
        "finishedAt": replay.finished_at,
    }

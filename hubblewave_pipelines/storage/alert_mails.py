"""Which events the operators are told by mail: queued by the fan-out, sent by one worker at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hubblewave_pipelines.storage.database import Statement, statement

TOLD = ("webhook.disabled", "webhook.dead_letter")
_LEASE = 300.0  # seconds that a worker has to send one
_ATTEMPTS = 12  # over about a day


@dataclass(frozen=True, slots=True)
class Alert:
    """A letter to write. `data` is the event's, as JSON text; `attempt` counts from 1."""

    event_id: UUID
    tenant: str
    type: str
    data: str
    occurred_at: datetime
    attempt: int

    @property
    def last(self) -> bool:
        return self.attempt >= _ATTEMPTS


def queue(ids: Sequence[UUID], since: datetime) -> Statement[Any]:
    """Letters of these events, none of which happened before `since`."""
    return statement(
        "insert into hubblewave.alert_mails (event_id, tenant_id, type, data, occurred_at)"
        " select id, tenant_id, type, data, occurred_at from hubblewave.events"
        " where id = any(%s) and occurred_at >= %s on conflict do nothing",
        (list(ids), since),
    )


def take(limit: int) -> Statement[Alert]:
    """Letters that are due; nobody else takes them for a while."""
    return statement(
        "with due as materialized (select event_id from hubblewave.alert_mails"
        " where sent_at is null and next_at <= now() and attempts < %s"
        " order by next_at limit %s for update skip locked),"
        " taken as (update hubblewave.alert_mails m set attempts = m.attempts + 1,"
        " next_at = now() + make_interval(secs => %s) from due where m.event_id = due.event_id"
        " returning m.*) select t.event_id, n.slug, t.type, t.data, t.occurred_at, t.attempts"
        " from taken t join hubblewave.tenants n on n.id = t.tenant_id order by t.occurred_at",
        (_ATTEMPTS, limit, _LEASE),
        lambda row: Alert(*row),
    )


def sent(event_id: UUID) -> Statement[Any]:
    return statement(
        "update hubblewave.alert_mails set sent_at = now() where event_id = %s", (event_id,)
    )


def put_off(event_id: UUID, seconds: float) -> Statement[Any]:
    return statement(
        "update hubblewave.alert_mails set next_at = now() + make_interval(secs => %s)"
        " where event_id = %s",
        (seconds, event_id),
    )


def forget(keep: timedelta) -> Statement[Any]:
    """Letters of long ago, sent or not."""
    return statement("delete from hubblewave.alert_mails where occurred_at < now() - %s", (keep,))

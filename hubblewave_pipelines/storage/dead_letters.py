"""Deliveries that were given up: listed by filter, sent again, or settled by somebody."""

# ruff: noqa: S608 - only this module's own names are formatted into its statements

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from hubblewave_pipelines.storage.database import Statement, statement

MOST = 10_000  # redriven by one request
STATES = ("open", "resolved", "all")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    id: UUID
    webhook_id: UUID
    webhook_name: str
    delivery_id: UUID
    event_id: UUID
    type: str
    occurred_at: datetime
    data: str
    reason: str
    status: int | None
    error_class: str | None
    attempts: int
    failed_at: datetime
    resolved_at: datetime | None
    resolved_by: UUID | None
    resolution: str | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which dead letters: every part that is given must hold. Times are of the failure."""

    state: str = "open"
    ids: Sequence[UUID] | None = None
    webhook_id: UUID | None = None
    type: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def condition(self, tenant_id: UUID) -> tuple[str, list[object]]:
        parts, params = ["l.tenant_id = %s"], list[object]([tenant_id])
        if self.state != "all":
            parts.append(f"l.resolved_at is {'null' if self.state == 'open' else 'not null'}")
        given = (
            ("l.id = any(%s)", None if self.ids is None else list(self.ids)),
            ("l.webhook_id = %s", self.webhook_id),
            ("l.type = %s", self.type),
            ("l.reason = %s", self.reason),
            ("l.failed_at >= %s", self.since),
            ("l.failed_at < %s", self.until),
        )
        for text, value in given:
            if value is not None:
                parts.append(text)
                params.append(value)
        return " and ".join(parts), params


_NAMES = (
    "l.id, l.webhook_id, w.name, l.delivery_id, l.event_id, l.type, l.occurred_at, l.data, l.reason,"
    " l.status, l.error_class, l.attempts, l.failed_at, l.resolved_at, l.resolved_by, l.resolution"
)
_FROM = "from hubblewave.webhook_dead_letters l join hubblewave.webhooks w on w.id = l.webhook_id"


def dead_letters(
    tenant_id: UUID, chosen: Chosen, *, limit: int, offset: int
) -> Statement[DeadLetter]:
    """Newest first."""
    where, params = chosen.condition(tenant_id)
    return statement(
        f"select {_NAMES} {_FROM} where {where} order by l.id desc limit %s offset %s",
        [*params, limit, offset],
        lambda row: DeadLetter(*row),
    )


def count_dead_letters(tenant_id: UUID, chosen: Chosen) -> Statement[int]:
    where, params = chosen.condition(tenant_id)
    return statement(f"select count(*) {_FROM} where {where}", params, lambda row: int(row[0]))


def resolve(tenant_id: UUID, letter_id: UUID, by: UUID | None) -> Statement[UUID]:
    """Settled without sending it again. Settling twice keeps the first; no row: there is none."""
    return statement(
        "update hubblewave.webhook_dead_letters set resolved_at = coalesce(resolved_at, now()),"
        " resolved_by = case when resolved_at is null then %s else resolved_by end,"
        " resolution = coalesce(resolution, 'resolved')"
        " where tenant_id = %s and id = %s returning id",
        (by, tenant_id, letter_id),
        lambda row: row[0],
    )


def redrive(tenant_id: UUID, chosen: Chosen, by: UUID | None) -> Statement[int]:
    """New deliveries of up to MOST chosen letters, oldest first; they count as settled. Answers how
    many. An event that is kept no longer comes back from its letter."""
    where, params = chosen.condition(tenant_id)
    return statement(
        f"with chosen as materialized (select l.*, w.retry_config from"
        f" hubblewave.webhook_dead_letters l join hubblewave.webhooks w on w.id = l.webhook_id"
        f" where {where} order by l.id limit %s for update of l skip locked),"
        " kept as (insert into hubblewave.events (id, tenant_id, type, occurred_at, ordering_key,"
        " data, fanned_at) select distinct on (event_id) event_id, tenant_id, type, occurred_at,"
        " ordering_key, data, now() from chosen on conflict do nothing),"
        " settled as (update hubblewave.webhook_dead_letters l set resolved_at = now(),"
        " resolved_by = %s, resolution = 'redriven' from chosen where l.id = chosen.id),"
        " made as (insert into hubblewave.webhook_deliveries (tenant_id, webhook_id, event_id,"
        " event_n, occurred_at, type, kind, attempts_left) select c.tenant_id, c.webhook_id,"
        " c.event_id, coalesce((select e.n from hubblewave.events e where e.id = c.event_id"
        " and e.occurred_at = c.occurred_at), 0), c.occurred_at, c.type, 'replay',"
        " coalesce((c.retry_config ->> 'maxAttempts')::integer, 10) from chosen c order by c.id"
        " returning 1) select count(*) from made",
        [*params, MOST, by],
        lambda row: int(row[0]),
    )


def tell() -> Statement[int]:
    """Events `webhook.dead_letter` for webhooks with letters that are newer than the last such
    event; one per webhook and hour at most, by however many workers. Answers how many.

    Letters of these events themselves count, but are no reason for another one.
    """
    return statement(
        "with told as (update hubblewave.webhook_health h set dead_letters_told_at = now()"
        " from hubblewave.webhook_health o cross join lateral (select l.failed_at"
        " from hubblewave.webhook_dead_letters l where l.tenant_id = o.tenant_id"
        " and l.webhook_id = o.webhook_id and l.resolved_at is null"
        " and l.type <> 'webhook.dead_letter' order by l.id desc limit 1) newest"
        " where h.webhook_id = o.webhook_id and (h.dead_letters_told_at is null"
        " or h.dead_letters_told_at < least(newest.failed_at, now() - interval '1 hour'))"
        " returning h.tenant_id, h.webhook_id),"
        " made as (insert into hubblewave.events (tenant_id, type, ordering_key, data)"
        " select t.tenant_id, 'webhook.dead_letter', t.webhook_id::text, json_build_object("
        "'webhookId', t.webhook_id, 'name', w.name, 'count', c.count, 'oldestAt', c.oldest,"
        " 'newest', (select json_build_object('id', l.id, 'event', l.type, 'reason', l.reason)"
        " from hubblewave.webhook_dead_letters l where l.tenant_id = t.tenant_id"
        " and l.webhook_id = t.webhook_id and l.resolved_at is null order by l.id desc limit 1))::text"
        " from told t join hubblewave.webhooks w on w.id = t.webhook_id"
        " cross join lateral (select count(*) as count, min(l.failed_at) as oldest"
        " from hubblewave.webhook_dead_letters l where l.tenant_id = t.tenant_id"
        " and l.webhook_id = t.webhook_id and l.resolved_at is null) c returning 1)"
        " select count(*) from made",
        (),
        lambda row: int(row[0]),
    )


def open_by_tenant() -> Statement[tuple[str, int, datetime | None]]:
    """(tenant slug, open letters, the oldest one's time) for operators; the worker's or owner's."""
    return statement(
        "select t.slug, count(l.id), min(l.failed_at) from hubblewave.tenants t"
        " left join hubblewave.webhook_dead_letters l on l.tenant_id = t.id"
        " and l.resolved_at is null group by t.slug order by t.slug",
        (),
        lambda row: (row[0], int(row[1]), row[2]),
    )

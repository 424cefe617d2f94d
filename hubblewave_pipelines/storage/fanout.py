"""Events into deliveries: one per webhook that wants the event, in order, in batches of bounded size.

One worker at a time fans out a tenant's events (an advisory lock), oldest first, so that deliveries
of one key are made in the order of its events: the later of two changes of a record is written once
the earlier one is committed, hence visible with it.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.query import Filter, columns_of
from hubblewave_pipelines.storage.conditions import condition
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.history_table import former
from hubblewave_pipelines.storage.shown import record_object
from hubblewave_pipelines.storage.sql import Sql

_LOCK = 0x6877_0001  # namespace of the advisory locks of fan-out
# The patterns that choose an event; as core.event_types.choosers.
_CHOOSERS = (
    "array[b.type, split_part(b.type, '.', 1) || '.*',"
    " '*.' || substr(b.type, strpos(b.type, '.') + 1), '*']"
)


@dataclass(frozen=True, slots=True)
class Fresh:
    """An event that is not fanned out yet."""

    id: UUID
    n: int
    occurred_at: datetime
    type: str
    entity_id: str | None
    fanned_to: UUID | None


@dataclass(frozen=True, slots=True)
class Filtered:
    """A webhook that wants only the events whose record fits a condition."""

    id: UUID
    events: tuple[str, ...]
    filter: dict[str, Json]


def tenants_with_events(limit: int) -> Statement[UUID]:
    """Tenants whose events wait, found by stepping through the index from one to the next."""
    return statement(
        "with recursive step as ((select tenant_id from hubblewave.events where fanned_at is null"
        " order by tenant_id limit 1) union all select (select e.tenant_id from hubblewave.events e"
        " where e.fanned_at is null and e.tenant_id > step.tenant_id order by e.tenant_id limit 1)"
        " from step where step.tenant_id is not null)"
        " select tenant_id from step where tenant_id is not null limit %s",
        (limit,),
        lambda row: row[0],
    )


def take_turn(tenant_id: UUID) -> Statement[bool]:
    """Whether this transaction may fan out the tenant's events."""
    return statement(
        "select pg_try_advisory_xact_lock(%s, hashtext(%s))",
        (_LOCK, str(tenant_id)),
        lambda row: bool(row[0]),
    )


def count_webhooks(tenant_id: UUID) -> Statement[int]:
    """Webhooks that deliveries are made for."""
    return statement(
        "select count(*) from hubblewave.webhooks where tenant_id = %s and active"
        " and verified_at is not null",
        (tenant_id,),
        lambda row: int(row[0]),
    )


def fresh_events(tenant_id: UUID, limit: int) -> Statement[Fresh]:
    return statement(
        "select id, n, occurred_at, type, entity_id, fanned_to from hubblewave.events"
        " where tenant_id = %s and fanned_at is null order by n limit %s",
        (tenant_id, limit),
        lambda row: Fresh(*row),
    )


def _batch(events: Sequence[Fresh]) -> tuple[str, list[object]]:
    """A condition on `hubblewave.events e` that holds for these; the times choose the partitions."""
    times = [event.occurred_at for event in events]
    return (
        "e.id = any(%s) and e.occurred_at between %s and %s",
        [[event.id for event in events], min(times), max(times)],
    )


def render_records(entity: Entity, events: Sequence[Fresh], *, finish: bool) -> Statement[Any]:
    """Give events of the entity's records their data: the record as callers see it now, what it
    held under an earlier type of a field as the present type has it, if it does. With `finish` they are fanned out by this transaction: a wide row less to write."""
    where, params = _batch(events)
    finished = ", fanned_at = now()" if finish else ""
    shown = record_object(columns_of(entity), at=0)
    return statement(
        f"update hubblewave.events e set data = (select {shown.text}::text"
        f" from {former(entity, 'e.record')} a0){finished}"
        f" where {where} and e.data is null and e.entity_id = %s",
        [*shown.params, *params, entity.id],
    )


def render_orphans(events: Sequence[Fresh]) -> Statement[Any]:
    """Records of an entity that is gone are known by their id only."""
    where, params = _batch(events)
    return statement(
        "update hubblewave.events e set data = json_build_object('id', e.ordering_key)::text"
        f" where {where} and e.data is null",
        params,
    )


def window_end(tenant_id: UUID, after: UUID | None, size: int) -> Statement[UUID | None]:
    """The last of the next `size` webhooks after `after`; None when they are the last ones."""
    return statement(
        "select case when count(*) = %(size)s then (array_agg(id order by id desc))[1] end from ("
        "select id from hubblewave.webhooks where tenant_id = %(tenant)s"
        " and id > coalesce(%(after)s, '00000000-0000-0000-0000-000000000000'::uuid)"
        " order by id limit %(size)s) w",
        {"tenant": tenant_id, "after": after, "size": size},
        lambda row: row[0],
    )


_COLUMNS = (
    "tenant_id, webhook_id, event_id, event_n, occurred_at, type, state, ordering_key,"
    " attempts_left"
)
_VALUES = (
    "w.tenant_id, w.id, b.id, b.n, b.occurred_at, b.type,"
    " case when w.disabled_at is null then 'due' else 'held' end,"
    " case w.ordering when 'per_key' then b.ordering_key end,"
    " coalesce((w.retry_config ->> 'maxAttempts')::integer,"
    " case w.retry_config ->> 'preset' when 'week' then 14 else 10 end)"
)
_WANTED = "w.tenant_id = %s and w.active and w.verified_at is not null"


def make_deliveries(
    tenant_id: UUID, events: Sequence[Fresh], after: UUID | None, until: UUID | None
) -> Statement[Any]:
    """Deliveries of these events to the webhooks without a filter whose ids are in (after, until]."""
    where, params = _batch(events)
    return statement(
        f"insert into hubblewave.webhook_deliveries ({_COLUMNS}) select {_VALUES}"
        f" from (select * from hubblewave.events e where {where}) b"
        f" join hubblewave.webhooks w on {_WANTED} and w.filter is null and w.events && {_CHOOSERS}"
        " and (%s::uuid is null or w.id > %s) and (%s::uuid is null or w.id <= %s)"
        " order by b.n, w.id",
        [*params, tenant_id, after, after, until, until],
    )


def filtered_webhooks(
    tenant_id: UUID, types: Sequence[str], after: UUID | None, until: UUID | None
) -> Statement[Filtered]:
    """Webhooks with a filter that want some event of these types."""
    return statement(
        "select w.id, w.events, w.filter from hubblewave.webhooks w"
        f" where {_WANTED} and w.filter is not null and exists (select from unnest(%s::text[])"
        f" b(type) where w.events && {_CHOOSERS})"
        " and (%s::uuid is null or w.id > %s) and (%s::uuid is null or w.id <= %s) order by w.id",
        (tenant_id, list(types), after, after, until, until),
        lambda row: Filtered(row[0], tuple(row[1]), row[2]),
    )


def make_filtered(
    tenant_id: UUID, webhook_id: UUID, events: Sequence[Fresh], entity: Entity, fits: Filter
) -> Statement[Any]:
    """Deliveries of those events whose record, as the event has it, fits the webhook's filter."""
    where, params = _batch(events)
    found = condition(fits, 0)
    sql = Sql([f"insert into hubblewave.webhook_deliveries ({_COLUMNS}) select {_VALUES}"])
    sql.add(f" from (select * from hubblewave.events e where {where}) b", *params)
    sql.add(f" join hubblewave.webhooks w on {_WANTED} and w.id = %s", tenant_id, webhook_id)
    sql.add(f" and w.events && {_CHOOSERS}")
    sql.add(f", lateral {former(entity, 'b.record')} a0")
    sql.add(" where b.entity_id = %s and ", entity.id).append(found).add(" order by b.n")
    return statement(sql.text, sql.params)


def bury_unfit(tenant_id: UUID, webhook_id: UUID, events: Sequence[Fresh]) -> Statement[Any]:
    """The webhook's filter means nothing any more (its field is gone): what it might have wanted
    goes to the dead letters, where it can be sent again once the filter is repaired."""
    where, params = _batch(events)
    return statement(
        "insert into hubblewave.webhook_dead_letters (tenant_id, webhook_id, delivery_id, event_id,"
        " occurred_at, type, ordering_key, data, reason, attempts) select w.tenant_id, w.id,"
        " hubblewave.uuid7(), b.id, b.occurred_at, b.type, b.ordering_key, b.data, 'filter', 0"
        f" from (select * from hubblewave.events e where {where}) b"
        f" join hubblewave.webhooks w on {_WANTED} and w.id = %s and w.events && {_CHOOSERS}",
        [*params, tenant_id, webhook_id],
    )


def finish_events(events: Sequence[Fresh]) -> Statement[Any]:
    where, params = _batch(events)
    return statement(
        f"update hubblewave.events e set fanned_at = now() where {where} and e.fanned_at is null",
        params,
    )


def note_progress(event: Fresh, fanned_to: UUID) -> Statement[Any]:
    return statement(
        "update hubblewave.events set fanned_to = %s where id = %s and occurred_at = %s",
        (fanned_to, event.id, event.occurred_at),
    )


def catalog_version(tenant_id: UUID) -> Statement[int]:
    return statement(
        "select catalog_version from hubblewave.tenants where id = %s",
        (tenant_id,),
        lambda row: int(row[0]),
    )

"""Sending again what happened in a span of time: a cursor over the events, moved a page at a time."""

# ruff: noqa: S608 - only names of this module, and those `identifier` has checked, are formatted in

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.query import Filter
from hubblewave_pipelines.storage.conditions import condition
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.history_table import former
from hubblewave_pipelines.storage.sql import Sql

WAITING = 500  # deliveries of a replay that wait at a time, so that live events are not behind it
_NAMES = (
    "id, tenant_id, webhook_id, since, until, types, only_missing, state, seen, queued, created_at,"
    " finished_at"
)


@dataclass(frozen=True, slots=True)
class Replay:
    """`seen` events were looked at so far, `queued` of them have a new delivery."""

    id: UUID
    tenant_id: UUID
    webhook_id: UUID
    since: datetime
    until: datetime
    types: list[str] | None
    only_missing: bool
    state: str
    seen: int
    queued: int
    created_at: datetime
    finished_at: datetime | None


def _replay(row: tuple[Any, ...]) -> Replay:
    return Replay(*row)


_CHOOSES = (
    "w.events && array[e.type, split_part(e.type, '.', 1) || '.*',"
    " '*.' || substr(e.type, strpos(e.type, '.') + 1), '*']"
)
# Neither delivered nor on its way: what was never attempted is missing too.
_MISSING = (
    "not exists (select from hubblewave.webhook_delivery_log l where l.event_id = e.id"
    " and l.webhook_id = w.id and l.status = 'success') and not exists (select from"
    " hubblewave.webhook_deliveries d where d.event_id = e.id and d.webhook_id = w.id)"
)


def count_events(
    tenant_id: UUID,
    webhook_id: UUID,
    since: datetime,
    until: datetime,
    types: list[str] | None,
    *,
    only_missing: bool,
) -> Statement[int]:
    """How many events a replay would send; filters of the webhook are not asked again."""
    missing = f" and {_MISSING}" if only_missing else ""
    return statement(
        "select count(*) from hubblewave.webhooks w join hubblewave.events e"
        f" on e.tenant_id = w.tenant_id and {_CHOOSES}"
        " where w.tenant_id = %s and w.id = %s and e.occurred_at >= %s and e.occurred_at < %s"
        f" and e.fanned_at is not null and (%s::text[] is null or e.type = any(%s)){missing}",
        (tenant_id, webhook_id, since, until, types, types),
        lambda row: int(row[0]),
    )


def insert_replay(
    tenant_id: UUID,
    webhook_id: UUID,
    since: datetime,
    until: datetime,
    types: list[str] | None,
    *,
    only_missing: bool,
    requested_by: UUID,
) -> Statement[Replay]:
    return statement(
        "insert into hubblewave.webhook_replays (tenant_id, webhook_id, since, until, types,"
        " only_missing, cursor_at, requested_by) values (%s, %s, %s, %s, %s, %s, %s, %s)"
        f" returning {_NAMES}",
        (tenant_id, webhook_id, since, until, types, only_missing, since, requested_by),
        _replay,
    )


def replays_of(tenant_id: UUID, webhook_id: UUID, limit: int, offset: int) -> Statement[Replay]:
    return statement(
        f"select {_NAMES} from hubblewave.webhook_replays where tenant_id = %s and webhook_id = %s"
        " order by id desc limit %s offset %s",
        (tenant_id, webhook_id, limit, offset),
        _replay,
    )


def count_replays(tenant_id: UUID, webhook_id: UUID) -> Statement[int]:
    return statement(
        "select count(*) from hubblewave.webhook_replays where tenant_id = %s and webhook_id = %s",
        (tenant_id, webhook_id),
        lambda row: int(row[0]),
    )


def replay_by_id(tenant_id: UUID, webhook_id: UUID, replay_id: UUID) -> Statement[Replay]:
    return statement(
        f"select {_NAMES} from hubblewave.webhook_replays"
        " where tenant_id = %s and webhook_id = %s and id = %s",
        (tenant_id, webhook_id, replay_id),
        _replay,
    )


def cancel_replay(tenant_id: UUID, replay_id: UUID) -> list[Statement[Any]]:
    """Stop it, and forget its deliveries that are not under way."""
    return [
        statement(
            "delete from hubblewave.webhook_deliveries d using hubblewave.webhook_replays r"
            " where r.tenant_id = %s and r.id = %s and r.state = 'running'"
            " and d.webhook_id = r.webhook_id and d.kind = 'replay' and d.state = 'due'",
            (tenant_id, replay_id),
        ),
        statement(
            "update hubblewave.webhook_replays set state = 'cancelled', finished_at = now()"
            " where tenant_id = %s and id = %s and state = 'running'",
            (tenant_id, replay_id),
        ),
    ]


@dataclass(frozen=True, slots=True)
class Running:
    """A replay that has room for more, with what its webhook asks for."""

    id: UUID
    tenant_id: UUID
    events: list[str]
    filter: dict[str, Json] | None


def running_replays(limit: int) -> Statement[Running]:
    """Replays of enabled webhooks of which fewer than WAITING deliveries wait."""
    return statement(
        "select r.id, r.tenant_id, w.events, w.filter from hubblewave.webhook_replays r"
        " join hubblewave.webhooks w on w.id = r.webhook_id"
        " where r.state = 'running' and w.active and w.disabled_at is null"
        " and (select count(*) from (select from hubblewave.webhook_deliveries d"
        " where d.webhook_id = r.webhook_id and d.kind = 'replay' limit %s) p) < %s"
        " order by r.id limit %s",
        (WAITING, WAITING, limit),
        lambda row: Running(*row),
    )


def advance(
    replay: Running, page: int, fits: tuple[Entity, Filter] | None = None
) -> Statement[int]:
    """Deliveries of the next page of events, of those whose record `fits` when that is given.

    Answers how many events were looked at. No row when another worker has the replay in hand.
    """
    sql = Sql(
        [
            "with mine as materialized (select * from hubblewave.webhook_replays"
            " where id = %s and state = 'running' for update skip locked),"
            " page as materialized (select e.* from mine r join hubblewave.events e"
            " on e.tenant_id = r.tenant_id and e.occurred_at >= r.cursor_at"
            " and e.occurred_at < r.until and (e.occurred_at, e.n) > (r.cursor_at, r.cursor_n)"
            " where e.fanned_at is not null order by e.occurred_at, e.n limit %s),"
            " made as (insert into hubblewave.webhook_deliveries (tenant_id, webhook_id, event_id,"
            " event_n, occurred_at, type, kind, attempts_left) select e.tenant_id, w.id, e.id, e.n,"
            " e.occurred_at, e.type, 'replay', coalesce((w.retry_config ->> 'maxAttempts')::integer,"
            " 10) from mine r join page e on true join hubblewave.webhooks w on w.id = r.webhook_id"
            f" where {_CHOOSES} and (r.types is null or e.type = any(r.types))"
            f" and e.data is not null and (not r.only_missing or ({_MISSING}))"
        ],
        [replay.id, page],
    )
    if fits is not None:
        entity, found = fits
        sql.add(" and e.entity_id = %s and exists (select from", entity.id)
        sql.add(f" {former(entity, 'e.record')} a0 where ")
        sql.append(condition(found, 0)).add(")")
    sql.add(
        " order by e.occurred_at, e.n returning 1), size as (select count(*) as n from page),"
        " moved as (update hubblewave.webhook_replays r set seen = r.seen + size.n,"
        " queued = r.queued + (select count(*) from made),"
        " cursor_at = coalesce((select max(occurred_at) from page), r.cursor_at), cursor_n ="
        " coalesce((select n from page order by occurred_at desc, n desc limit 1), r.cursor_n),"
        " state = case when size.n < %s then 'done' else r.state end,"
        " finished_at = case when size.n < %s then now() end from mine, size where r.id = mine.id)"
        " select size.n from size where exists (select from mine)",
        page,
        page,
    )
    return statement(sql.text, sql.params, lambda row: int(row[0]))


def end_replay(replay_id: UUID) -> Statement[Any]:
    """End a replay that cannot go on: its webhook's filter means nothing any more."""
    return statement(
        "update hubblewave.webhook_replays set state = 'cancelled', finished_at = now()"
        " where id = %s",
        (replay_id,),
    )

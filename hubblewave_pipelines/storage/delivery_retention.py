"""How long events, deliveries and attempts are kept: days are dropped whole, successes go earlier."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from hubblewave_pipelines.storage.database import Statement, statement

BATCH = 5_000


def keep_days(parent: str, keep: timedelta) -> Statement[int]:
    """Make the partitions of the coming days, drop those that are over; answers how many went."""
    return statement("select hubblewave.keep_days(%s, %s)", (parent, keep), lambda row: int(row[0]))


def all_days(events: timedelta, failed: timedelta) -> Iterator[Statement[int]]:
    yield keep_days("events", events)
    yield keep_days("webhook_delivery_log", failed)
    yield keep_days("webhook_attempts", failed)


def trim_successes(keep: timedelta) -> list[Statement[Any]]:
    """Remove details of what went well, BATCH rows at a time: repeat while rows are removed."""
    return [
        statement(
            "delete from hubblewave.webhook_attempts where (delivery_id, n, started_at) in (select"
            " delivery_id, n, started_at from hubblewave.webhook_attempts where started_at"
            " < now() - %s and ended_at is not null and error_class is null limit %s)",
            (keep, BATCH),
        ),
        statement(
            "delete from hubblewave.webhook_delivery_log where (id, finished_at) in (select id,"
            " finished_at from hubblewave.webhook_delivery_log where finished_at < now() - %s"
            " and status = 'success' limit %s)",
            (keep, BATCH),
        ),
    ]


def forget_resolved(keep: timedelta) -> Statement[Any]:
    """Dead letters that somebody dealt with; the others stay until somebody does."""
    return statement(
        "delete from hubblewave.webhook_dead_letters where id in (select id from"
        " hubblewave.webhook_dead_letters where resolved_at < now() - %s limit %s)",
        (keep, BATCH),
    )


def bury_held(keep: timedelta) -> Statement[Any]:
    """Deliveries held for longer than their events are kept go to the dead letters."""
    return statement(
        "with old as (select * from hubblewave.webhook_deliveries where state = 'held'"
        " and occurred_at < now() - %s limit %s for update skip locked), gone as (delete from"
        " hubblewave.webhook_deliveries d using old where d.id = old.id), logged as (insert into"
        " hubblewave.webhook_delivery_log (id, tenant_id, webhook_id, event_id, occurred_at, type,"
        " kind, status, reason, attempts, created_at) select id, tenant_id, webhook_id, event_id,"
        " occurred_at, type, kind, 'failed', 'held_too_long', attempt, created_at from old)"
        " insert into hubblewave.webhook_dead_letters (tenant_id, webhook_id, delivery_id, event_id,"
        " occurred_at, type, ordering_key, data, reason, attempts) select o.tenant_id, o.webhook_id,"
        " o.id, o.event_id, o.occurred_at, o.type, e.ordering_key, e.data, 'held_too_long', o.attempt"
        " from old o join hubblewave.events e on e.id = o.event_id and e.occurred_at = o.occurred_at",
        (keep, BATCH),
    )

"""The queue of deliveries: claim with a lease, renew, take back what a dead worker held, release.

A claim moves the attempt count and commits who attempts it since when, before any socket opens: a
delivery that is `sending` is its own open attempt (storage.delivery_log shows it), whose row is
written with its result or, when the worker died, by `reap`. What a claim hands out carries a token,
and a result without the present token changes nothing (storage.results).
Only the database's clock decides. Claims take turns on an advisory lock, so that the caps count
what is really in flight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.storage.database import Statement, statement

_LOCK = 0x6877_0002_0000_0000
READY = 10  # leases of a webhook that answers well, in multiples of its cap


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is this worker's until its lease ends. `data` is the event's, as JSON text.

    `config_at` says which version of the webhook's configuration it is to be sent with.
    """

    id: UUID
    tenant_id: UUID
    webhook_id: UUID
    config_at: datetime
    token: UUID
    event_id: UUID
    type: str
    occurred_at: datetime
    data: str
    kind: str
    attempt: int
    attempts_left: int
    started_at: datetime


def turn() -> Statement[Any]:
    """Wait for this transaction's turn to claim. A claimer that stops in the middle is ended."""
    return statement(
        "select set_config('idle_in_transaction_session_timeout', '5s', true),"
        " set_config('lock_timeout', '5s', true), pg_advisory_xact_lock(%s)",
        (_LOCK,),
    )


def claim(
    *,
    worker: str,
    limit: int,
    endpoint_cap: int,
    tenant_cap: int,
    lease: float,
) -> Statement[Claimed]:
    """Lease up to `limit` due deliveries, oldest first within a webhook and fairly between them.

    A webhook gets `endpoint_cap` leases while it is slow or failing, and READY times as many while
    all goes well, to hide the way to the database; how many sockets are open is the worker's to
    cap. An open circuit that has cooled down gets one, as a probe.
    """
    return statement(
        """
        with recursive waiting as (
          (select webhook_id from hubblewave.webhook_deliveries where state = 'due'
           order by webhook_id limit 1)
          union all
          select (select d.webhook_id from hubblewave.webhook_deliveries d where d.state = 'due'
                  and d.webhook_id > waiting.webhook_id order by d.webhook_id limit 1)
          from waiting where waiting.webhook_id is not null
        ), ready as materialized (
          select w.id, w.tenant_id, w.ordering, w.updated_at, w.active,
            case when h.open_until is not null then 1
                 when h.recent ~ '^1{5}' and h.recent !~ '0' then %(cap)s * %(ready)s
                 else %(cap)s end
            - (select count(*) from hubblewave.webhook_deliveries d
               where d.webhook_id = w.id and d.state = 'sending') as room
          from waiting
          join hubblewave.webhooks w on w.id = waiting.webhook_id
          join hubblewave.webhook_health h on h.webhook_id = w.id
          where w.active and w.disabled_at is null and w.verified_at is not null
            and (h.open_until is null or h.open_until <= now())
            and (h.paused_until is null or h.paused_until <= now())
        ), busy as materialized (
          select tenant_id, count(*) as n from hubblewave.webhook_deliveries
          where state = 'sending' group by tenant_id
        ), ranked as (
          select p.id, p.webhook_id, p.rank, p.next_at, row_number() over (
              partition by r.tenant_id order by p.rank, p.next_at, p.id) as in_tenant,
            coalesce((select n from busy where busy.tenant_id = r.tenant_id), 0) as tenant_busy
          from ready r
          cross join lateral (
            select d.id, d.webhook_id, d.next_at, row_number() over () as rank from (
              select d.id, d.webhook_id, d.next_at from hubblewave.webhook_deliveries d
              where d.webhook_id = r.id and d.state = 'due' and d.next_at <= now()
                and (d.ordering_key is null or not exists (
                  select from hubblewave.webhook_deliveries e where e.webhook_id = d.webhook_id
                  and e.ordering_key = d.ordering_key and e.event_n < d.event_n))
              order by d.next_at, d.event_n limit greatest(r.room, 0)
            ) d
          ) p
        ), chosen as materialized (
          select d.id from hubblewave.webhook_deliveries d
          where d.state = 'due' and d.id in (
            select id from ranked where in_tenant + tenant_busy <= %(tenant_cap)s
            order by rank, next_at limit %(limit)s)
          for update skip locked
        ), taken as (
          update hubblewave.webhook_deliveries d set state = 'sending', attempt = d.attempt + 1,
            attempts_left = d.attempts_left - 1, lease_token = gen_random_uuid(),
            leased_until = now() + make_interval(secs => %(lease)s), started_at = now(),
            worker = %(worker)s
          from chosen where d.id = chosen.id returning d.*
        )
        select t.id, t.tenant_id, t.webhook_id, w.updated_at, t.lease_token, t.event_id, t.type,
          t.occurred_at, e.data, t.kind, t.attempt, t.attempts_left, t.started_at
        from taken t
        join ready w on w.id = t.webhook_id
        left join lateral (select e.data from hubblewave.events e
          where e.id = t.event_id and e.occurred_at = t.occurred_at) e on true
        order by t.next_at, t.event_n
        """,
        {
            "worker": worker,
            "limit": limit,
            "cap": endpoint_cap,
            "ready": READY,
            "tenant_cap": tenant_cap * READY,
            "lease": lease,
        },
        lambda row: Claimed(*row),
    )


def renew(tokens: Sequence[UUID], lease: float) -> Statement[int]:
    """Answers how many are still held."""
    return statement(
        "with renewed as (update hubblewave.webhook_deliveries"
        " set leased_until = now() + make_interval(secs => %s)"
        " where state = 'sending' and lease_token = any(%s) returning 1)"
        " select count(*) from renewed",
        (lease, list(tokens)),
        lambda row: int(row[0]),
    )


def release(tokens: Sequence[UUID]) -> Statement[Any]:
    """Give back what was claimed and never opened a socket; the attempt does not count."""
    return statement(
        "update hubblewave.webhook_deliveries set state = 'due', lease_token = null,"
        " leased_until = null, attempt = attempt - 1, attempts_left = attempts_left + 1"
        " where state = 'sending' and lease_token = any(%s)",
        (list(tokens),),
    )


def reap(limit: int) -> Statement[int]:
    """Take back what a worker holds longer than its lease: the attempt is `worker_lost`, and the
    delivery is due again, or dead when its attempts are used up. Answers how many there were."""
    return statement(
        """
        with lost as materialized (
          select * from hubblewave.webhook_deliveries
          where state = 'sending' and leased_until < now()
          order by leased_until limit %(limit)s for update skip locked
        ), closed as (
          insert into hubblewave.webhook_attempts as a (tenant_id, webhook_id, delivery_id, n,
            started_at, ended_at, worker, error_class)
          select tenant_id, webhook_id, id, attempt, started_at, now(), coalesce(worker, ''),
            'worker_lost' from lost
          on conflict (delivery_id, n, started_at) do update set ended_at = excluded.ended_at,
            error_class = excluded.error_class where a.ended_at is null
        ), again as (
          update hubblewave.webhook_deliveries d
          set state = case when w.active and w.disabled_at is null then 'due' else 'held' end,
            next_at = now(), lease_token = null, leased_until = null
          from lost join hubblewave.webhooks w on w.id = lost.webhook_id
          where d.id = lost.id and lost.attempts_left > 0
        ), gone as (
          delete from hubblewave.webhook_deliveries d using lost
          where d.id = lost.id and lost.attempts_left <= 0
        ), logged as (
          insert into hubblewave.webhook_delivery_log (id, tenant_id, webhook_id, event_id,
            occurred_at, type, kind, status, reason, attempts, created_at)
          select id, tenant_id, webhook_id, event_id, occurred_at, type, kind, 'failed',
            'exhausted', attempt, created_at from lost where attempts_left <= 0
        ), buried as (
          insert into hubblewave.webhook_dead_letters (tenant_id, webhook_id, delivery_id, event_id,
            occurred_at, type, ordering_key, data, reason, error_class, attempts)
          select l.tenant_id, l.webhook_id, l.id, l.event_id, l.occurred_at, l.type,
            e.ordering_key, e.data, 'exhausted', 'worker_lost', l.attempt
          from lost l join hubblewave.events e on e.id = l.event_id
            and e.occurred_at = l.occurred_at where l.attempts_left <= 0
        )
        select count(*) from lost
        """,
        {"limit": limit},
        lambda row: int(row[0]),
    )


def queue_state() -> Statement[tuple[str, int, float]]:
    """(state, how many, age of the oldest in seconds) for metrics; needs no tenant."""
    return statement(
        "select state, depth, oldest_seconds from hubblewave.webhook_queue()",
        (),
        lambda row: (row[0], row[1], row[2]),
    )


def redeliver(
    tenant_id: UUID, webhook_id: UUID, event_id: UUID, occurred_at: datetime
) -> Statement[UUID]:
    """A new delivery of an event to a webhook. No row when the event is kept no longer."""
    return statement(
        "insert into hubblewave.webhook_deliveries (tenant_id, webhook_id, event_id, event_n,"
        " occurred_at, type, kind, attempts_left) select e.tenant_id, w.id, e.id, e.n, e.occurred_at,"
        " e.type, 'replay', coalesce((w.retry_config ->> 'maxAttempts')::integer, 10)"
        " from hubblewave.events e join hubblewave.webhooks w on w.tenant_id = e.tenant_id"
        " where e.tenant_id = %s and w.id = %s and e.id = %s and e.occurred_at = %s"
        " and e.data is not null returning id",
        (tenant_id, webhook_id, event_id, occurred_at),
        lambda row: row[0],
    )

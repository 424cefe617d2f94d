"""What came of attempts, written batch by batch: only the holder of a lease may end a delivery."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement

Outcome = Literal["success", "retry", "dead", "gone"]


@dataclass(frozen=True, slots=True)
class Result:
    """One attempt that ended. `wait` is in seconds until the next one; `pause`, when set, is how
    long the whole webhook is to be left alone."""

    delivery_id: UUID
    tenant_id: UUID
    webhook_id: UUID
    token: UUID
    n: int
    started_at: datetime
    kind: str
    outcome: Outcome
    wait: float = 0.0
    pause: float | None = None
    reason: str | None = None
    status: int | None = None
    error_class: str | None = None
    detail: str | None = None
    duration_ms: float = 0.0
    request_headers: dict[str, str] | None = None
    response_headers: dict[str, str] | None = None
    response_body: str | None = None
    body_sha256: str | None = None
    sent_sha256: str | None = None

    def as_json(self) -> dict[str, Json]:
        return {
            name: str(value) if isinstance(value, UUID | datetime) else value
            for name in self.__slots__
            if (value := getattr(self, name)) is not None
        }


_ROWS = (
    "jsonb_to_recordset(%(rows)s::jsonb) r(delivery_id uuid, tenant_id uuid, webhook_id uuid,"
    " token uuid, n integer, started_at timestamptz, kind text, outcome text, wait float8,"
    " pause float8, reason text, status integer, error_class text, detail text, duration_ms float8,"
    " request_headers jsonb, response_headers jsonb, response_body text, body_sha256 text,"
    " sent_sha256 text)"
)


def write_results(results: Sequence[Result], *, disable_after: float) -> list[Statement[Any]]:
    """Statements for one transaction of the worker; `disable_after` is in seconds.

    The attempts of deliveries that are gone or were taken away meanwhile are recorded all the same.
    """
    times = [result.started_at for result in results]
    params = {
        "rows": json.dumps([result.as_json() for result in results]),
        "first": min(times),
        "last": max(times),
        "disable_after": disable_after,
    }
    return [statement(text, params) for text in (_ATTEMPTS, _DELIVERIES, _HEALTH, _DISABLE)]


_ATTEMPTS = f"""
update hubblewave.webhook_attempts a set ended_at = now(), status = r.status,
  error_class = r.error_class, detail = r.detail, duration_ms = r.duration_ms, request_headers = r.request_headers,
  response_headers = r.response_headers, response_body = r.response_body,
  body_sha256 = decode(r.body_sha256, 'hex'), sent_sha256 = decode(r.sent_sha256, 'hex')
from {_ROWS}
where a.delivery_id = r.delivery_id and a.n = r.n and a.started_at = r.started_at
  and a.started_at between %(first)s and %(last)s and a.ended_at is null
"""  # noqa: S608 - a constant of this module

# A key whose head keeps failing lets the others go on after the time its webhook states.
_DELIVERIES = f"""
with mine as materialized (
  select d.*, r.reason, r.status as answered, r.error_class, r.wait,
    case when r.outcome = 'retry' and d.ordering_key is not null
      and d.created_at < now() - make_interval(hours => w.ordering_escape_hours) then 'escape'
      when r.outcome = 'retry' and d.attempts_left <= 0 then 'dead'
      else r.outcome end as outcome,
    w.active and w.disabled_at is null and r.outcome <> 'gone' as goes_on
  from {_ROWS}
  join hubblewave.webhook_deliveries d on d.id = r.delivery_id and d.lease_token = r.token
  join hubblewave.webhooks w on w.id = d.webhook_id
  order by d.id for update of d
), ended as (
  delete from hubblewave.webhook_deliveries d using mine
  where d.id = mine.id and mine.outcome in ('success', 'dead', 'escape')
), again as (
  update hubblewave.webhook_deliveries d
  set state = case when mine.goes_on then 'due' else 'held' end, lease_token = null,
    leased_until = null, next_at = now() + make_interval(secs => coalesce(mine.wait, 0)),
    attempts_left = d.attempts_left + (mine.outcome = 'gone')::integer
  from mine where d.id = mine.id and mine.outcome in ('retry', 'gone')
), logged as (
  insert into hubblewave.webhook_delivery_log (id, tenant_id, webhook_id, event_id, occurred_at,
    type, kind, status, reason, attempts, created_at)
  select id, tenant_id, webhook_id, event_id, occurred_at, type, kind,
    case outcome when 'success' then 'success' else 'failed' end,
    case outcome when 'success' then null when 'escape' then 'ordering_escape'
      else coalesce(reason, 'exhausted') end, attempt, created_at
  from mine where outcome in ('success', 'dead', 'escape')
)
insert into hubblewave.webhook_dead_letters (tenant_id, webhook_id, delivery_id, event_id,
  occurred_at, type, ordering_key, data, reason, status, error_class, attempts)
select m.tenant_id, m.webhook_id, m.id, m.event_id, m.occurred_at, m.type, e.ordering_key, e.data,
  case m.outcome when 'escape' then 'ordering_escape' else coalesce(m.reason, 'exhausted') end,
  m.answered, m.error_class, m.attempt
from mine m join hubblewave.events e on e.id = m.event_id and e.occurred_at = m.occurred_at
where m.outcome in ('dead', 'escape')
"""  # noqa: S608 - a constant of this module

# The last 20 attempts, newest first; half of them failed: the circuit opens, for a minute at first
# and up to an hour. Replays and tests do not count.
_HEALTH = f"""
with batch as (
  select r.webhook_id, string_agg(case r.outcome when 'success' then '1' else '0' end, ''
      order by r.started_at desc, r.n desc) as bits,
    count(*) filter (where r.outcome = 'success') as good,
    count(*) filter (where r.outcome <> 'success') as bad, max(r.pause) as pause
  from {_ROWS} where r.kind = 'event' and r.reason is distinct from 'transform_failed'
  group by r.webhook_id
), next as (
  select h.webhook_id, left(b.bits || h.recent, 20) as recent, b.good, b.bad, b.pause, h.opens
  from hubblewave.webhook_health h join batch b on b.webhook_id = h.webhook_id
  order by h.webhook_id for update of h
)
update hubblewave.webhook_health h set
  succeeded = h.succeeded + n.good, failed = h.failed + n.bad,
  last_success_at = case when n.good > 0 then now() else h.last_success_at end,
  first_failure_at = case when n.good > 0 then null
    else coalesce(h.first_failure_at, now()) end,
  recent = case when h.open_until is not null and n.good > 0 then '' else n.recent end,
  opens = case when h.open_until is not null and n.good > 0 then 0
    when h.open_until is not null and h.open_until <= now() then h.opens + 1
    when h.open_until is null and length(n.recent) = 20
      and length(replace(n.recent, '1', '')) >= 10 then 1
    else h.opens end,
  open_until = case when h.open_until is not null and n.good > 0 then null
    when h.open_until is not null and h.open_until <= now() then
      now() + make_interval(secs => least(60 * 2 ^ least(h.opens, 10), 3600))
    when h.open_until is null and length(n.recent) = 20
      and length(replace(n.recent, '1', '')) >= 10 then now() + interval '60 seconds'
    else h.open_until end,
  paused_until = case when n.pause is not null
    then greatest(h.paused_until, now() + make_interval(secs => n.pause)) else h.paused_until end
from next n where h.webhook_id = n.webhook_id
"""  # noqa: S608 - a constant of this module

_DISABLE = f"""
with verdict as (
  select r.webhook_id, bool_or(r.outcome = 'gone') as gone from {_ROWS}
  where r.kind = 'event' or r.outcome = 'gone' group by r.webhook_id
), off as (
  update hubblewave.webhooks w set disabled_at = now(), updated_at = clock_timestamp(),
    disabled_reason = case when v.gone then 'gone' else 'failing' end
  from verdict v join hubblewave.webhook_health h on h.webhook_id = v.webhook_id
  where w.id = v.webhook_id and w.active and w.disabled_at is null
    and (v.gone or h.first_failure_at < now() - make_interval(secs => %(disable_after)s))
  returning w.id, w.tenant_id, w.name, w.disabled_reason, h.last_success_at
), held as (
  update hubblewave.webhook_deliveries d set state = 'held' from off
  where d.webhook_id = off.id and d.state = 'due'
)
insert into hubblewave.events (tenant_id, type, ordering_key, data)
select tenant_id, 'webhook.disabled', id::text, json_build_object('webhookId', id, 'name', name,
  'reason', disabled_reason, 'lastSuccessAt', last_success_at)::text from off
"""  # noqa: S608 - a constant of this module

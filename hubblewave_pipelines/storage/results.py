"""What came of attempts, written batch by batch: only the holder of a lease may end a delivery."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

import msgspec

from hubblewave_pipelines.storage.database import Statement, statement

Outcome = Literal["success", "retry", "dead", "gone"]
TRANSFORM_FAILURES = 20  # of a webhook's transform in a row, then it is disabled


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

    def without_texts(self) -> Self:
        """As it is, without what others wrote: enough to know what comes next."""
        return replace(
            self, detail=None, request_headers=None, response_headers=None, response_body=None
        )


def write_results(
    results: Sequence[Result], *, worker: str, disable_after: float
) -> list[Statement[int]]:
    """One statement when all went well, else more for one transaction; the first answers how many
    of the deliveries were still this worker's. `disable_after` is in seconds.

    The attempts of deliveries that are gone or were taken away meanwhile are recorded all the same,
    unless somebody else has closed them.
    """
    params = {
        "rows": msgspec.json.encode(results).decode(),
        "worker": worker,
        "disable_after": disable_after,
    }
    well = all(result.outcome == "success" for result in results)
    texts = (_WELL,) if well else (_MIXED, _DISABLE)
    return [statement(text, params, lambda row: int(row[0])) for text in texts]


_ROWS = (
    "json_to_recordset(%(rows)s::json) r(delivery_id uuid, tenant_id uuid, webhook_id uuid,"
    " token uuid, n integer, started_at timestamptz, kind text, outcome text, wait float8,"
    " pause float8, reason text, status integer, error_class text, detail text, duration_ms float8,"
    " request_headers jsonb, response_headers jsonb, response_body text, body_sha256 text,"
    " sent_sha256 text)"
)

# Rows of attempts that were claimed by an earlier release are there already, without an end.
_ATTEMPTS = f"""
with results as materialized (select * from {_ROWS}),
noted as (
  insert into hubblewave.webhook_attempts as a (tenant_id, webhook_id, delivery_id, n, started_at,
    ended_at, worker, status, error_class, detail, duration_ms, request_headers, response_headers,
    response_body, body_sha256, sent_sha256)
  select tenant_id, webhook_id, delivery_id, n, started_at, now(), %(worker)s, status, error_class,
    detail, duration_ms, request_headers, response_headers, response_body,
    decode(body_sha256, 'hex'), decode(sent_sha256, 'hex')
  from results
  on conflict (delivery_id, n, started_at) do update set ended_at = excluded.ended_at,
    worker = excluded.worker, status = excluded.status, error_class = excluded.error_class,
    detail = excluded.detail, duration_ms = excluded.duration_ms,
    request_headers = excluded.request_headers, response_headers = excluded.response_headers,
    response_body = excluded.response_body, body_sha256 = excluded.body_sha256,
    sent_sha256 = excluded.sent_sha256 where a.ended_at is null
)"""  # noqa: S608 - a constant of this module

_SUCCEEDED = """
, mine as materialized (
  select d.* from results r
  join hubblewave.webhook_deliveries d on d.id = r.delivery_id and d.lease_token = r.token
  order by d.id for update of d
), ended as (
  delete from hubblewave.webhook_deliveries d using mine where d.id = mine.id
), logged as (
  insert into hubblewave.webhook_delivery_log (id, tenant_id, webhook_id, event_id, occurred_at,
    type, kind, status, attempts, created_at)
  select id, tenant_id, webhook_id, event_id, occurred_at, type, kind, 'success', attempt, created_at
  from mine
)"""

# A key whose head keeps failing lets the others go on after the time its webhook states.
_ENDED = """
, mine as materialized (
  select d.*, r.reason, r.status as answered, r.error_class, r.wait,
    case when r.outcome = 'retry' and d.ordering_key is not null
      and d.created_at < now() - make_interval(hours => w.ordering_escape_hours) then 'escape'
      when r.outcome = 'retry' and d.attempts_left <= 0 then 'dead'
      else r.outcome end as outcome,
    w.active and w.disabled_at is null and r.outcome <> 'gone' as goes_on
  from results r
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
), buried as (
  insert into hubblewave.webhook_dead_letters (tenant_id, webhook_id, delivery_id, event_id,
    occurred_at, type, ordering_key, data, reason, status, error_class, attempts)
  select m.tenant_id, m.webhook_id, m.id, m.event_id, m.occurred_at, m.type, e.ordering_key, e.data,
    case m.outcome when 'escape' then 'ordering_escape' else coalesce(m.reason, 'exhausted') end,
    m.answered, m.error_class, m.attempt
  from mine m join hubblewave.events e on e.id = m.event_id and e.occurred_at = m.occurred_at
  where m.outcome in ('dead', 'escape')
)"""

# The last 20 attempts, newest first; half of them failed: the circuit opens, for a minute at first
# and up to an hour. Replays and tests do not count, nor does what never got to the receiver; of a
# transform it is counted how often it failed in a row.
_HEALTH = """
, batch as (
  select r.webhook_id, string_agg(case r.outcome when 'success' then '1' else '0' end, ''
      order by r.started_at desc, r.n desc) filter (where r.counts) as bits,
    count(*) filter (where r.counts and r.outcome = 'success') as good,
    count(*) filter (where r.counts and r.outcome <> 'success') as bad,
    max(r.pause) filter (where r.counts) as pause,
    count(*) filter (where r.reason = 'transform_failed') as untransformed,
    bool_or(r.error_class is null or r.error_class not in
      ('transform', 'worker', 'configuration', 'expired')) as transformed
  from (select *, kind = 'event' and reason is distinct from 'transform_failed' as counts
    from results) r
  group by r.webhook_id
), next as (
  select h.webhook_id, left(coalesce(b.bits, '') || h.recent, 20) as recent, b.good, b.bad, b.pause,
    h.opens, case when b.transformed then 0 else h.transform_failures + b.untransformed end
      as transform_failures
  from hubblewave.webhook_health h join batch b on b.webhook_id = h.webhook_id
  order by h.webhook_id for update of h
), told as (
update hubblewave.webhook_health h set
  succeeded = h.succeeded + n.good, failed = h.failed + n.bad,
  last_success_at = case when n.good > 0 then now() else h.last_success_at end,
  transform_failures = n.transform_failures,
  first_failure_at = case when n.good > 0 then null
    when n.bad > 0 then coalesce(h.first_failure_at, now()) else h.first_failure_at end,
  recent = case when h.open_until is not null and n.good > 0 then '' else n.recent end,
  opens = case when h.open_until is not null and n.good > 0 then 0
    when n.bad > 0 and h.open_until is not null and h.open_until <= now() then h.opens + 1
    when n.bad > 0 and h.open_until is null and length(n.recent) = 20
      and length(replace(n.recent, '1', '')) >= 10 then 1
    else h.opens end,
  open_until = case when h.open_until is not null and n.good > 0 then null
    when n.bad > 0 and h.open_until is not null and h.open_until <= now() then
      now() + make_interval(secs => least(60 * 2 ^ least(h.opens, 10), 3600))
    when n.bad > 0 and h.open_until is null and length(n.recent) = 20
      and length(replace(n.recent, '1', '')) >= 10 then now() + interval '60 seconds'
    else h.open_until end,
  paused_until = case when n.pause is not null
    then greatest(h.paused_until, now() + make_interval(secs => n.pause)) else h.paused_until end
from next n where h.webhook_id = n.webhook_id
)
select count(*) from mine
"""

_WELL = _ATTEMPTS + _SUCCEEDED + _HEALTH
_MIXED = _ATTEMPTS + _ENDED + _HEALTH

_DISABLE = f"""
with verdict as (
  select r.webhook_id, bool_or(r.outcome = 'gone') as gone,
    bool_or(r.kind = 'event') as counts from {_ROWS}
  where r.kind = 'event' or r.outcome = 'gone' or r.reason = 'transform_failed'
  group by r.webhook_id
), off as (
  update hubblewave.webhooks w set disabled_at = now(), updated_at = clock_timestamp(),
    disabled_reason = case when v.gone then 'gone'
      when h.transform_failures >= {TRANSFORM_FAILURES} then 'transform' else 'failing' end
  from verdict v join hubblewave.webhook_health h on h.webhook_id = v.webhook_id
  where w.id = v.webhook_id and w.active and w.disabled_at is null
    and (v.gone or h.transform_failures >= {TRANSFORM_FAILURES}
      or v.counts and h.first_failure_at < now() - make_interval(secs => %(disable_after)s))
  returning w.id, w.tenant_id, w.name, w.disabled_reason, h.last_success_at
), held as (
  update hubblewave.webhook_deliveries d set state = 'held' from off
  where d.webhook_id = off.id and d.state = 'due'
)
insert into hubblewave.events (tenant_id, type, ordering_key, data)
select tenant_id, 'webhook.disabled', id::text, json_build_object('webhookId', id, 'name', name,
  'reason', disabled_reason, 'lastSuccessAt', last_success_at)::text from off
returning 1
"""  # noqa: S608 - a constant of this module

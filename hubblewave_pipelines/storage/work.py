"""Work requests: what was asked for, who claims it, how it ends, and what must be started again.

requested -> submitted -> running -> succeeded | failed | cancelled. A Dagster run is an attempt at
a request; it claims the request by compare-and-set while it holds a lease, a session advisory lock
that PostgreSQL itself drops when the run's process dies. A claim succeeds when nobody *alive* holds
the request, so launching a request twice is harmless.
"""

# ruff: noqa: S608 - only this module's own constants are formatted into its statements

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hubblewave_pipelines.storage.database import Statement, statement

UNSUBMITTED_AFTER = timedelta(seconds=3)  # the API's own launch takes less
LEASE_GRACE = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class WorkRequest:
    id: UUID
    tenant_id: UUID
    kind: str
    ref_id: UUID
    asset_key: tuple[str, ...]
    state: str
    attempt: int  # attempts that failed before this one
    max_attempts: int
    run_id: str | None
    not_before: datetime
    error: str | None

    @property
    def attempt_key(self) -> str:
        """Names one attempt for ever; Dagster starts at most one run per key."""
        return f"{self.id}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request that some run should be working on, as the reconciler sees it."""

    request: WorkRequest
    held: bool  # the run's lease is held: its process lives
    idle: timedelta  # since it was submitted or claimed, whichever came last


_NAMES = "id, tenant_id, kind, ref_id, asset_key, state, attempt, max_attempts, run_id, not_before, error"
_COLUMNS = ", ".join(f"w.{name}" for name in _NAMES.split(", "))
# The same key as lease_key(): the first 64 bits of the run id's SHA-256.
_KEY_OF_RUN = (
    "('x' || substr(encode(sha256(convert_to({run}, 'UTF8')), 'hex'), 1, 16))::bit(64)::bigint"
)
_HELD = (
    "exists (select from pg_locks l where l.locktype = 'advisory' and l.granted"
    " and l.database = (select oid from pg_database where datname = current_database())"
    " and l.objsubid = 1"
    " and l.classid::bigint << 32 | l.objid::bigint = " + _KEY_OF_RUN + ")"
)


def _request(row: tuple[Any, ...]) -> WorkRequest:
    values = list(row[:11])
    values[4] = tuple(values[4])
    return WorkRequest(*values)


def lease_key(run_id: str) -> int:
    """The advisory lock that the process of `run_id` holds as long as it lives."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8], "big", signed=True)


def retry_delay(attempt: int) -> timedelta:
    """How long to wait before the attempt after failed attempt number `attempt` (from 0)."""
    return min(timedelta(seconds=2 << min(attempt, 20)), _LONGEST_WAIT)


def insert_request(
    tenant_id: UUID, kind: str, ref_id: UUID, asset_key: list[str], requested_by: UUID | None
) -> Statement[WorkRequest]:
    """Ask for work; to be executed in the transaction that writes the job row `ref_id`."""
    return statement(
        "insert into hubblewave.work_requests as w (tenant_id, kind, ref_id, asset_key, requested_by)"
        f" values (%s, %s, %s, %s, %s) returning {_COLUMNS}",
        (tenant_id, kind, ref_id, asset_key, requested_by),
        _request,
    )


def request_by_id(request_id: UUID) -> Statement[WorkRequest]:
    return statement(
        f"select {_COLUMNS} from hubblewave.work_requests w where w.id = %s",
        (request_id,),
        _request,
    )


def requests_of(tenant_id: UUID, ref_id: UUID) -> Statement[WorkRequest]:
    """Every request made for one job, newest first."""
    return statement(
        f"select {_COLUMNS} from hubblewave.work_requests w"
        " where w.tenant_id = %s and w.ref_id = %s order by w.id desc",
        (tenant_id, ref_id),
        _request,
    )


def submitted(request_id: UUID, run_id: str) -> Statement[Any]:
    """Note the run that was launched. Changes nothing once a run has claimed the request, or when
    this very run has already had its turn."""
    return statement(
        "update hubblewave.work_requests set state = 'submitted', run_id = %(run)s,"
        " submitted_at = now() where id = %(id)s and state = 'requested'"
        " and run_id is distinct from %(run)s",
        {"id": request_id, "run": run_id},
    )


def is_held(run_id: str) -> Statement[bool]:
    """Whether the process of `run_id` is alive and can reach the database."""
    return statement(f"select {_HELD.format(run='%s')}", (run_id,), lambda row: bool(row[0]))


def is_abandoned(run_id: str) -> Statement[bool]:
    """Whether `run_id` claimed a request that is still running although its lease is gone."""
    return statement(
        "select exists (select from hubblewave.work_requests w where w.run_id = %s"
        f" and w.state = 'running' and not {_HELD.format(run='w.run_id')})",
        (run_id,),
        lambda row: bool(row[0]),
    )


def claim(request_id: UUID, run_id: str) -> Statement[WorkRequest]:
    """Make `run_id`, which must hold its lease, the one that works on the request.

    No row when the request is over, unknown, or held by a run that is alive. Taking over from a
    dead run counts as an attempt.
    """
    return statement(
        "update hubblewave.work_requests w set state = 'running', run_id = %(run)s,"
        " started_at = now(), finished_at = null, error = null,"
        " attempt = w.attempt + (w.state = 'running' and w.run_id <> %(run)s)::int"
        " where w.id = %(id)s and (w.state in ('requested', 'submitted') or (w.state = 'running'"
        f" and (w.run_id = %(run)s or not {_HELD.format(run='w.run_id')}))) returning {_COLUMNS}",
        {"id": request_id, "run": run_id},
        _request,
    )


def is_mine(request_id: UUID, run_id: str) -> Statement[bool]:
    """Whether `run_id` still is the run that works on the request."""
    return statement(
        "select exists (select from hubblewave.work_requests"
        " where id = %s and run_id = %s and state = 'running')",
        (request_id, run_id),
        lambda row: bool(row[0]),
    )


def finish(
    request_id: UUID, run_id: str, state: str, error: str | None = None
) -> Statement[WorkRequest]:
    """End the request as succeeded, failed or cancelled; no row when another run holds it now."""
    return statement(
        "update hubblewave.work_requests w set state = %(state)s, error = %(error)s,"
        " finished_at = now() where w.id = %(id)s and w.run_id = %(run)s"
        f" and w.state in ('submitted', 'running') returning {_COLUMNS}",
        {"id": request_id, "run": run_id, "state": state, "error": error},
        _request,
    )


def cancel_unclaimed(tenant_id: UUID, ref_id: UUID) -> Statement[WorkRequest]:
    """Cancel what no run has begun yet; a run that is launched already will find it cancelled."""
    return statement(
        "update hubblewave.work_requests w set state = 'cancelled', finished_at = now()"
        " where w.tenant_id = %s and w.ref_id = %s and w.state in ('requested', 'submitted')"
        f" returning {_COLUMNS}",
        (tenant_id, ref_id),
        _request,
    )


# Ends the job row of a request that ended, so that nobody waits for it for ever. Row security
# shows it only in a transaction on behalf of the request's tenant.
_TELL_JOB = ",".join(
    f" told_{kind} as (update hubblewave.{kind}_jobs j set status = ended.state,"
    " completed_at = now(), error = case when ended.state = 'failed' then jsonb_build_object("
    "'code', %(code)s::text, 'detail', ended.error) end"
    f" from ended where ended.kind = '{kind}' and ended.state in ('failed', 'cancelled')"
    " and j.id = ended.ref_id and j.tenant_id = ended.tenant_id"
    " and j.status in ('pending', 'processing'))"
    for kind in ("import", "export")
) + (
    ", told_revert as (update hubblewave.import_reverts r set status = 'failed',"
    " completed_at = now(), error = jsonb_build_object('code', %(code)s::text,"
    " 'detail', ended.error) from ended where ended.kind = 'revert'"
    " and ended.state in ('failed', 'cancelled') and r.id = ended.ref_id"
    " and r.tenant_id = ended.tenant_id and r.status in ('pending', 'processing')),"
    " told_sync as (update hubblewave.sync_runs s set status = ended.state,"
    " completed_at = now(), error = case when ended.state = 'failed' then jsonb_build_object("
    "'code', %(code)s::text, 'detail', ended.error) end"
    " from ended where ended.kind = 'sync' and ended.state in ('failed', 'cancelled')"
    " and s.id = ended.ref_id and s.tenant_id = ended.tenant_id"
    " and s.status in ('pending', 'running')),"
    " told_ask as (update hubblewave.connector_asks a set status = ended.state,"
    " completed_at = now(), error = case when ended.state = 'failed' then jsonb_build_object("
    "'code', %(code)s::text, 'detail', ended.error) end"
    " from ended where ended.kind in ('check', 'discover')"
    " and ended.state in ('failed', 'cancelled') and a.id = ended.ref_id"
    " and a.tenant_id = ended.tenant_id and a.status in ('pending', 'processing'))"
)


def give_back(
    request: WorkRequest,
    run_id: str | None,
    error: str,
    *,
    delay: timedelta,
    code: str | None = None,
) -> Statement[WorkRequest]:
    """`run_id` could not do the work: request it again after `delay`, or end it as failed when the
    attempts are used up, and its job row with it, under `code` or as given up.

    Needs a transaction on behalf of the request's tenant. No row when another run holds it now.
    """
    return statement(
        "with ended as (update hubblewave.work_requests w set"
        " state = case when w.attempt + 1 < w.max_attempts then 'requested' else 'failed' end,"
        " attempt = w.attempt + 1, error = %(error)s, not_before = now() + %(delay)s,"
        " finished_at = case when w.attempt + 1 < w.max_attempts then null else now() end"
        " where w.id = %(id)s and w.attempt = %(attempt)s and w.run_id is not distinct from %(run)s"
        f" and w.state in ('requested', 'submitted', 'running') returning {_COLUMNS}),{_TELL_JOB}"
        f" select {_NAMES} from ended",
        {
            "id": request.id,
            "attempt": request.attempt,
            "run": run_id,
            "error": error,
            "delay": delay,
            "code": code or f"{request.kind}.gave_up",
        },
        _request,
    )


def end(
    request: WorkRequest, state: str, error: str, *, code: str | None = None
) -> Statement[WorkRequest]:
    """End an open request as failed or cancelled, and its job row with it.

    Needs a transaction on behalf of the request's tenant. No row when somebody moved it meanwhile.
    """
    return statement(
        "with ended as (update hubblewave.work_requests w set state = %(state)s,"
        " error = %(error)s, finished_at = now() where w.id = %(id)s and w.attempt = %(attempt)s"
        " and w.run_id is not distinct from %(run)s"
        f" and w.state in ('requested', 'submitted', 'running') returning {_COLUMNS}),{_TELL_JOB}"
        f" select {_NAMES} from ended",
        {
            "id": request.id,
            "attempt": request.attempt,
            "run": request.run_id,
            "state": state,
            "error": error,
            "code": code or f"{request.kind}.failed",
        },
        _request,
    )


def due(limit: int, per_tenant: int) -> Statement[WorkRequest]:
    """Requests that nobody has launched: the API's launch did not happen, or a retry came due.

    Of a tenant no more than `per_tenant` are launched or at work at a time; the others wait.
    """
    return statement(
        f"select {_NAMES} from (select w.*, row_number() over"
        " (partition by w.tenant_id order by w.not_before, w.id) as place,"
        " (select count(*) from hubblewave.work_requests a where a.tenant_id = w.tenant_id"
        " and a.state in ('submitted', 'running')) as active"
        " from hubblewave.work_requests w where w.state = 'requested' and w.not_before <= now()"
        " and (w.attempt > 0 or w.created_at < now() - %s)) w"
        " where w.active + w.place <= %s order by w.not_before, w.id limit %s",
        (UNSUBMITTED_AFTER, per_tenant, limit),
        _request,
    )


def active(tenant_id: UUID) -> Statement[int]:
    """How many requests of the tenant are launched or at work."""
    return statement(
        "select count(*) from hubblewave.work_requests"
        " where tenant_id = %s and state in ('submitted', 'running')",
        (tenant_id,),
        lambda row: int(row[0]),
    )


def next_small_import(tenant_id: UUID, max_bytes: int) -> Statement[UUID]:
    """The oldest import request of the tenant that nobody has launched, of a file that small.

    Needs a transaction on behalf of the tenant.
    """
    return statement(
        "select w.id from hubblewave.work_requests w join hubblewave.import_jobs j"
        " on j.tenant_id = w.tenant_id and j.id = w.ref_id where w.tenant_id = %s"
        " and w.kind = 'import' and w.state = 'requested' and w.not_before <= now()"
        " and j.file_size <= %s order by w.id limit 1",
        (tenant_id, max_bytes),
        lambda row: row[0],
    )


def waiting_for(asset_key: list[str], limit: int) -> Statement[WorkRequest]:
    """Requests for one asset that no run works on, oldest first."""
    return statement(
        f"select {_COLUMNS} from hubblewave.work_requests w where w.asset_key = %s"
        " and w.state in ('requested', 'submitted') order by w.id limit %s",
        (asset_key, limit),
        _request,
    )


def open_requests(limit: int) -> Statement[OpenRequest]:
    """Submitted and running requests, with whether their run's process lives."""
    return statement(
        f"select {_COLUMNS}, {_HELD.format(run='w.run_id')},"
        " extract(epoch from now() - greatest(w.started_at, w.submitted_at))::double precision"
        " from hubblewave.work_requests w where w.state in ('submitted', 'running')"
        " order by w.id limit %s",
        (limit,),
        lambda row: OpenRequest(_request(row), bool(row[11]), timedelta(seconds=row[12] or 0)),
    )

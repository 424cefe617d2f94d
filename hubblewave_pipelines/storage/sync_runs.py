"""Runs of sync jobs: what each was asked for, what it counted, the windows it read, how it ended."""

# ruff: noqa: S608 - only names of our own tables and columns are formatted into statements

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement

OPEN = ("pending", "running")


@dataclass(frozen=True, slots=True)
class SyncRun:
    id: UUID
    tenant_id: UUID
    job_id: UUID
    kind: str
    status: str
    window_start: datetime | None
    window_end: datetime | None
    allow_deletes: bool
    cancel_requested: bool
    processed: int
    created: int
    updated: int
    unchanged: int
    deleted: int
    failed: int
    requests: int
    min_requests: int
    mark: datetime | None
    mark_source: str | None
    mark_lag: float | None  # seconds between the mark and when it was asked for
    notes: Json
    error: Json
    run_id: str | None
    created_by: UUID | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def succeeded(self) -> int:
        return self.created + self.updated + self.unchanged + self.deleted


@dataclass(frozen=True, slots=True)
class Counts:
    """What a step adds to the counts of its run."""

    processed: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: int = 0
    requests: int = 0
    min_requests: int = 0


@dataclass(frozen=True, slots=True)
class WindowRead:
    """One window that a run read, with its audit. `low` None: since ever; `high` None: everything."""

    run_id: UUID
    no: int
    low: datetime | None
    high: datetime | None
    rows: int
    deleted: int
    remote_count: int | None
    local_count: int | None
    completed_at: datetime | None = None


_NAMES = [field.name for field in fields(SyncRun)]
_COLUMNS = ", ".join(f"r.{name}" for name in _NAMES)
_COUNTED = [field.name for field in fields(Counts)]
_WINDOW = ", ".join(field.name for field in fields(WindowRead))


def _run(row: tuple[Any, ...]) -> SyncRun:
    return SyncRun(*row)


def insert_run(
    tenant_id: UUID,
    job_id: UUID,
    *,
    kind: str = "live",
    window: tuple[datetime, datetime] | None = None,
    allow_deletes: bool = False,
    created_by: UUID | None = None,
) -> Statement[SyncRun]:
    """A run that waits for its work request. With a `window` it is of kind `window`."""
    start, end = window or (None, None)
    return statement(
        "insert into hubblewave.sync_runs as r (tenant_id, job_id, kind, window_start, window_end,"
        " allow_deletes, created_by) values (%s, %s, %s, %s, %s, %s, %s)"
        f" returning {_COLUMNS}",
        (tenant_id, job_id, "window" if window else kind, start, end, allow_deletes, created_by),
        _run,
    )


def run_by_id(tenant_id: UUID, run_id: UUID) -> Statement[SyncRun]:
    return statement(
        f"select {_COLUMNS} from hubblewave.sync_runs r where r.tenant_id = %s and r.id = %s",
        (tenant_id, run_id),
        _run,
    )


def runs_of(
    tenant_id: UUID, job_id: UUID, *, limit: int, offset: int, status: str | None = None
) -> Statement[SyncRun]:
    """Newest first."""
    return statement(
        f"select {_COLUMNS} from hubblewave.sync_runs r where r.tenant_id = %s and r.job_id = %s"
        " and (%s::text is null or r.status = %s)"
        " order by r.created_at desc, r.id desc limit %s offset %s",
        (tenant_id, job_id, status, status, limit, offset),
        _run,
    )


def count_runs(tenant_id: UUID, job_id: UUID, *, status: str | None = None) -> Statement[int]:
    return statement(
        "select count(*) from hubblewave.sync_runs r where r.tenant_id = %s and r.job_id = %s"
        " and (%s::text is null or r.status = %s)",
        (tenant_id, job_id, status, status),
        lambda row: int(row[0]),
    )


def open_runs(tenant_id: UUID, job_id: UUID) -> Statement[SyncRun]:
    """Those that are not over, oldest first."""
    return statement(
        f"select {_COLUMNS} from hubblewave.sync_runs r where r.tenant_id = %s and r.job_id = %s"
        " and r.status in ('pending', 'running') order by r.id",
        (tenant_id, job_id),
        _run,
    )


def start_run(tenant_id: UUID, id: UUID, run_id: str) -> Statement[SyncRun]:
    """Make `run_id` the Dagster run at work; no row when the run is over or unknown."""
    return statement(
        "update hubblewave.sync_runs r set status = 'running', run_id = %(run)s, error = null,"
        " started_at = coalesce(r.started_at, now())"
        " where r.tenant_id = %(tenant)s and r.id = %(id)s and r.status in ('pending', 'running')"
        f" returning {_COLUMNS}",
        {"tenant": tenant_id, "id": id, "run": run_id},
        _run,
    )


def count_step(tenant_id: UUID, id: UUID, counts: Counts) -> Statement[bool]:
    """Add to the counts; whether somebody asked for the run to stop. No row when it is over."""
    pairs = ", ".join(f"{name} = r.{name} + %({name})s" for name in _COUNTED)
    return statement(
        f"update hubblewave.sync_runs r set {pairs}"
        " where r.tenant_id = %(tenant_)s and r.id = %(id_)s and r.status = 'running'"
        " returning r.cancel_requested",
        {
            **{name: getattr(counts, name) for name in _COUNTED},
            "tenant_": tenant_id,
            "id_": id,
        },
        lambda row: bool(row[0]),
    )


def note_mark(tenant_id: UUID, id: UUID, mark: datetime, source: str, lag: float) -> Statement[Any]:
    return statement(
        "update hubblewave.sync_runs set mark = %s, mark_source = %s, mark_lag = %s"
        " where tenant_id = %s and id = %s",
        (mark, source, lag, tenant_id, id),
    )


def note(tenant_id: UUID, id: UUID, code: str, detail: str) -> Statement[Any]:
    """Add what a person should know of the run, once."""
    said = [{"code": code, "detail": detail}]
    return statement(
        "update hubblewave.sync_runs set notes = notes || %(said)s"
        " where tenant_id = %(tenant)s and id = %(id)s and not notes @> %(said)s",
        {"said": Jsonb(said), "tenant": tenant_id, "id": id},
    )


def end_run(tenant_id: UUID, id: UUID, status: str, error: Json = None) -> list[Statement[Any]]:
    """Settle a run that is at work, and note it at its job and connector."""
    params = {
        "tenant": tenant_id,
        "id": id,
        "status": status,
        "error": None if error is None else Jsonb(error),
    }
    return [
        statement(
            "update hubblewave.sync_runs set status = %(status)s, error = %(error)s,"
            " completed_at = now() where tenant_id = %(tenant)s and id = %(id)s"
            " and status in ('pending', 'running')",
            params,
        ),
        statement(
            "update hubblewave.sync_jobs j set last_run_id = r.id, last_success_at ="
            " case when r.status in ('success', 'partial') then now() else j.last_success_at end"
            " from hubblewave.sync_runs r where r.tenant_id = %(tenant)s and r.id = %(id)s"
            " and j.tenant_id = r.tenant_id and j.id = r.job_id",
            params,
        ),
        statement(
            "update hubblewave.connectors c set last_sync_at = now() from hubblewave.sync_runs r"
            " join hubblewave.sync_jobs j on j.tenant_id = r.tenant_id and j.id = r.job_id"
            " where r.tenant_id = %(tenant)s and r.id = %(id)s and r.status in ('success', 'partial')"
            " and c.tenant_id = r.tenant_id and c.id = j.connector_id",
            params,
        ),
    ]


def request_cancel(tenant_id: UUID, id: UUID) -> Statement[SyncRun]:
    """Cancel: at once what no run has begun, else mark it for its run. No row when it is over."""
    return statement(
        "update hubblewave.sync_runs r set cancel_requested = true,"
        " status = case when r.status = 'pending' then 'cancelled' else r.status end,"
        " completed_at = case when r.status = 'pending' then now() end"
        " where r.tenant_id = %s and r.id = %s and r.status in ('pending', 'running')"
        f" returning {_COLUMNS}",
        (tenant_id, id),
        _run,
    )


def insert_window(tenant_id: UUID, job_id: UUID, read: WindowRead) -> Statement[Any]:
    """`no` counts within the run by itself."""
    return statement(
        "insert into hubblewave.sync_windows (tenant_id, job_id, run_id, no, low, high, rows,"
        " deleted, remote_count, local_count) select %s, %s, %s,"
        " coalesce(max(no) + 1, 0), %s, %s, %s, %s, %s, %s"
        " from hubblewave.sync_windows where run_id = %s",
        (
            tenant_id,
            job_id,
            read.run_id,
            read.low,
            read.high,
            read.rows,
            read.deleted,
            read.remote_count,
            read.local_count,
            read.run_id,
        ),
    )


def windows_of(tenant_id: UUID, run_ids: Sequence[UUID]) -> Statement[WindowRead]:
    """The windows that these runs read, in the order in which they were read."""
    return statement(
        f"select {_WINDOW} from hubblewave.sync_windows where tenant_id = %s and run_id = any(%s)"
        " order by completed_at, no",
        (tenant_id, list(run_ids)),
        lambda row: WindowRead(*row),
    )

"""Export jobs: what is asked for, what became of it, and which of them recur."""

# ruff: noqa: S608 - only names of our own tables and columns are formatted into statements

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, func, insert, select, update

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, compiled, statement
from hubblewave_pipelines.storage.tables import export_jobs

OPEN = ("pending", "processing")
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class ExportJob:
    """One file, or the schedule that files are made by (status `scheduled`)."""

    id: UUID
    tenant_id: UUID
    entity_id: str
    entity_name: str
    query: Json
    format: str
    options: Json
    schedule: str | None
    timezone: str | None
    next_run_at: datetime | None
    last_export_id: UUID | None
    schedule_id: UUID | None
    destination: str | None
    delivered_to: str | None
    status: str
    cancel_requested: bool
    done: int
    expected: int | None
    total: int | None
    file_path: str | None
    file_name: str | None
    file_size: int | None
    file_sha256: bytes | None
    manifest: Json
    expires_at: datetime | None
    removed_at: datetime | None
    error: Json
    run_id: str | None
    created_by: UUID | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewExport:
    tenant_id: UUID
    entity_id: str
    entity_name: str
    query: Json
    format: str
    options: Json
    destination: str | None
    created_by: UUID | None
    schedule: str | None = None
    timezone: str | None = None
    next_run_at: datetime | None = None
    schedule_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A file that is complete and where it says it is."""

    path: str
    name: str
    size: int
    sha256: bytes
    rows: int
    manifest: Json
    delivered_to: str | None
    kept_days: int


_e = export_jobs.c
_JOB = (
    _e.id,
    _e.tenant_id,
    _e.entity_id,
    _e.entity_name,
    _e.query,
    _e.format,
    _e.options,
    _e.schedule,
    _e.timezone,
    _e.next_run_at,
    _e.last_export_id,
    _e.schedule_id,
    _e.destination,
    _e.delivered_to,
    _e.status,
    _e.cancel_requested,
    _e.records_done,
    _e.records_expected,
    _e.total_records,
    _e.file_path,
    _e.file_name,
    _e.file_size,
    _e.file_sha256,
    _e.manifest,
    _e.expires_at,
    _e.removed_at,
    _e.error,
    _e.run_id,
    _e.created_by,
    _e.created_at,
    _e.started_at,
    _e.completed_at,
)


def _job(row: tuple[Any, ...]) -> ExportJob:
    return ExportJob(*row)


def insert_job(new: NewExport) -> Statement[ExportJob]:
    query = insert(export_jobs).values(
        tenant_id=new.tenant_id,
        entity_id=new.entity_id,
        entity_name=new.entity_name,
        query=new.query,
        format=new.format,
        options=new.options,
        destination=new.destination,
        created_by=new.created_by,
        schedule=new.schedule,
        timezone=new.timezone,
        next_run_at=new.next_run_at,
        schedule_id=new.schedule_id,
        status="pending" if new.schedule is None else "scheduled",
    )
    return compiled(query.returning(*_JOB), _job)


def job_by_id(tenant_id: UUID, job_id: UUID) -> Statement[ExportJob]:
    return compiled(select(*_JOB).where(_e.tenant_id == tenant_id, _e.id == job_id), _job)


def _listed(tenant_id: UUID, schedule_id: UUID | None, status: str | None) -> list[Any]:
    found = [_e.tenant_id == tenant_id]
    if schedule_id is not None:
        found.append(_e.schedule_id == schedule_id)
    if status is not None:
        found.append(_e.status == status)
    return found


def jobs_of(
    tenant_id: UUID,
    *,
    limit: int,
    offset: int,
    schedule_id: UUID | None = None,
    status: str | None = None,
) -> Statement[ExportJob]:
    """Newest first; those made by a schedule, or of a status, when one is given."""
    query = select(*_JOB).where(*_listed(tenant_id, schedule_id, status))
    query = query.order_by(_e.created_at.desc(), _e.id.desc()).limit(limit).offset(offset)
    return compiled(query, _job)


def count_jobs(
    tenant_id: UUID, *, schedule_id: UUID | None = None, status: str | None = None
) -> Statement[int]:
    query = select(func.count()).select_from(export_jobs)
    return compiled(query.where(*_listed(tenant_id, schedule_id, status)), lambda row: int(row[0]))


def start_job(tenant_id: UUID, job_id: UUID, run_id: str) -> Statement[ExportJob]:
    """Make `run_id` the run that writes the file; no row when the export is over."""
    query = (
        update(export_jobs)
        .where(_e.tenant_id == tenant_id, _e.id == job_id, _e.status.in_(OPEN))
        .values(
            status="processing",
            run_id=run_id,
            started_at=func.coalesce(_e.started_at, func.now()),
            records_done=0,
        )
    )
    return compiled(query.returning(*_JOB), _job)


def _mine(tenant_id: UUID, job_id: UUID, run_id: str) -> Any:
    return and_(
        _e.tenant_id == tenant_id,
        _e.id == job_id,
        _e.run_id == run_id,
        _e.status == "processing",
    )


def note_rows(
    tenant_id: UUID, job_id: UUID, run_id: str, done: int, expected: int | None
) -> Statement[bool]:
    """How far the file is; whether somebody asked for it to stop, or no row when it is not ours."""
    query = (
        update(export_jobs)
        .where(_mine(tenant_id, job_id, run_id))
        .values(records_done=done, records_expected=expected)
    )
    return compiled(query.returning(_e.cancel_requested), lambda row: bool(row[0]))


def publish_job(
    tenant_id: UUID, job_id: UUID, run_id: str, file: Published
) -> Statement[ExportJob]:
    """Complete the export with its file; no row when it was settled meanwhile or is another's."""
    query = (
        update(export_jobs)
        .where(_mine(tenant_id, job_id, run_id))
        .values(
            status="completed",
            total_records=file.rows,
            records_done=file.rows,
            file_path=file.path,
            file_name=file.name,
            file_size=file.size,
            file_sha256=file.sha256,
            manifest=file.manifest,
            delivered_to=file.delivered_to,
            completed_at=func.now(),
            expires_at=func.now() + timedelta(days=file.kept_days),
            error=None,
        )
    )
    return compiled(query.returning(*_JOB), _job)


def end_job(
    tenant_id: UUID, job_id: UUID, run_id: str, status: str, error: Json = None
) -> Statement[ExportJob]:
    """Settle as failed or cancelled; no row when it is settled or another run's."""
    query = (
        update(export_jobs)
        .where(_mine(tenant_id, job_id, run_id))
        .values(status=status, error=error, completed_at=func.now())
    )
    return compiled(query.returning(*_JOB), _job)


def request_cancel(tenant_id: UUID, job_id: UUID) -> Statement[ExportJob]:
    """Cancel: at once what no run has begun and what is scheduled, else mark it for its run.

    No row when the export is over or unknown.
    """
    columns = ", ".join(column.name for column in _JOB)
    return statement(
        "update hubblewave.export_jobs set cancel_requested = true,"
        " status = case when status in ('pending', 'scheduled') then 'cancelled' else status end,"
        " completed_at = case when status in ('pending', 'scheduled') then now() end"
        " where tenant_id = %s and id = %s and status in ('pending', 'processing', 'scheduled')"
        f" returning {columns}",
        (tenant_id, job_id),
        _job,
    )


def reopen_job(tenant_id: UUID, job_id: UUID) -> Statement[ExportJob]:
    """A failed or cancelled export to pending; no row for any other, schedules included."""
    query = (
        update(export_jobs)
        .where(
            _e.tenant_id == tenant_id,
            _e.id == job_id,
            _e.status.in_(("failed", "cancelled")),
            _e.schedule.is_(None),
        )
        .values(
            status="pending",
            cancel_requested=False,
            error=None,
            records_done=0,
            started_at=None,
            completed_at=None,
        )
    )
    return compiled(query.returning(*_JOB), _job)


def remove_job(tenant_id: UUID, job_id: UUID) -> Statement[ExportJob]:
    """Forget an export that is over; no row when it is not."""
    query = delete(export_jobs).where(
        _e.tenant_id == tenant_id, _e.id == job_id, _e.status.in_(ENDED)
    )
    return compiled(query.returning(*_JOB), _job)


def due_schedules(limit: int) -> Statement[tuple[UUID, UUID]]:
    """(tenant, id) of schedules whose time has come, longest due first. Worker only."""
    query = select(_e.tenant_id, _e.id).where(
        _e.status == "scheduled", _e.next_run_at <= func.now()
    )
    return compiled(query.order_by(_e.next_run_at).limit(limit), lambda row: (row[0], row[1]))


def hold_schedule(tenant_id: UUID, job_id: UUID) -> Statement[tuple[ExportJob, datetime]]:
    """A schedule that is due, locked, with the database's time; no row when another has it or had
    it already."""
    query = (
        select(*_JOB, func.now())
        .where(
            _e.tenant_id == tenant_id,
            _e.id == job_id,
            _e.status == "scheduled",
            _e.next_run_at <= func.now(),
        )
        .with_for_update(skip_locked=True)
    )
    return compiled(query, lambda row: (_job(row[:-1]), row[-1]))


def open_exports(tenant_id: UUID, schedule_id: UUID) -> Statement[int]:
    """How many exports of a schedule are not over."""
    query = select(func.count()).where(
        _e.tenant_id == tenant_id, _e.schedule_id == schedule_id, _e.status.in_(OPEN)
    )
    return compiled(query, lambda row: int(row[0]))


def reschedule(
    tenant_id: UUID, job_id: UUID, next_run_at: datetime, made: UUID | None
) -> Statement[Any]:
    """When a schedule is due next, and what was made of it now."""
    values: dict[str, object] = {"next_run_at": next_run_at}
    if made is not None:
        values["last_export_id"] = made
    return compiled(
        update(export_jobs).where(_e.tenant_id == tenant_id, _e.id == job_id).values(**values)
    )


def known_files(tenant_id: UUID, paths: Sequence[str]) -> Statement[str]:
    """Those of `paths` that an export of the tenant still promises."""
    query = select(_e.file_path).where(
        _e.tenant_id == tenant_id, _e.file_path.in_(paths), _e.removed_at.is_(None)
    )
    return compiled(query, lambda row: row[0])


def expire_files(tenant_id: UUID) -> Statement[str]:
    """Note that the files whose time is over are gone; their paths, to be removed."""
    query = (
        update(export_jobs)
        .where(_e.tenant_id == tenant_id, _e.expires_at < func.now(), _e.removed_at.is_(None))
        .values(removed_at=func.now())
    )
    return compiled(query.returning(_e.file_path), lambda row: row[0])

"""Sync jobs: which stream is kept in step with which entity, how, and how far that has come."""

# ruff: noqa: S608 - only names of our own tables and columns are formatted into statements

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from psycopg.types.multirange import Multirange

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement

Interval = tuple[datetime | None, datetime | None]  # None: without bound


@dataclass(frozen=True, slots=True)
class SyncJob:
    """`mark`: changes before it are here, by the other system's clock. `coverage`: what was read."""

    id: UUID
    tenant_id: UUID
    connector_id: UUID
    name: str
    direction: str
    source_entity: str  # the stream
    entity_id: str
    entity_name: str
    field_mapping: Json
    match_field: str | None
    filter: str | None
    schedule: str | None
    timezone: str
    next_run_at: datetime | None
    conflict_resolution: str
    delete_policy: str
    delete_field: str | None
    brake_rows: int
    brake_percent: float
    window_size: str
    start_date: datetime | None
    snapshot_hours: int
    emit_events: str
    status: str
    error: Json
    mark: datetime | None
    mark_source: str | None
    coverage: tuple[Interval, ...]
    stream_fields: Json
    generation: int
    snapshot_at: datetime | None
    last_run_id: UUID | None
    last_success_at: datetime | None
    created_by: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewSyncJob:
    """What somebody chooses; everything else has a default or is made by runs."""

    tenant_id: UUID
    connector_id: UUID
    name: str
    source_entity: str
    entity_id: str
    entity_name: str
    field_mapping: Json
    direction: str = "inbound"
    match_field: str | None = None
    filter: str | None = None
    schedule: str | None = None
    timezone: str = "UTC"
    next_run_at: datetime | None = None
    conflict_resolution: str = "source_wins"
    delete_policy: str = "delete"
    delete_field: str | None = None
    brake_rows: int = 10_000
    brake_percent: float = 20.0
    window_size: str = "hourly"
    start_date: datetime | None = None
    snapshot_hours: int = 24
    emit_events: str = "auto"
    created_by: UUID | None = None


_NAMES = [field.name for field in fields(SyncJob)]
_COLUMNS = ", ".join(f"j.{name}" for name in _NAMES)
_COVERAGE = _NAMES.index("coverage")
_NEW = [field.name for field in fields(NewSyncJob)]
# A job for another stream or entity is another job: what is known of the one says nothing of the other.
_FIXED = {"tenant_id", "connector_id", "source_entity", "entity_id", "entity_name", "created_by"}
CHANGEABLE = frozenset(_NEW) - _FIXED | {"status", "error"}
_JSON = frozenset({"field_mapping", "error", "stream_fields"})


def intervals(found: Multirange[datetime]) -> tuple[Interval, ...]:
    return tuple((part.lower, part.upper) for part in found)


def _job(row: tuple[Any, ...]) -> SyncJob:
    values = list(row)
    values[_COVERAGE] = intervals(values[_COVERAGE])
    return SyncJob(*values)


def _stored(name: str, value: object) -> object:
    return Jsonb(value) if name in _JSON and value is not None else value


def insert_job(new: NewSyncJob) -> Statement[SyncJob]:
    """Raises UniqueViolation (sync_jobs_name) for a name that the tenant has, whatever its case."""
    places = ", ".join(f"%({name})s" for name in _NEW)
    return statement(
        f"insert into hubblewave.sync_jobs as j ({', '.join(_NEW)}) values ({places})"
        f" returning {_COLUMNS}",
        {name: _stored(name, getattr(new, name)) for name in _NEW},
        _job,
    )


def update_job(tenant_id: UUID, job_id: UUID, changes: Mapping[str, object]) -> Statement[SyncJob]:
    """Set columns among CHANGEABLE; no row when there is no such job."""
    unknown = changes.keys() - CHANGEABLE
    if unknown:
        raise ValueError(f"not to be changed: {sorted(unknown)}")
    pairs = "".join(f"{name} = %({name})s, " for name in sorted(changes))
    return statement(
        f"update hubblewave.sync_jobs j set {pairs}updated_at = now()"
        f" where j.tenant_id = %(tenant_)s and j.id = %(id_)s returning {_COLUMNS}",
        {
            **{name: _stored(name, value) for name, value in changes.items()},
            "tenant_": tenant_id,
            "id_": job_id,
        },
        _job,
    )


def job_by_id(tenant_id: UUID, job_id: UUID) -> Statement[SyncJob]:
    return statement(
        f"select {_COLUMNS} from hubblewave.sync_jobs j where j.tenant_id = %s and j.id = %s",
        (tenant_id, job_id),
        _job,
    )


def job_named(tenant_id: UUID, name: str) -> Statement[SyncJob]:
    """The job of that name, whatever its case."""
    return statement(
        f"select {_COLUMNS} from hubblewave.sync_jobs j"
        " where j.tenant_id = %s and lower(j.name) = lower(%s)",
        (tenant_id, name),
        _job,
    )


_LISTED = (
    " where j.tenant_id = %(tenant)s and (%(connector)s::uuid is null or j.connector_id = %(connector)s)"
    " and (%(status)s::text is null or j.status = %(status)s)"
)


def jobs_of(
    tenant_id: UUID,
    *,
    limit: int,
    offset: int,
    connector_id: UUID | None = None,
    status: str | None = None,
) -> Statement[SyncJob]:
    """Newest first."""
    return statement(
        f"select {_COLUMNS} from hubblewave.sync_jobs j{_LISTED}"
        " order by j.created_at desc, j.id desc limit %(limit)s offset %(offset)s",
        {
            "tenant": tenant_id,
            "connector": connector_id,
            "status": status,
            "limit": limit,
            "offset": offset,
        },
        _job,
    )


def count_jobs(
    tenant_id: UUID, *, connector_id: UUID | None = None, status: str | None = None
) -> Statement[int]:
    return statement(
        f"select count(*) from hubblewave.sync_jobs j{_LISTED}",
        {"tenant": tenant_id, "connector": connector_id, "status": status},
        lambda row: int(row[0]),
    )


def remove_job(tenant_id: UUID, job_id: UUID) -> Statement[SyncJob]:
    """With everything known for it; the records that it brought stay."""
    return statement(
        "delete from hubblewave.sync_jobs j where j.tenant_id = %s and j.id = %s"
        f" returning {_COLUMNS}",
        (tenant_id, job_id),
        _job,
    )


def due_jobs(limit: int) -> Statement[tuple[UUID, UUID]]:
    """(tenant, id) of jobs whose time has come, longest due first. Worker only."""
    return statement(
        "select j.tenant_id, j.id from hubblewave.sync_jobs j where j.status = 'active'"
        " and j.schedule is not null and j.next_run_at <= now() order by j.next_run_at limit %s",
        (limit,),
        lambda row: (row[0], row[1]),
    )


def hold_due(tenant_id: UUID, job_id: UUID) -> Statement[tuple[SyncJob, datetime]]:
    """A job that is due, locked, with the database's time; no row when another has it or had it."""
    return statement(
        f"select {_COLUMNS}, now() from hubblewave.sync_jobs j where j.tenant_id = %s and j.id = %s"
        " and j.status = 'active' and j.schedule is not null and j.next_run_at <= now()"
        " for no key update skip locked",
        (tenant_id, job_id),
        lambda row: (_job(row[:-1]), row[-1]),
    )


def reschedule(tenant_id: UUID, job_id: UUID, next_run_at: datetime) -> Statement[Any]:
    """When the job is due next; not touched by anything else that changes about it."""
    return statement(
        "update hubblewave.sync_jobs set next_run_at = %s where tenant_id = %s and id = %s",
        (next_run_at, tenant_id, job_id),
    )


def hold_job(tenant_id: UUID, job_id: UUID) -> Statement[SyncJob]:
    """The job as it is now; what other runs of it write waits for this transaction's end."""
    return statement(
        f"select {_COLUMNS} from hubblewave.sync_jobs j where j.tenant_id = %s and j.id = %s"
        " for no key update",
        (tenant_id, job_id),
        _job,
    )


def note_stream(tenant_id: UUID, job_id: UUID, stream_fields: Json) -> Statement[Any]:
    """The form of the stream as it was when it was looked at last."""
    return statement(
        "update hubblewave.sync_jobs set stream_fields = %s where tenant_id = %s and id = %s",
        (Jsonb(stream_fields), tenant_id, job_id),
    )


def cover(
    tenant_id: UUID,
    job_id: UUID,
    low: datetime | None,
    high: datetime | None,
    *,
    mark: tuple[datetime, str] | None = None,
) -> Statement[Any]:
    """`[low, high)` has been read whole; with `mark`, everything before it is here."""
    return statement(
        "update hubblewave.sync_jobs set coverage = coverage +"
        " tstzmultirange(tstzrange(%(low)s, %(high)s, '[)')),"
        " mark = greatest(mark, %(mark)s), mark_source = coalesce(%(source)s, mark_source)"
        " where tenant_id = %(tenant)s and id = %(id)s",
        {
            "low": low,
            "high": high,
            "mark": mark[0] if mark else None,
            "source": mark[1] if mark else None,
            "tenant": tenant_id,
            "id": job_id,
        },
    )


def gaps(tenant_id: UUID, job_id: UUID) -> Statement[tuple[Interval, ...]]:
    """What was never read between the job's start and its mark; nothing before the first run."""
    return statement(
        "select case when mark is null or mark <= start_date then '{}'::tstzmultirange"
        " else tstzmultirange(tstzrange(start_date, mark, '[)')) - coverage end"
        " from hubblewave.sync_jobs where tenant_id = %s and id = %s",
        (tenant_id, job_id),
        lambda row: intervals(row[0]),
    )


def reset_steps(tenant_id: UUID, job_id: UUID, *, state: bool, cache: bool) -> list[Statement[Any]]:
    """Two switches. `state`: mark, coverage and progress go, the next run reads everything again.
    `cache`: what is known of the other system's content goes, so that everything read is written
    again; which record stands for which key stays, so nothing is doubled.
    """
    steps = []
    if state:
        steps.append(
            statement(
                "update hubblewave.sync_jobs set mark = null, mark_source = null, coverage = '{}',"
                " snapshot_at = null, stream_fields = null where tenant_id = %s and id = %s",
                (tenant_id, job_id),
            )
        )
        steps.append(
            statement(
                "delete from hubblewave.sync_progress where tenant_id = %s and job_id = %s",
                (tenant_id, job_id),
            )
        )
    if cache:
        steps.append(
            statement(
                "update hubblewave.sync_shadow set hash = null where tenant_id = %s and job_id = %s"
                " and hash is not null",
                (tenant_id, job_id),
            )
        )
    return steps

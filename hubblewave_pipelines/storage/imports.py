"""Import jobs, the ledger of their chunks, and the rows they refused."""

# ruff: noqa: S608 - only names of our own tables and columns are formatted into statements

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, insert, or_, select, update

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, compiled, statement
from hubblewave_pipelines.storage.merging import RowFault
from hubblewave_pipelines.storage.tables import import_chunks, import_errors, import_jobs

OPEN = ("pending", "processing")


@dataclass(frozen=True, slots=True)
class ImportJob:
    """One upload and what became of it so far."""

    id: UUID
    tenant_id: UUID
    entity_id: str
    entity_name: str
    file_name: str
    file_size: int
    file_type: str
    file_sha256: bytes
    spool_path: str
    mapping: Json
    options: Json
    detected: Json  # a Source of `transfer.formats`, or {} when it must be found out
    status: str
    cancel_requested: bool
    bytes_done: int
    total: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    failed: int
    error: Json
    run_id: str | None
    created_by: UUID | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewImport:
    """What an upload brings."""

    id: UUID
    tenant_id: UUID
    entity_id: str
    entity_name: str
    file_name: str
    file_size: int
    file_type: str
    file_sha256: bytes
    spool_path: str
    mapping: Json
    options: Json
    created_by: UUID
    detected: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """What the ledger says of a committed chunk; `rows` are records of any form."""

    chunk_no: int
    offset_start: int
    offset_end: int
    first_row: int
    rows: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    failed: int


@dataclass(frozen=True, slots=True)
class RefusedRow:
    row: int
    field: str
    code: str
    message: str
    raw: str | None


_j = import_jobs.c
_JOB = (
    _j.id,
    _j.tenant_id,
    _j.entity_id,
    _j.entity_name,
    _j.file_name,
    _j.file_size,
    _j.file_type,
    _j.file_sha256,
    _j.spool_path,
    _j.mapping,
    _j.options,
    _j.detected,
    _j.status,
    _j.cancel_requested,
    _j.bytes_done,
    _j.total_records,
    _j.created_records,
    _j.updated_records,
    _j.unchanged_records,
    _j.skipped_records,
    _j.failed_records,
    _j.error,
    _j.run_id,
    _j.created_by,
    _j.created_at,
    _j.started_at,
    _j.completed_at,
)
_COUNTS = (
    (_j.total_records, "rows"),
    (_j.created_records, "created"),
    (_j.updated_records, "updated"),
    (_j.unchanged_records, "unchanged"),
    (_j.skipped_records, "skipped"),
    (_j.failed_records, "failed"),
)


_NAMES = ", ".join(column.name for column in _JOB)


def _job(row: tuple[Any, ...]) -> ImportJob:
    return ImportJob(*row)


def insert_job(new: NewImport) -> Statement[ImportJob]:
    query = insert(import_jobs).values(
        id=new.id,
        tenant_id=new.tenant_id,
        entity_id=new.entity_id,
        entity_name=new.entity_name,
        file_name=new.file_name,
        file_size=new.file_size,
        file_type=new.file_type,
        file_sha256=new.file_sha256,
        spool_path=new.spool_path,
        mapping=new.mapping,
        options=new.options,
        detected=new.detected,
        created_by=new.created_by,
    )
    return compiled(query.returning(*_JOB), _job)


def job_by_id(tenant_id: UUID, import_id: UUID, *, lock: bool = False) -> Statement[ImportJob]:
    """The job, or no row; `lock` keeps others from changing it until the commit."""
    query = select(*_JOB).where(_j.tenant_id == tenant_id, _j.id == import_id)
    return compiled(query.with_for_update() if lock else query, _job)


def jobs_of(tenant_id: UUID, *, limit: int, offset: int = 0) -> Statement[ImportJob]:
    """Jobs, newest first."""
    query = select(*_JOB).where(_j.tenant_id == tenant_id)
    query = query.order_by(_j.created_at.desc(), _j.id.desc()).limit(limit).offset(offset)
    return compiled(query, _job)


def count_jobs(tenant_id: UUID) -> Statement[int]:
    query = select(func.count()).select_from(import_jobs).where(_j.tenant_id == tenant_id)
    return compiled(query, lambda row: row[0])


def start_job(tenant_id: UUID, import_id: UUID, run_id: str) -> Statement[ImportJob]:
    """The job as this run's; no row when it is over."""
    query = (
        update(import_jobs)
        .where(_j.tenant_id == tenant_id, _j.id == import_id, _j.status.in_(OPEN))
        .values(
            status="processing",
            run_id=run_id,
            started_at=func.coalesce(_j.started_at, func.now()),
            error=None,
        )
    )
    return compiled(query.returning(*_JOB), _job)


def end_job(
    tenant_id: UUID, import_id: UUID, status: str, error: Json = None
) -> Statement[ImportJob]:
    """Settle an open job; no row when it was settled already."""
    query = (
        update(import_jobs)
        .where(_j.tenant_id == tenant_id, _j.id == import_id, _j.status.in_(OPEN))
        .values(status=status, error=error, completed_at=func.now())
    )
    return compiled(query.returning(*_JOB), _job)


def request_cancel(tenant_id: UUID, import_id: UUID) -> Statement[ImportJob]:
    """A job that no run has begun is cancelled at once; a running one stops after its chunk."""
    return statement(
        "update hubblewave.import_jobs j set cancel_requested = true,"
        " status = case when status = 'pending' then 'cancelled' else status end,"
        " completed_at = case when status = 'pending' then now() else completed_at end"
        " where tenant_id = %s and id = %s and status in ('pending', 'processing')"
        f" returning {', '.join(c.name for c in _JOB)}",
        (tenant_id, import_id),
        _job,
    )


def reopen_job(tenant_id: UUID, import_id: UUID) -> Statement[ImportJob]:
    """A failed or cancelled job to pending; it will go on after its last committed chunk."""
    query = (
        update(import_jobs)
        .where(
            _j.tenant_id == tenant_id,
            _j.id == import_id,
            _j.status.in_(("failed", "cancelled")),
        )
        .values(status="pending", cancel_requested=False, error=None, completed_at=None)
    )
    return compiled(query.returning(*_JOB), _job)


def last_chunk(tenant_id: UUID, import_id: UUID) -> Statement[ChunkEntry]:
    """Where the import stands: its newest committed chunk."""
    c = import_chunks.c
    query = (
        select(
            c.chunk_no,
            c.offset_start,
            c.offset_end,
            c.first_row,
            c.rows,
            c.created,
            c.updated,
            c.unchanged,
            c.skipped,
            c.failed,
        )
        .where(c.tenant_id == tenant_id, c.import_id == import_id)
        .order_by(c.chunk_no.desc())
        .limit(1)
    )
    return compiled(query, lambda row: ChunkEntry(*row))


def insert_chunk(
    tenant_id: UUID, import_id: UUID, run_id: str, entry: ChunkEntry
) -> Statement[Any]:
    return compiled(
        insert(import_chunks).values(
            tenant_id=tenant_id,
            import_id=import_id,
            run_id=run_id,
            chunk_no=entry.chunk_no,
            offset_start=entry.offset_start,
            offset_end=entry.offset_end,
            first_row=entry.first_row,
            rows=entry.rows,
            created=entry.created,
            updated=entry.updated,
            unchanged=entry.unchanged,
            skipped=entry.skipped,
            failed=entry.failed,
        )
    )


def count_chunk(
    tenant_id: UUID, import_id: UUID, entry: ChunkEntry, bytes_done: int
) -> Statement[ImportJob]:
    """Add a chunk to the job's counts; no row when the job was settled meanwhile."""
    counts = {column.name: column + getattr(entry, name) for column, name in _COUNTS}
    query = (
        update(import_jobs)
        .where(_j.tenant_id == tenant_id, _j.id == import_id, _j.status == "processing")
        .values(bytes_done=bytes_done, **counts)
    )
    return compiled(query.returning(*_JOB), _job)


def note_bytes(tenant_id: UUID, import_id: UUID, bytes_done: int) -> Statement[Any]:
    """How far an import in one transaction has read; its counts come with its commit."""
    query = update(import_jobs).where(_j.tenant_id == tenant_id, _j.id == import_id)
    return compiled(query.values(bytes_done=bytes_done))


def insert_errors(
    tenant_id: UUID, import_id: UUID, faults: Sequence[RowFault], raws: Sequence[str | None]
) -> Statement[Any]:
    """Refused rows; a second fault of one field in one row is not kept."""
    return statement(
        "insert into hubblewave.import_errors (tenant_id, import_id, row_no, field, code, message,"
        " raw) select %s, %s, * from unnest(%s::bigint[], %s::text[], %s::text[], %s::text[],"
        " %s::text[]) on conflict do nothing",
        (
            tenant_id,
            import_id,
            [f.row for f in faults],
            [f.field for f in faults],
            [f.code for f in faults],
            [f.message for f in faults],
            list(raws),
        ),
    )


def refused_rows(
    tenant_id: UUID,
    import_id: UUID,
    *,
    limit: int,
    offset: int = 0,
    after: tuple[int, str] = (0, ""),
    raw_length: int = 0,
) -> Statement[RefusedRow]:
    """Faults by row and field, from the one after `after` on; `raw_length` cuts rows (0: whole)."""
    e = import_errors.c
    raw = func.left(e.raw, raw_length) if raw_length else e.raw
    query = (
        select(e.row_no, e.field, e.code, e.message, raw)
        .where(e.tenant_id == tenant_id, e.import_id == import_id)
        .where(or_(e.row_no > after[0], and_(e.row_no == after[0], e.field > after[1])))
        .order_by(e.row_no, e.field)
        .limit(limit)
        .offset(offset)
    )
    return compiled(query, lambda row: RefusedRow(*row))


def count_errors(tenant_id: UUID, import_id: UUID) -> Statement[int]:
    e = import_errors.c
    query = select(func.count()).select_from(import_errors)
    return compiled(
        query.where(e.tenant_id == tenant_id, e.import_id == import_id), lambda row: row[0]
    )


def forget_progress(tenant_id: UUID, import_id: UUID) -> list[Statement[Any]]:
    """Remove ledger and refused rows of an import that left nothing behind."""
    return [
        statement(
            f"delete from hubblewave.{table} where tenant_id = %s and import_id = %s",
            (tenant_id, import_id),
        )
        for table in ("import_chunks", "import_errors")
    ]

"""What syncs could not bring over: records with their reasons, and streams whose form changed."""

# ruff: noqa: S608 - only names of our own tables and columns are formatted into statements

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement


@dataclass(frozen=True, slots=True)
class Refused:
    """A record as it was sent, and why it could not be brought over: {field, code, message} each."""

    key: str
    version: datetime | None
    payload: Json
    code: str
    faults: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class SyncDeadLetter:
    id: UUID
    job_id: UUID
    key: str
    status: str
    version: datetime | None
    payload: Json
    code: str
    faults: Json
    attempts: int
    first_run_id: UUID
    last_run_id: UUID
    created_at: datetime
    updated_at: datetime
    resolved_at: datetime | None
    resolution: str | None


@dataclass(frozen=True, slots=True)
class Drift:
    """One field of a stream that is not as it was. `mapped`: the job's mapping reads it."""

    id: UUID
    job_id: UUID
    field: str
    change: str
    before: Json
    after: Json
    mapped: bool
    status: str
    created_at: datetime


_LETTER = ", ".join(f"d.{field.name}" for field in fields(SyncDeadLetter))
_DRIFT = ", ".join(f"d.{field.name}" for field in fields(Drift))


def _letter(row: tuple[Any, ...]) -> SyncDeadLetter:
    return SyncDeadLetter(*row)


def set_aside(
    tenant_id: UUID, job_id: UUID, run_id: UUID, refused: Sequence[Refused]
) -> Statement[Any]:
    """One open dead letter per key; what is there word for word already is not written again."""
    return statement(
        "insert into hubblewave.sync_dead_letters as d (tenant_id, job_id, key, version, payload,"
        " code, faults, first_run_id, last_run_id)"
        " select %(tenant)s, %(job)s, n.key, n.version, n.payload, n.code, n.faults, %(run)s, %(run)s"
        " from unnest(%(keys)s::text[], %(versions)s::timestamptz[], %(payloads)s::jsonb[],"
        " %(codes)s::text[], %(faults)s::jsonb[]) n (key, version, payload, code, faults)"
        " on conflict (job_id, key) where status = 'open' do update set version = excluded.version,"
        " payload = excluded.payload, code = excluded.code, faults = excluded.faults,"
        " attempts = d.attempts + 1, last_run_id = excluded.last_run_id, updated_at = now()"
        " where (d.version, d.payload, d.code, d.faults) is distinct from"
        " (excluded.version, excluded.payload, excluded.code, excluded.faults)"
        " and (d.version is null or excluded.version is null or excluded.version >= d.version)",
        {
            "tenant": tenant_id,
            "job": job_id,
            "run": run_id,
            "keys": [letter.key for letter in refused],
            "versions": [letter.version for letter in refused],
            "payloads": [Jsonb(letter.payload) for letter in refused],
            "codes": [letter.code for letter in refused],
            "faults": [Jsonb(letter.faults) for letter in refused],
        },
    )


def resolve_keys(
    tenant_id: UUID, job_id: UUID, keys: Sequence[str], resolution: str
) -> Statement[Any]:
    """What came over, or went in the other system, is no dead letter any more."""
    return statement(
        "update hubblewave.sync_dead_letters set status = 'resolved', resolved_at = now(),"
        " resolution = %s where tenant_id = %s and job_id = %s and status = 'open' and key = any(%s)",
        (resolution, tenant_id, job_id, list(keys)),
    )


def has_open(tenant_id: UUID, job_id: UUID) -> Statement[bool]:
    return statement(
        "select exists (select from hubblewave.sync_dead_letters"
        " where tenant_id = %s and job_id = %s and status = 'open')",
        (tenant_id, job_id),
        lambda row: bool(row[0]),
    )


_LISTED = (
    " where d.tenant_id = %(tenant)s and (%(job)s::uuid is null or d.job_id = %(job)s)"
    " and (%(status)s::text is null or d.status = %(status)s)"
)


def dead_letters_of(
    tenant_id: UUID,
    *,
    limit: int,
    offset: int = 0,
    job_id: UUID | None = None,
    status: str | None = "open",
) -> Statement[SyncDeadLetter]:
    """Newest first."""
    return statement(
        f"select {_LETTER} from hubblewave.sync_dead_letters d{_LISTED}"
        " order by d.id desc limit %(limit)s offset %(offset)s",
        {"tenant": tenant_id, "job": job_id, "status": status, "limit": limit, "offset": offset},
        _letter,
    )


def count_dead_letters(
    tenant_id: UUID, *, job_id: UUID | None = None, status: str | None = "open"
) -> Statement[int]:
    return statement(
        f"select count(*) from hubblewave.sync_dead_letters d{_LISTED}",
        {"tenant": tenant_id, "job": job_id, "status": status},
        lambda row: int(row[0]),
    )


def open_keys(tenant_id: UUID, job_id: UUID, after: str, limit: int) -> Statement[str]:
    """Keys of open dead letters, in the order of the key."""
    return statement(
        "select key from hubblewave.sync_dead_letters where tenant_id = %s and job_id = %s"
        " and status = 'open' and key > %s order by key limit %s",
        (tenant_id, job_id, after, limit),
        lambda row: str(row[0]),
    )


def report_drift(
    tenant_id: UUID,
    job_id: UUID,
    run_id: UUID,
    field: str,
    change: str,
    before: Json,
    after: Json,
    *,
    mapped: bool,
) -> Statement[Any]:
    """For somebody to look at; one that is open for the field already tells the newest state."""
    return statement(
        "insert into hubblewave.sync_drifts as d (tenant_id, job_id, run_id, field, change, before,"
        " after, mapped) values (%s, %s, %s, %s, %s, %s, %s, %s)"
        " on conflict (job_id, field) where status = 'open' do update"
        " set change = excluded.change, after = excluded.after, mapped = excluded.mapped",
        (
            tenant_id,
            job_id,
            run_id,
            field,
            change,
            None if before is None else Jsonb(before),
            None if after is None else Jsonb(after),
            mapped,
        ),
    )


def drifts_of(tenant_id: UUID, job_id: UUID, *, status: str | None = "open") -> Statement[Drift]:
    return statement(
        f"select {_DRIFT} from hubblewave.sync_drifts d where d.tenant_id = %s and d.job_id = %s"
        " and (%s::text is null or d.status = %s) order by d.id",
        (tenant_id, job_id, status, status),
        lambda row: Drift(*row),
    )


def settle_drift(tenant_id: UUID, drift_id: UUID, status: str, by: UUID | None) -> Statement[Drift]:
    """Accept or dismiss; no row when it is settled or unknown."""
    return statement(
        "update hubblewave.sync_drifts d set status = %s, resolved_at = now(), resolved_by = %s"
        f" where d.tenant_id = %s and d.id = %s and d.status = 'open' returning {_DRIFT}",
        (status, by, tenant_id, drift_id),
        lambda row: Drift(*row),
    )

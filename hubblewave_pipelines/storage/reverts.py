"""The undoing of an import as rows: what was asked for, how it ended, what was left as it is."""

# ruff: noqa: S608 - only this module's own constants are formatted into its statements

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement


@dataclass(frozen=True, slots=True)
class Revert:
    """`id` is the actor of what the revert writes."""

    id: UUID
    tenant_id: UUID
    import_id: UUID
    status: str  # pending, processing, completed, partial (records were kept) or failed
    removed: int
    restored: int
    kept: int
    error: Json
    run_id: str | None
    created_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A record that the import wrote and the revert left alone."""

    record_id: UUID
    reason: str  # edited, deleted, referenced, unique or rule


_NAMES = (
    "id, tenant_id, import_id, status, removed_records, restored_records, kept_records, error,"
    " run_id, created_at, completed_at"
)


def _revert(row: tuple[Any, ...]) -> Revert:
    return Revert(*row)


def insert_revert(tenant_id: UUID, import_id: UUID, actor_id: UUID) -> Statement[Revert]:
    """Ask for it, or again after it failed; no row when one is under way or done."""
    return statement(
        "insert into hubblewave.import_reverts as r (tenant_id, import_id, created_by)"
        " values (%s, %s, %s) on conflict (import_id) do update set status = 'pending',"
        f" error = null, completed_at = null where r.status = 'failed' returning {_NAMES}",
        (tenant_id, import_id, actor_id),
        _revert,
    )


def revert_of(tenant_id: UUID, import_id: UUID) -> Statement[Revert]:
    return statement(
        f"select {_NAMES} from hubblewave.import_reverts where tenant_id = %s and import_id = %s",
        (tenant_id, import_id),
        _revert,
    )


def start_revert(tenant_id: UUID, revert_id: UUID, run_id: str) -> Statement[Revert]:
    """The revert as this run's; no row when it is over."""
    return statement(
        "update hubblewave.import_reverts set status = 'processing', run_id = %s,"
        " started_at = coalesce(started_at, now()), error = null where tenant_id = %s and id = %s"
        f" and status in ('pending', 'processing') returning {_NAMES}",
        (run_id, tenant_id, revert_id),
        _revert,
    )


def count_reverted(
    tenant_id: UUID, revert_id: UUID, *, removed: int, restored: int
) -> Statement[Revert]:
    return statement(
        "update hubblewave.import_reverts set removed_records = removed_records + %s,"
        " restored_records = restored_records + %s,"
        " kept_records = (select count(*) from hubblewave.import_kept k"
        " where k.import_id = import_reverts.import_id)"
        f" where tenant_id = %s and id = %s returning {_NAMES}",
        (removed, restored, tenant_id, revert_id),
        _revert,
    )


def end_revert(
    tenant_id: UUID, revert_id: UUID, error: Mapping[str, str] | None = None
) -> Statement[Revert]:
    """Settle it: failed with an error, else completed, or partial where records were kept."""
    return statement(
        "update hubblewave.import_reverts set status = case when %(error)s::jsonb is not null"
        " then 'failed' when kept_records > 0 then 'partial' else 'completed' end,"
        " error = %(error)s, completed_at = now() where tenant_id = %(tenant)s and id = %(id)s"
        f" and status in ('pending', 'processing') returning {_NAMES}",
        {
            "error": None if error is None else Jsonb(dict(error)),
            "tenant": tenant_id,
            "id": revert_id,
        },
        _revert,
    )


def keep(
    tenant_id: UUID, import_id: UUID, record_ids: Sequence[UUID], reason: str
) -> Statement[Any]:
    """Note records that stay as they are; the first reason stands."""
    return statement(
        "insert into hubblewave.import_kept (tenant_id, import_id, record_id, reason)"
        " select %s, %s, id, %s from unnest(%s::uuid[]) id on conflict do nothing",
        (tenant_id, import_id, reason, list(record_ids)),
    )


def kept_records(
    tenant_id: UUID, import_id: UUID, *, limit: int, offset: int = 0
) -> Statement[Kept]:
    return statement(
        "select record_id, reason from hubblewave.import_kept"
        " where tenant_id = %s and import_id = %s order by record_id limit %s offset %s",
        (tenant_id, import_id, limit, offset),
        lambda row: Kept(*row),
    )


def count_kept(tenant_id: UUID, import_id: UUID) -> Statement[int]:
    return statement(
        "select count(*) from hubblewave.import_kept where tenant_id = %s and import_id = %s",
        (tenant_id, import_id),
        lambda row: int(row[0]),
    )


def forget_kept(tenant_id: UUID, import_id: UUID) -> Statement[Any]:
    """What an attempt that failed had kept is judged anew."""
    return statement(
        "delete from hubblewave.import_kept where tenant_id = %s and import_id = %s",
        (tenant_id, import_id),
    )

"""What a sync job knows of the other system between its pages: progress, shadow, keys seen."""

# ruff: noqa: S608 - only this module's own constants are formatted into its statements

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement

_LOW = "coalesce(%(low)s, '-infinity'::timestamptz)"
_HIGH = "coalesce(%(high)s, 'infinity'::timestamptz)"
_BOUNDS = "case when low > '-infinity' then low end as low, case when high < 'infinity' then high end as high"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the reading of a window is: `slice_no` and the position within that slice. `slices`
    are the connector's own, so that another process reads on where this one stopped."""

    scope: str
    low: datetime | None
    high: datetime | None
    plan_digest: str
    slices: Json
    slice_no: int = 0
    position: Json = None
    rows: int = 0
    mark: datetime | None = None
    mark_source: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one record of the other system, and whether its record here is there."""

    key: str
    record_id: UUID | None
    version: datetime | None
    hash: bytes | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Learned:
    """What a page taught of one record."""

    key: str
    record_id: UUID | None
    version: datetime | None
    hash: bytes | None
    deleted: bool = False


def open_progress(tenant_id: UUID, job_id: UUID, scope: str) -> Statement[Progress]:
    """Windows that were begun and not ended, oldest first."""
    return statement(
        f"select scope, {_BOUNDS}, plan_digest, slices, slice_no, position, rows, mark, mark_source"
        " from hubblewave.sync_progress p where p.tenant_id = %s and p.job_id = %s and p.scope = %s"
        " order by p.high, p.low",
        (tenant_id, job_id, scope),
        lambda row: Progress(*row),
    )


def save_progress(tenant_id: UUID, job_id: UUID, at: Progress) -> Statement[Any]:
    """To be executed in the transaction that writes what the progress tells of."""
    return statement(
        "insert into hubblewave.sync_progress (tenant_id, job_id, scope, low, high, plan_digest,"
        " slices, slice_no, position, rows, mark, mark_source)"
        f" values (%(tenant)s, %(job)s, %(scope)s, {_LOW}, {_HIGH}, %(digest)s, %(slices)s,"
        " %(slice_no)s, %(position)s, %(rows)s, %(mark)s, %(source)s)"
        " on conflict (job_id, scope, low, high) do update set plan_digest = excluded.plan_digest,"
        " slices = excluded.slices, slice_no = excluded.slice_no, position = excluded.position,"
        " rows = excluded.rows, mark = excluded.mark, mark_source = excluded.mark_source,"
        " updated_at = now()",
        {
            "tenant": tenant_id,
            "job": job_id,
            "scope": at.scope,
            "low": at.low,
            "high": at.high,
            "digest": at.plan_digest,
            "slices": Jsonb(at.slices),
            "slice_no": at.slice_no,
            "position": Jsonb(at.position),
            "rows": at.rows,
            "mark": at.mark,
            "source": at.mark_source,
        },
    )


def drop_progress(
    tenant_id: UUID, job_id: UUID, scope: str, low: datetime | None, high: datetime | None
) -> Statement[Any]:
    return statement(
        "delete from hubblewave.sync_progress where tenant_id = %(tenant)s and job_id = %(job)s"
        f" and scope = %(scope)s and low = {_LOW} and high = {_HIGH}",
        {"tenant": tenant_id, "job": job_id, "scope": scope, "low": low, "high": high},
    )


def _each(condition: str) -> str:
    """Look up each row of `n` by itself, whatever the planner takes the table for: a job that grows
    since the last analyze looks small, and all of it would be read for every page (`offset 0` keeps
    the planner from making a join of it)."""
    return (
        "cross join lateral (select * from hubblewave.sync_shadow s"
        f" where s.job_id = %(job)s and {condition} offset 0) s"
    )


def known(job_id: UUID, keys: Sequence[str]) -> Statement[Known]:
    """What is known of these keys; nothing of those never seen."""
    return statement(
        "select s.key, s.record_id, s.version, s.hash, s.deleted"
        f" from unnest(%(keys)s::text[]) n (key) {_each('s.key = n.key')}",
        {"job": job_id, "keys": list(keys)},
        lambda row: Known(*row),
    )


def holders(job_id: UUID, record_ids: Sequence[UUID]) -> Statement[tuple[UUID, str]]:
    """Which of these records stand for a key of the job already."""
    return statement(
        "select s.record_id, s.key"
        f" from unnest(%(records)s::uuid[]) n (record_id) {_each('s.record_id = n.record_id')}",
        {"job": job_id, "records": list(record_ids)},
        lambda row: (row[0], row[1]),
    )


def create_learning() -> Statement[Any]:
    """`learning`, to be copied into by `COPY_LEARNING` and dropped after `learn`."""
    return statement(
        "create temp table learning (key text not null, record_id uuid, version timestamptz,"
        " hash bytea, deleted boolean not null)"
    )


COPY_LEARNING = "copy learning (key, record_id, version, hash, deleted) from stdin (format binary)"


def learn(tenant_id: UUID, job_id: UUID, run_id: UUID) -> Statement[Any]:
    """What `learning` holds is known from now on. The caller holds the job, and has left out what
    is older."""
    return statement(
        "insert into hubblewave.sync_shadow as s"
        " (tenant_id, job_id, key, record_id, version, hash, deleted, run_id)"
        " select %(tenant)s, %(job)s, n.key, n.record_id, n.version, n.hash, n.deleted, %(run)s"
        " from learning n"
        " on conflict (job_id, key) do update set record_id = excluded.record_id,"
        " version = excluded.version, hash = excluded.hash, deleted = excluded.deleted,"
        " run_id = excluded.run_id",
        {"tenant": tenant_id, "job": job_id, "run": run_id},
    )


def drop_learning() -> Statement[Any]:
    return statement("drop table learning")


def count_known(
    tenant_id: UUID, job_id: UUID, low: datetime | None, high: datetime | None
) -> Statement[int]:
    """Records of a window that are known here, those set aside included; deleted ones are not."""
    where = (
        " where x.tenant_id = %(tenant)s and x.job_id = %(job)s"
        " and (%(low)s::timestamptz is null or x.version >= %(low)s)"
        " and (%(high)s::timestamptz is null or x.version is null or x.version < %(high)s)"
    )
    return statement(
        f"select count(distinct key) from (select key from hubblewave.sync_shadow x{where}"
        f" and not x.deleted union all select key from hubblewave.sync_dead_letters x{where}"
        " and x.status = 'open') found",
        {"tenant": tenant_id, "job": job_id, "low": low, "high": high},
        lambda row: int(row[0]),
    )


def count_alive(tenant_id: UUID, job_id: UUID) -> Statement[int]:
    return statement(
        "select count(*) from hubblewave.sync_shadow"
        " where tenant_id = %s and job_id = %s and not deleted",
        (tenant_id, job_id),
        lambda row: int(row[0]),
    )


def see_keys(tenant_id: UUID, job_id: UUID, generation: int, keys: Sequence[str]) -> Statement[Any]:
    return statement(
        "insert into hubblewave.sync_seen (tenant_id, job_id, generation, key)"
        " select %s, %s, %s, n.key from unnest(%s::text[]) n (key) on conflict do nothing",
        (tenant_id, job_id, generation, list(keys)),
    )


_GONE = (
    " from hubblewave.sync_shadow s where s.tenant_id = %(tenant)s and s.job_id = %(job)s"
    " and not s.deleted and (s.version is null or s.version < %(before)s) and not exists (select"
    " from hubblewave.sync_seen n where n.job_id = s.job_id and n.generation = %(generation)s"
    " and n.key = s.key)"
)


def count_unseen(
    tenant_id: UUID, job_id: UUID, generation: int, before: datetime
) -> Statement[int]:
    """How many known records the listing did not show, of those that were there `before` it began."""
    return statement(
        f"select count(*){_GONE}",
        {"tenant": tenant_id, "job": job_id, "generation": generation, "before": before},
        lambda row: int(row[0]),
    )


def unseen(
    tenant_id: UUID, job_id: UUID, generation: int, before: datetime, after: str, limit: int
) -> Statement[str]:
    """Their keys, in the order of the key."""
    return statement(
        f"select s.key{_GONE} and s.key > %(after)s order by s.key limit %(limit)s",
        {
            "tenant": tenant_id,
            "job": job_id,
            "generation": generation,
            "before": before,
            "after": after,
            "limit": limit,
        },
        lambda row: str(row[0]),
    )


def unknown(
    tenant_id: UUID, job_id: UUID, generation: int, after: str, limit: int
) -> Statement[str]:
    """Keys that the listing showed and nothing is known of, or that they were deleted; in order."""
    return statement(
        "select n.key from hubblewave.sync_seen n left join hubblewave.sync_shadow s"
        " on s.job_id = n.job_id and s.key = n.key where n.tenant_id = %(tenant)s"
        " and n.job_id = %(job)s and n.generation = %(generation)s and n.key > %(after)s"
        " and (s.key is null or s.deleted) and not exists (select from hubblewave.sync_dead_letters d"
        " where d.job_id = n.job_id and d.key = n.key and d.status = 'open')"
        " order by n.key limit %(limit)s",
        {
            "tenant": tenant_id,
            "job": job_id,
            "generation": generation,
            "after": after,
            "limit": limit,
        },
        lambda row: str(row[0]),
    )


def forget_seen(tenant_id: UUID, job_id: UUID) -> Statement[Any]:
    return statement(
        "delete from hubblewave.sync_seen where tenant_id = %s and job_id = %s", (tenant_id, job_id)
    )


def end_snapshot(tenant_id: UUID, job_id: UUID, generation: int) -> Statement[Any]:
    """All keys have been compared; what held deletes back is settled with that."""
    return statement(
        "update hubblewave.sync_jobs set generation = greatest(generation, %(generation)s),"
        " snapshot_at = now(), error = case when error ->> 'code' = 'sync.delete_brake' then null"
        " else error end where tenant_id = %(tenant)s and id = %(job)s",
        {"generation": generation, "tenant": tenant_id, "job": job_id},
    )


def hold_deletes(tenant_id: UUID, job_id: UUID, detail: str, count: int) -> Statement[Any]:
    """Deletes wait for somebody's word; the job says so until they were made or went away."""
    error = {"code": "sync.delete_brake", "detail": detail, "count": count}
    return statement(
        "update hubblewave.sync_jobs set error = %s where tenant_id = %s and id = %s",
        (Jsonb(error), tenant_id, job_id),
    )

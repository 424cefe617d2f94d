"""What Dagster's graph is built from: the stored states by version, and the entities they show."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, statement

_KEPT_VERSIONS = 50


@dataclass(frozen=True, slots=True)
class StateVersion:
    key: str
    version: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class GraphRow:
    """One entity of one tenant, as stored. `definition` is read with core.definition.from_stored."""

    tenant_slug: str
    tenant_name: str
    schema: str
    entity_slug: str
    definition: Json


def latest_versions() -> Statement[StateVersion]:
    return statement(
        "select key, version, updated_at from hubblewave.defs_states order by key",
        (),
        lambda row: StateVersion(*row),
    )


def read_state(key: str, version: str) -> Statement[bytes]:
    return statement(
        "select state from hubblewave.defs_state_versions where key = %s and version = %s",
        (key, version),
        lambda row: bytes(row[0]),
    )


def write_state(key: str, version: str, state: bytes) -> Statement[Any]:
    """Versions never change: writing one again keeps the first."""
    return statement(
        "insert into hubblewave.defs_state_versions (key, version, state) values (%s, %s, %s)"
        " on conflict do nothing",
        (key, version, state),
    )


def set_latest(key: str, version: str) -> Statement[Any]:
    """One row per key, so that refreshes of different keys cannot undo each other."""
    return statement(
        "insert into hubblewave.defs_states (key, version) values (%s, %s)"
        " on conflict (key) do update set version = excluded.version, updated_at = now()",
        (key, version),
    )


def forget_latest(key: str) -> Statement[Any]:
    return statement("delete from hubblewave.defs_states where key = %s", (key,))


def drop_old_versions(key: str) -> Statement[Any]:
    """Keep the newest versions: a run that is queued still pins the one it was queued with."""
    return statement(
        "delete from hubblewave.defs_state_versions where key = %(key)s and version not in"
        " (select version from hubblewave.defs_state_versions where key = %(key)s"
        " order by created_at desc limit %(kept)s)"
        " and created_at < now() - interval '7 days'",
        {"key": key, "kept": _KEPT_VERSIONS},
    )


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A scheduled export, as the graph shows it."""

    tenant_slug: str
    entity_id: str
    id: UUID
    cron: str
    timezone: str
    format: str


@dataclass(frozen=True, slots=True)
class SyncRow:
    """A sync job, as the graph shows it."""

    tenant_slug: str
    tenant_id: UUID
    id: UUID
    name: str
    stream: str
    connector_id: UUID
    connector_type: str
    connector_name: str
    entity_id: str
    direction: str
    cron: str | None
    timezone: str
    window_size: str
    since: int  # the year of its first windows


def graph_mark() -> Statement[tuple[int, int, str, str]]:
    """Differs from what it was whenever any tenant's definitions, schedules or syncs do: versions
    only grow, and a schedule of exports never changes."""
    return statement(
        "select count(*), coalesce(sum(catalog_version), 0), (select coalesce(md5(string_agg("
        "id::text, ',' order by id)), '') from hubblewave.export_jobs where status = 'scheduled'),"
        " (select coalesce(md5(string_agg(j::text || c.name, ',' order by j.id)), '')"
        " from (select id, name, connector_id, schedule, timezone, window_size, start_date"
        " from hubblewave.sync_jobs) j join hubblewave.connectors c on c.id = j.connector_id)"
        " from hubblewave.tenants",
        (),
        lambda row: (int(row[0]), int(row[1]), str(row[2]), str(row[3])),
    )


def sync_rows() -> Statement[SyncRow]:
    """Worker only: every sync job of every tenant."""
    return statement(
        "select t.slug, t.id, j.id, j.name, j.source_entity, j.connector_id, c.type, c.name, j.entity_id,"
        " j.direction, j.schedule, j.timezone, j.window_size, extract(year from"
        " least(j.start_date, j.created_at - interval '1 year') at time zone 'UTC')::int"
        " from hubblewave.sync_jobs j join hubblewave.tenants t on t.id = j.tenant_id"
        " join hubblewave.connectors c on c.tenant_id = j.tenant_id and c.id = j.connector_id"
        " order by t.slug, j.id",
        (),
        lambda row: SyncRow(*row),
    )


def schedule_rows() -> Statement[ScheduleRow]:
    """Worker only: every scheduled export of every tenant."""
    return statement(
        "select t.slug, e.entity_id, e.id, e.schedule, e.timezone, e.format"
        " from hubblewave.export_jobs e join hubblewave.tenants t on t.id = e.tenant_id"
        " where e.status = 'scheduled' order by t.slug, e.id",
        (),
        lambda row: ScheduleRow(*row),
    )


def graph_rows() -> Statement[GraphRow]:
    """Worker only: every entity of every tenant."""
    return statement(
        "select t.slug, t.name, t.schema_name, e.slug, e.definition from hubblewave.entities e"
        " join hubblewave.tenants t on t.id = e.tenant_id order by t.slug, e.slug",
        (),
        lambda row: GraphRow(*row),
    )

"""The versions of one record, deleted or not, newest first, and bringing one of them back."""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from collections.abc import Collection
from uuid import UUID

from hubblewave_pipelines.core.entity import SYSTEM_COLUMNS, Entity, FieldKind
from hubblewave_pipelines.core.query import columns_of
from hubblewave_pipelines.core.versions import Version, versions_from
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.history_table import former, history_table
from hubblewave_pipelines.storage.json_values import as_json
from hubblewave_pipelines.storage.physical import default_of, identifier, qualified
from hubblewave_pipelines.storage.records import Written, returning
from hubblewave_pipelines.storage.shown import record_object
from hubblewave_pipelines.storage.sql import Sql


def _actor(column: str) -> str:
    """Who an id of `created_by`, `updated_by` or `deleted_by` is, as JSON."""
    return (
        f"case when {column} is not null then coalesce("
        "(select json_build_object('type', 'apiKey', 'id', k.id, 'name', k.name)"
        f" from hubblewave.api_keys k where k.actor_id = {column}),"
        " (select json_build_object('type', 'import', 'id', j.id, 'name', j.file_name)"
        f" from hubblewave.import_jobs j where j.id = {column}),"
        " (select json_build_object('type', 'revert', 'id', r.id, 'name', j.file_name)"
        " from hubblewave.import_reverts r join hubblewave.import_jobs j on j.id = r.import_id"
        f" where r.id = {column}),"
        " (select json_build_object('type', 'sync', 'id', r.id, 'name', j.name)"
        " from hubblewave.sync_runs r join hubblewave.sync_jobs j on j.tenant_id = r.tenant_id"
        f" and j.id = r.job_id where r.id = {column}),"
        f" json_build_object('type', 'unknown', 'id', {column}, 'name', null)) end"
    )


def select_versions(
    entity: Entity, record_id: UUID, *, before: int | None, size: int
) -> Statement[list[Version]]:
    """The newest versions before a position, enough for a page of `size` events, in one row.

    A version's position is twice its number in the history. The present one has no number yet;
    whatever it gets will be higher than those there are.
    """
    table, history = qualified(entity), history_table(entity)
    columns = [c for c in columns_of(entity) if c.name not in SYSTEM_COLUMNS]
    limit = int(size) + 2
    past = "true" if before is None else "2 * h.n < %s"
    bound = () if before is None else (before,)
    present = f"2 * coalesce((select max(h.n) from {history} h where h.id = %s), 0) + 2"
    deleted_at, at = (as_json(FieldKind.DATETIME, c) for c in ("_deleted_at", "updated_at"))
    shown = f"_position, {deleted_at}, {_actor('_deleted_by')}, version"
    sql = Sql([f"select count(*), coalesce(json_agg(json_build_array({shown}, "])
    sql.add(f"{at}, {_actor('updated_by')}, ").append(record_object(columns))
    sql.add(") order by _position desc), '[]')::text from (select * from (")
    sql.add("select 2 * h.n as _position, h.deleted_at as _deleted_at,")
    sql.add(f" h.deleted_by as _deleted_by, s.* from (select * from {history} h where h.id = %s")
    sql.add(f" and {past} order by h.n desc limit {limit}) h,", record_id, *bound)
    sql.add(f" lateral {former(entity, 'h.record')} s")
    sql.add(f" union all select {present}, null, null, t.* from {table} t", record_id)
    sql.add(" where t.id = %s) state", record_id)
    if before is not None:
        sql.add(" where _position < %s", before)
    sql.add(f" order by _position desc limit {limit}) state")
    return statement(sql.text, sql.params, lambda row: versions_from(row[1]))


def _state(entity: Entity, record_id: UUID, version: int) -> Sql:
    """`state`: the row of a version that was replaced or deleted; the latest, if there are two."""
    return Sql(
        [
            f"with state as materialized (select s.* from (select record from {history_table(entity)}"
            " where id = %s and version = %s order by n desc limit 1) h,"
            f" lateral {former(entity, 'h.record')} s) "
        ],
        [record_id, version],
    )


def _columns(entity: Entity) -> tuple[str, str]:
    """Columns of an entity's own values, and what they held in `state`: fields that are required
    by now and were not there then take their default."""
    own, held = [], []
    for field in entity.fields:
        name, default = identifier(field.column), default_of(field)
        own.append(name)
        fill = field.required and default is not None
        held.append(f"coalesce({name}, {_spelled(default)})" if fill and default else name)
    references = [identifier(relation.column) for relation in entity.references.values()]
    return ", ".join([*own, *references]), ", ".join([*held, *references])


def _spelled(literal: str) -> str:
    return literal.replace("%", "%%")


def restore_present(
    entity: Entity,
    record_id: UUID,
    version: int,
    *,
    actor_id: UUID,
    versions: Collection[int] | None,
) -> Statement[Written]:
    """Give a record the values of an earlier version, as a new version of its own.

    No row when there is no such record or version, or it is at another than `versions`.
    """
    own, held = _columns(entity)
    sql = _state(entity, record_id, version)
    values = f"({own}) = (select {held} from state), " if own else ""
    sql.add(f"update {qualified(entity)} set {values}version = version + 1, updated_at = now(),")
    sql.add(" xid = pg_current_xact_id(), updated_by = %s", actor_id)
    sql.add(" where id = %s and exists (select from state)", record_id)
    if versions is not None:
        sql.add(" and version = any(%s::bigint[])", list(versions))
    return returning(sql, entity)


def restore_deleted(
    entity: Entity, record_id: UUID, version: int, *, actor_id: UUID
) -> Statement[Written]:
    """Bring a deleted record back under its id, with its time of creation and a higher version.

    No row when there is no such version, or there is a record.
    """
    own, held = _columns(entity)
    own, held = (f", {own}", f", {held}") if own else ("", "")
    sql = _state(entity, record_id, version)
    last = f"select version, xid from {history_table(entity)} where id = %s order by n desc limit 1"
    columns = "id, created_at, created_by, updated_by, version, xid"
    sql.add(
        f"insert into {qualified(entity)} ({columns}{own}) select id, created_at, created_by, %s,"
    )
    sql.add(f" last.version + 2, greatest(last.xid, pg_current_xact_id()){held}", actor_id)
    sql.add(f" from state, ({last}) last on conflict (id) do nothing", record_id)
    return returning(sql, entity)


def present_record(entity: Entity, record_id: UUID) -> Statement[Written]:
    """The record as it is, as a write would answer it; no row when there is none."""
    sql = Sql(["select id, version, "]).append(record_object(columns_of(entity)))
    sql.add(f"::text from {qualified(entity)} where id = %s", record_id)
    return statement(sql.text, sql.params, lambda row: Written(*row))

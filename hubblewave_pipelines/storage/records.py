"""Writing one record: insert, update and delete, each one statement with its version check."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Entity, FieldKind
from hubblewave_pipelines.core.query import Column, column_of, columns_of
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.history_table import history_table
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, qualified
from hubblewave_pipelines.storage.shown import record_object
from hubblewave_pipelines.storage.sql import Sql


@dataclass(frozen=True, slots=True)
class Written:
    """A record as it is now: its JSON text is what a read of it would show."""

    id: UUID
    version: int
    text: str


def _written(row: tuple[Any, ...]) -> Written:
    return Written(*row)


def _assignments(entity: Entity, values: Mapping[str, object]) -> list[tuple[Column, object]]:
    """Columns with what is written to them, in the entity's order so that equal shapes share SQL."""
    found: list[tuple[Column, object]] = []
    for name in entity.columns:
        if name in values and (column := column_of(entity, name)) is not None:
            value = values[name]
            is_json = column.kind is FieldKind.JSON and value is not None
            found.append((column, Jsonb(value) if is_json else value))
    return found


def insert_record(
    entity: Entity,
    values: Mapping[str, object],
    *,
    actor_id: UUID,
    record_id: UUID | None = None,
) -> Statement[Written]:
    """A new record from values by public name; with `record_id`, under that id.

    No row when the id is taken.
    """
    assigned = _assignments(entity, values)
    columns = [identifier(column.physical) for column, _ in assigned]
    slots = [f"%s::{SQL_TYPES[column.kind]}" for column, _ in assigned]
    params = [value for _, value in assigned]
    conflict = ""
    if record_id is not None:
        # A record that was deleted and comes back is told of after its deletion.
        gone = f"select xid from {history_table(entity)} where id = %s order by n desc limit 1"  # noqa: S608 - names pass `identifier`
        columns += ["id", "xid"]
        slots += ["%s::uuid", f"greatest(pg_current_xact_id(), ({gone}))"]
        params += [record_id, record_id]
        conflict = " on conflict (id) do nothing"
    sql = Sql([f"insert into {qualified(entity)} ("])
    sql.add(", ".join([*columns, "created_by", "updated_by"]))
    sql.add(f") values ({', '.join([*slots, '%s', '%s'])}){conflict}", *params, actor_id, actor_id)
    return returning(sql, entity)


def update_record(
    entity: Entity,
    record_id: UUID,
    values: Mapping[str, object],
    *,
    actor_id: UUID,
    versions: Collection[int] | None = None,
) -> Statement[Written]:
    """Change the named values; with `versions`, only while the record is at one of them.

    No row when there is no such record or it is at another version.
    """
    sql = Sql([f"update {qualified(entity)} set "])  # noqa: S608 - names pass `identifier`
    for column, value in _assignments(entity, values):
        sql.add(f"{identifier(column.physical)} = %s::{SQL_TYPES[column.kind]}, ", value)
    sql.add("version = version + 1, updated_at = now(), xid = pg_current_xact_id()")
    sql.add(", updated_by = %s where id = %s", actor_id, record_id)
    _at_version(sql, versions)
    return returning(sql, entity)


def delete_record(
    entity: Entity, record_id: UUID, *, versions: Collection[int] | None = None
) -> Statement[UUID]:
    """No row when there is no such record or it is at another version than `versions`."""
    sql = Sql([f"delete from {qualified(entity)} where id = %s"], [record_id])  # noqa: S608 - names pass `identifier`
    _at_version(sql, versions)
    return statement(f"{sql.text} returning id", sql.params, lambda row: row[0])


def version_of(entity: Entity, record_id: UUID) -> Statement[int]:
    """The record's version, or no row."""
    text = f"select version from {qualified(entity)} where id = %s"  # noqa: S608 - names pass `identifier`
    return statement(text, (record_id,), lambda row: row[0])


def _at_version(sql: Sql, versions: Collection[int] | None) -> None:
    if versions is not None:
        sql.add(" and version = any(%s::bigint[])", list(versions))


def returning(sql: Sql, entity: Entity) -> Statement[Written]:
    """The INSERT or UPDATE `sql`, answering the record as it is then."""
    sql.add(" returning id, version, ").append(record_object(columns_of(entity))).add("::text")
    return statement(sql.text, sql.params, _written)

"""SQL that writes the items of a bulk request, each kind in one statement.

The items travel as one JSON parameter; a statement returns one row per item it wrote, by the
item's number. What stands in an item's way is asked for set by set.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from hubblewave_pipelines.core.bulk import Item
from hubblewave_pipelines.core.entity import Entity, FieldKind, Relation
from hubblewave_pipelines.core.query import Column, column_of, columns_of
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, qualified
from hubblewave_pipelines.storage.shown import record_object
from hubblewave_pipelines.storage.sql import Sql

_TOUCH = "version = t.version + 1, updated_at = now(), xid = pg_current_xact_id()"


@dataclass(frozen=True, slots=True)
class WrittenItem:
    """What became of an item: its record now, with its JSON text when that was asked for."""

    index: int
    id: UUID
    version: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A record that has a unique value which an item wants; `key` is its value of the key field."""

    index: int
    id: UUID
    key: object


def _written(row: tuple[Any, ...]) -> WrittenItem:
    return WrittenItem(*row)


def _columns(entity: Entity, items: Sequence[Item]) -> list[Column]:
    """The columns that any of the items sets, in the entity's order."""
    named = {name for item in items for name in item.values}
    found = [column_of(entity, name) for name in entity.columns if name in named]
    return [column for column in found if column is not None]


def _json_cell(value: object) -> object:
    # json.dumps writes whole numbers of any size; msgspec stops at 64 bits.
    return None if value is None else msgspec.Raw(json.dumps(value).encode())


def _given(
    columns: Sequence[Column], items: Sequence[Item], ids: Mapping[int, UUID], *, partial: bool
) -> Sql:
    """`given(n, gid, v0, f0, v1, ...)`: the items as rows; f says that an item sets the column."""
    rows = []
    cells = [
        (number, c.name, f"v{number}", c.kind is FieldKind.JSON) for number, c in enumerate(columns)
    ]
    for item in items:
        row: dict[str, object] = {"n": item.index, "gid": ids[item.index]}
        values = item.values
        for number, name, slot, is_json in cells:
            if name in values:
                row[slot] = _json_cell(values[name]) if is_json else values[name]
                if partial:
                    row[f"f{number}"] = True
        rows.append(row)
    names = ["n int", "gid uuid"]
    names += [f"v{number} {SQL_TYPES[column.kind]}" for number, column in enumerate(columns)]
    if partial:
        names += [f"f{number} boolean" for number in range(len(columns))]
    sql = Sql(["with given as materialized (select * from json_to_recordset(%s::json) as g("])
    sql.params.append(msgspec.json.encode(rows).decode())
    return sql.add(f"{', '.join(names)}))")


def _shown(entity: Entity, *, whole: bool) -> Sql:
    return record_object(columns_of(entity)).add("::text") if whole else Sql(["null::text"])


def insert_items(
    entity: Entity,
    items: Sequence[Item],
    ids: Mapping[int, UUID],
    *,
    actor_id: UUID,
    whole: bool,
) -> Statement[WrittenItem]:
    """New records under the given ids. No row for an item whose unique value is taken."""
    columns = _columns(entity, items)
    sql = _insert(entity, columns, items, ids, actor_id)
    sql.add(" order by g.n on conflict do nothing returning id, version, ")
    sql.append(_shown(entity, whole=whole)).add(" as shown) ")
    sql.add("select g.n, w.id, w.version, w.shown from written w join given g on g.gid = w.id")
    return statement(sql.text, sql.params, _written)


def upsert_items(
    entity: Entity,
    items: Sequence[Item],
    ids: Mapping[int, UUID],
    *,
    key: str,
    actor_id: UUID,
    whole: bool,
) -> Statement[WrittenItem]:
    """Records by their value of the unique field `key`: replaced where there is one, else new
    under the given id. Fails when another unique value is taken."""
    columns = _columns(entity, items)
    number = [column.name for column in columns].index(key)
    name = identifier(columns[number].physical)
    sql = _insert(entity, columns, items, ids, actor_id)
    # In the order of the key, so that two requests with the same records do not lock each other.
    sql.add(f" order by g.v{number} on conflict ({name}) do update set {_TOUCH}")
    for column in columns:
        own = identifier(column.physical)
        sql.add(f", {own} = excluded.{own}")
    sql.add(f", updated_by = excluded.updated_by returning id, version, {name} as kept, ")
    sql.append(_shown(entity, whole=whole)).add(" as shown) select g.n, w.id, w.version, w.shown ")
    sql.add(f"from written w join given g on g.v{number} = w.kept")
    return statement(sql.text, sql.params, _written)


def _insert(
    entity: Entity,
    columns: Sequence[Column],
    items: Sequence[Item],
    ids: Mapping[int, UUID],
    actor_id: UUID,
) -> Sql:
    sql = _given(columns, items, ids, partial=False)
    names = ", ".join(["id", *(identifier(column.physical) for column in columns)])
    values = ", ".join(["g.gid", *(f"g.v{number}" for number in range(len(columns)))])
    sql.add(f", written as (insert into {qualified(entity)} as t ({names}, created_by, updated_by)")
    return sql.add(f" select {values}, %s, %s from given g", actor_id, actor_id)


def update_items(
    entity: Entity, items: Sequence[Item], *, actor_id: UUID, whole: bool
) -> Statement[WrittenItem]:
    """Change what each item sets. The records exist and are locked by `lock_records`."""
    columns = _columns(entity, items)
    ids = {item.index: item.id for item in items if item.id is not None}
    sql = _given(columns, items, ids, partial=True)
    sql.add(f" update {qualified(entity)} t set {_TOUCH}, updated_by = %s", actor_id)
    for number, column in enumerate(columns):
        name = identifier(column.physical)
        sql.add(f", {name} = case when g.f{number} then g.v{number} else t.{name} end")
    sql.add(" from given g where t.id = g.gid returning g.n, t.id, t.version, ")
    sql.append(_shown(entity, whole=whole))
    return statement(sql.text, sql.params, _written)


def delete_items(entity: Entity, items: Sequence[Item]) -> Statement[Any]:
    """Delete the records of the items, all by one statement."""
    ids = [item.id for item in items]
    return statement(f"delete from {qualified(entity)} where id = any(%s::uuid[])", (ids,))


def lock_records(
    entity: Entity, ids: Collection[UUID], *, deleting: bool = False
) -> Statement[tuple[UUID, int]]:
    """The version of each record that exists, held as it is until the end of the transaction."""
    strength = "update" if deleting else "no key update"
    text = (
        f"select id, version from {qualified(entity)} where id = any(%s::uuid[]) "
        f"order by id for {strength}"
    )
    return statement(text, (list(ids),), lambda row: (row[0], row[1]))


def hold_targets(target: Entity, ids: Collection[UUID]) -> Statement[UUID]:
    """Which of these records exist; they cannot be deleted until the end of the transaction."""
    text = (
        f"select id from {qualified(target)} where id = any(%s::uuid[]) order by id for key share"
    )
    return statement(text, (list(ids),), lambda row: row[0])


def holders(
    entity: Entity, name: str, items: Sequence[Item], *, key: str | None = None
) -> Statement[Holder]:
    """Records that have the value of the unique field `name` which an item wants."""
    column = column_of(entity, name)
    kept = column_of(entity, key or "id")
    if column is None or kept is None:
        raise ValueError(f"{entity.name} has no field {name} or {key}")
    wanted = [item for item in items if item.values.get(name) is not None]
    text = (
        f"select g.n, h.id, h.{identifier(kept.physical)} "
        f"from unnest(%s::int[], %s::{SQL_TYPES[column.kind]}[]) as g(n, v) "
        f"join {qualified(entity)} h on h.{identifier(column.physical)} = g.v"
    )
    params = ([item.index for item in wanted], [item.values[name] for item in wanted])
    return statement(text, params, lambda row: Holder(*row))


def referred_to(
    referring: Entity, relation: Relation, ids: Collection[UUID], *, spared: Collection[UUID] = ()
) -> Statement[UUID]:
    """Which of these records `relation` of other records refers to; `spared` ones do not count."""
    column = identifier(relation.column)
    text = (
        f"select distinct {column} from {qualified(referring)} "
        f"where {column} = any(%s::uuid[]) and id <> all(%s::uuid[])"
    )
    return statement(text, (list(ids), list(spared)), lambda row: row[0])

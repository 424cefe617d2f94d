"""What PostgreSQL says an entity's table is, for tests that compare it with the definition."""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.database import Database, statement


@dataclass(frozen=True)
class Column:
    type: str
    required: bool
    default: str | None


@dataclass(frozen=True)
class Shape:
    """Columns, constraints and indexes by name; `file` changes when the table is rewritten."""

    file: int
    columns: dict[str, Column]
    constraints: dict[str, tuple[str, bool]]  # definition, validated
    indexes: dict[str, str]
    invalid: frozenset[str]


_COLUMNS = """select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
  pg_get_expr(d.adbin, d.adrelid)
  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped"""
_CONSTRAINTS = """select conname, pg_get_constraintdef(oid), convalidated from pg_constraint
  where conrelid = %s::regclass and contype in ('c', 'f')"""
_INDEXES = """select c.relname, pg_get_indexdef(c.oid), i.indisvalid from pg_index i
  join pg_class c on c.oid = i.indexrelid where i.indrelid = %s::regclass"""


def shape(owner: Database, entity: Entity) -> Shape:
    table = [physical.qualified(entity)]
    with owner.transaction() as tx:
        file = tx.one(statement("select pg_relation_filenode(%s::regclass)", table))
        columns = tx.all(statement(_COLUMNS, table))
        constraints = tx.all(statement(_CONSTRAINTS, table))
        indexes = tx.all(statement(_INDEXES, table))
    assert file is not None
    return Shape(
        file[0],
        {name: Column(kind, required, default) for name, kind, required, default in columns},
        {name: (text, validated) for name, text, validated in constraints},
        {name: text for name, text, _ in indexes},
        frozenset(name for name, _, valid in indexes if not valid),
    )


def surplus(owner: Database, entity: Entity) -> set[str]:
    """What the table has and the definition does not ask for, or the other way round; retired
    columns included. Constraints that are not validated and invalid indexes count too."""
    found = shape(owner, entity)
    system = {"id", "created_at", "updated_at", "version", "created_by", "updated_by", "xid"}
    columns = system | set(entity.columns.values())
    constraints = physical.checks(entity).keys() | physical.foreign_keys(entity).keys()
    indexes = {
        f"{entity.table}_pkey",
        f"i_{entity.id}",
        f"o_{entity.id}",
        *physical.unique_indexes(entity),
        *physical.reference_indexes(entity),
    }
    required = {name for name, column in found.columns.items() if column.required}
    asked = set(physical.required_columns(entity)) | (system - {"created_by", "updated_by"})
    doubtful = {name for name, (_, validated) in found.constraints.items() if not validated}
    return (
        (found.columns.keys() ^ columns)
        | (found.constraints.keys() ^ constraints)
        | (found.indexes.keys() ^ indexes)
        | (required ^ asked)
        | doubtful
        | found.invalid
    )


def rows_of(owner: Database, entity: Entity) -> list[dict[str, Any]]:
    """All rows by physical column, in order of creation."""
    with owner.transaction() as tx:
        cursor = tx.connection.cursor(row_factory=dict_row)
        text = f"select * from {physical.qualified(entity)} order by id"
        return cursor.execute(text.encode()).fetchall()

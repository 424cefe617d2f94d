"""SQL on an entity's table as syncs need it: records by id and by a unique field, and their end."""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity, Field, FieldKind
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, qualified


def present(entity: Entity, record_ids: Sequence[UUID]) -> Statement[UUID]:
    """Those of the records that are there."""
    return statement(
        f"select id from {qualified(entity)} where id = any(%s)",
        (list(record_ids),),
        lambda row: row[0],
    )


def holding(
    entity: Entity, field: Field, values: Sequence[object]
) -> Statement[tuple[object, UUID]]:
    """(value, record) of the records with one of these values in a unique field."""
    column = identifier(field.column)
    return statement(
        f"select {column}, id from {qualified(entity)} where {column} = any(%s::{SQL_TYPES[field.kind]}[])",
        (list(values),),
        lambda row: (row[0], row[1]),
    )


def remove(entity: Entity, record_ids: Sequence[UUID]) -> Statement[Any]:
    """Raises ForeignKeyViolation where other records keep one of them."""
    return statement(f"delete from {qualified(entity)} where id = any(%s)", (list(record_ids),))


def mark(
    entity: Entity, field: Field, record_ids: Sequence[UUID], at: datetime | None, actor_id: UUID
) -> Statement[Any]:
    """Note in a boolean or datetime field that the records are gone in the other system (`at`), or
    that they are there again (None)."""
    value: object = at
    if field.kind is FieldKind.BOOLEAN:
        value = at is not None
    column = identifier(field.column)
    return statement(
        f"update {qualified(entity)} set {column} = %(value)s, version = version + 1,"
        " updated_at = now(), xid = pg_current_xact_id(), updated_by = %(actor)s"
        f" where id = any(%(ids)s) and {column} is distinct from %(value)s",
        {"value": value, "actor": actor_id, "ids": list(record_ids)},
    )

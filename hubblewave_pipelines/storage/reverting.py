"""SQL that takes back what an import wrote: records it made go, records it changed are as before.

Only records whose last writer is the import are touched: the version before it, by anybody else,
comes back as a new version. Whatever was written later stands, and is found so that it can be told.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.history_table import former, history_table
from hubblewave_pipelines.storage.physical import identifier, literal, qualified

_FIRST = UUID(int=0)


def act_as(actor_id: UUID) -> Statement[Any]:
    """Deletions of this transaction are this actor's."""
    return statement("select set_config('hubblewave.actor', %s, true)", (str(actor_id),))


def written_by(entity: Entity, import_id: UUID, after: UUID | None, limit: int) -> Statement[UUID]:
    """Ids, ascending, of records whose present version is the import's; they are locked."""
    return statement(
        f"select id from {qualified(entity)} where id > %s and updated_by = %s"
        " order by id limit %s for update",
        (after or _FIRST, import_id, limit),
        lambda row: row[0],
    )


def _before(entity: Entity) -> str:
    """The last version of record `t` that is not the import's, as `b`."""
    return (
        f"(select h.record from {history_table(entity)} h where h.id = t.id"
        " and h.deleted_at is null and h.record ->> 'updated_by' is distinct from %(import)s::text"
        " order by h.n desc limit 1)"
    )


def restore_changed(
    entity: Entity, import_id: UUID, revert_id: UUID, record_ids: Sequence[UUID]
) -> Statement[Any]:
    """Give records that the import changed the values they had; a field that did not exist then
    keeps what it holds. Records without an earlier version are left."""
    columns = [identifier(field.column) for field in entity.fields]
    columns += [identifier(relation.column) for relation in entity.references.values()]
    sets = "".join(
        f"{c} = case when b.record ? {literal(c)} then v.{c} else t.{c} end, " for c in columns
    )
    table = qualified(entity)
    return statement(
        f"with b as materialized (select t.id, {_before(entity)} as record from {table} t"
        " where t.id = any(%(ids)s) and t.updated_by = %(import)s)"
        f" update {table} t set {sets}version = t.version + 1, updated_at = now(),"
        " xid = pg_current_xact_id(), updated_by = %(revert)s"
        f" from b, lateral {former(entity, 'b.record')} v"
        " where b.record is not null and t.id = b.id",
        {"ids": list(record_ids), "import": import_id, "revert": revert_id},
    )


def remove_made(entity: Entity, import_id: UUID, record_ids: Sequence[UUID]) -> Statement[Any]:
    """Delete records that nobody but the import has ever written."""
    return statement(
        f"delete from {qualified(entity)} t where t.id = any(%(ids)s)"
        f" and t.updated_by = %(import)s and {_before(entity)} is null",
        {"ids": list(record_ids), "import": import_id},
    )


def written_since(
    entity: Entity, import_id: UUID, revert_id: UUID, after: tuple[UUID, int] | None, limit: int
) -> Statement[tuple[UUID, int, str | None]]:
    """Versions of the import that others have replaced, from the one after `after` on: id and
    number, and what became of the record, `edited` or `deleted` (None: the revert's own doing)."""
    last_id, last_n = after or (_FIRST, 0)
    return statement(
        f"select h.id, h.n, case when t.id is null then (select case when g.deleted_by"
        f" is distinct from %(revert)s then 'deleted' end from {history_table(entity)} g"
        " where g.id = h.id order by g.n desc limit 1)"
        " when t.updated_by is distinct from %(revert)s"
        " and t.updated_by is distinct from %(import)s then 'edited' end"
        f" from {history_table(entity)} h left join {qualified(entity)} t on t.id = h.id"
        " where (h.id, h.n) > (%(id)s, %(n)s) and h.record ->> 'updated_by' = %(import)s::text"
        " order by h.id, h.n limit %(limit)s",
        {
            "import": import_id,
            "revert": revert_id,
            "id": last_id,
            "n": last_n,
            "limit": limit,
        },
        lambda row: (row[0], row[1], row[2]),
    )

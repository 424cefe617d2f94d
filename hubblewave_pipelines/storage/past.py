"""Records that are gone, or as they were: the rows of a `View` as something to select from.

What it costs: deleted records, by their number; an instant, by the number of records that changed
since, each with one look into the history.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.query import Deleted, View
from hubblewave_pipelines.storage.history_table import former, history_table
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.sql import Sql

_SYSTEM = ("created_at", "updated_at", "version", "created_by", "updated_by", "xid")
_CHANGED = "(h.record ->> 'updated_at')::timestamptz"


def _columns(entity: Entity, of: str) -> str:
    """The record's columns but its id, as those of alias `of`."""
    own = [field.column for field in entity.fields]
    references = [relation.column for relation in entity.references.values()]
    return ", ".join(f"{of}.{identifier(name)}" for name in (*_SYSTEM, *own, *references))


def rows(entity: Entity, view: View) -> Sql:
    """What follows FROM, before an alias: the table itself, or a subquery with the same columns.

    Of deleted records there is one row each, as it was when it was last deleted, and every row has
    a column `deleted_at`.
    """
    if view.as_of is not None:
        return _as_of(entity, view)
    if view.deleted is Deleted.EXCLUDE:
        return Sql([qualified(entity)])
    table, history = qualified(entity), history_table(entity)
    gone = (
        f"select g.id, {_columns(entity, 's')}, g.deleted_at from (select distinct on (h.id) h.id,"
        f" h.deleted_at, h.record from {history} h where h.deleted_at is not null"
        f" order by h.id, h.n desc) g, lateral {former(entity, 'g.record')} s"
        f" where not exists (select from {table} p where p.id = g.id)"
    )
    if view.deleted is Deleted.ONLY:
        return Sql([f"({gone})"])
    there = f"select t.id, {_columns(entity, 't')}, null::timestamptz as deleted_at from {table} t"
    return Sql([f"({there} union all {gone})"])


def _as_of(entity: Entity, view: View) -> Sql:
    """Of each record the last version that began by then, unless that was deleted by then, too."""
    table, history, at = qualified(entity), history_table(entity), view.as_of
    sql = Sql([f"(select t.id, {_columns(entity, 't')} from {table} t"])
    sql.add(" where t.updated_at <= %s", at)
    sql.add(f" union all select c.id, {_columns(entity, 's')} from (")
    sql.add(f"select t.id from {table} t where t.updated_at > %s", at)
    sql.add(f" union select h.id from {history} h where h.deleted_at > %s", at)
    sql.add(f" and not exists (select from {table} p where p.id = h.id)) c, lateral (")
    sql.add(f"select h.deleted_at, h.record from {history} h where h.id = c.id")
    sql.add(f" and {_CHANGED} <= %s order by h.n desc limit 1) was, ", at)
    sql.add(f"lateral {former(entity, 'was.record')} s")
    return sql.add(" where was.deleted_at is null or was.deleted_at > %s)", at)

"""The change feed: an entity's records and tombstones in the order in which they were committed.

Every row carries the id of the transaction that wrote it last. All transactions before the oldest
one still running (the snapshot's xmin) have ended, so what they wrote is complete: a page goes that
far and no further, and nothing can appear later before a place that was given out.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.feed import START, Feed, Place, before
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.history_retention import DELETIONS_GONE, removed_until
from hubblewave_pipelines.storage.history_table import history_table
from hubblewave_pipelines.storage.json_values import as_json
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.shown import record_object
from hubblewave_pipelines.storage.sql import Sql


@dataclass(frozen=True, slots=True)
class Changes:
    """`items` is a JSON list; `next` the place to go on from; `more` whether that is at once.

    `expired` says that deletions after the place asked for are no longer kept.
    """

    items: str
    shown: int
    next: Place
    more: bool
    expired: bool = False


def _entry(kind: str, at: str, version: str) -> str:
    """The opening of an entry, of type json; the record is put in where there is one."""
    return f"json_build_object('kind', {kind}, 'id', id, 'version', {version}, 'at', {as_json(FieldKind.DATETIME, at)}"


def select_changes(feed: Feed) -> Statement[Changes]:
    """One page in one row, in one snapshot."""
    size = int(feed.limit)
    horizon = "(select xmin from horizon)"
    head = "with horizon as materialized (select pg_snapshot_xmin(pg_current_snapshot()) as xmin)"
    if feed.since is None:
        text = f"{head} select xmin::text from horizon"
        return statement(text, (), lambda row: Changes("[]", 0, before(int(row[0])), False))
    window = f"xid < {horizon} and (xid, id) > (%s::xid8, %s::uuid)"
    place = (str(feed.since.xid), feed.since.id)
    names = ", ".join(
        identifier(name)
        for name in dict.fromkeys(
            ["xid", "id", "version", "updated_at", *(column.physical for column in feed.fields)]
        )
    )
    table, history = qualified(feed.entity), history_table(feed.entity)
    kind = "case version when 1 then 'created' else 'updated' end"
    sql = Sql([f"{head} select {horizon}::text, count(*), max(xid::text || ' ' || id)"])
    sql.add(f" filter (where _n = least(_c, {size})),")
    sql.add(f" {DELETIONS_GONE},", feed.entity.id)
    sql.add(f" coalesce(json_agg(entry order by _n) filter (where _n <= {size}), '[]')::text")
    sql.add(" from (select *, row_number() over (order by xid, id) as _n, count(*) over () as _c")
    sql.add(f" from ((select xid, id, {_entry(kind, 'updated_at', 'version')}, 'record', ")
    sql.append(record_object(feed.fields)).add(f") as entry from (select {names} from {table}")
    sql.add(f" where {window} order by xid, id limit {size + 1}) written)", *place)
    # A record that was deleted and is back comes as itself; its tombstone would only mislead.
    tombstone = _entry("'deleted'", "deleted_at", "version + 1")
    sql.add(f" union all (select xid, id, {tombstone})")
    sql.add(f" as entry from {history} gone where deleted_at is not null and {window}", *place)
    sql.add(f" and not exists (select from {table} present where present.id = gone.id)")
    sql.add(f" order by xid, id limit {size + 1})) change order by xid, id limit {size + 1}) page")
    return statement(sql.text, sql.params, lambda row: _changes(row, feed.since, size))


def _changes(row: tuple[Any, ...], since: Place | None, size: int) -> Changes:
    horizon, found, last, gone, items = row
    more = found > size
    place = before(int(horizon))
    began = place.xid if since is None or since == START else since.began
    if since is not None and since.xid > place.xid:  # a token never goes back
        place = since
    if more:
        xid, record_id = last.split(" ")
        place = Place(int(xid), UUID(record_id), began)
    removed = removed_until(gone)
    expired = (
        since not in (None, START)
        and removed is not None
        and not (since.reaches(removed) or since.began >= removed.xid)
    )
    return Changes(items, min(found, size), place, more, expired)

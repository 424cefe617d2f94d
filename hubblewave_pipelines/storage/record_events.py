"""The events of an entity's records: every committed change once, in the order of commits.

The change feed (`storage.changes`) tells what is there by now; here every version that a transaction
left behind is told, also when it has been replaced since. A transaction that touches a record
several times is one event: nobody could see what it had in between.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.feed import Place, before
from hubblewave_pipelines.core.query import Filter
from hubblewave_pipelines.core.shapes import Member
from hubblewave_pipelines.storage.conditions import where
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.history_retention import VERSIONS_GONE, removed_until
from hubblewave_pipelines.storage.history_table import history_table
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.shown import shown
from hubblewave_pipelines.storage.sql import Sql


class Kind(StrEnum):
    CREATED = "created"  # it was not there before: new, or brought back
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """What one transaction did to one record; `place` is the event's alone.

    `kept` is the row of the history that holds the version, None while it is the present one.
    `changed` names the physical columns in which an update differs from what was before it.
    """

    kind: Kind
    place: Place
    version: int
    kept: int | None
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventPage:
    """`next` is the place to go on from, at once when there is `more`."""

    events: tuple[RecordEvent, ...]
    next: Place
    more: bool
    catalog_version: int
    lag: float  # seconds since the oldest of the events was made
    removed: Place | None  # versions up to there are gone; None when all are there


@dataclass(frozen=True, slots=True)
class Shown:
    """Of a page's events those that passed a filter: the records as JSON text by the event's index."""

    records: dict[int, str]
    removed: Place | None  # as of this look, which comes after the page's


@dataclass(frozen=True, slots=True)
class Now:
    """An instant: the place before everything that was not complete then, and what of the rest
    was committed already."""

    place: Place
    snapshot: "Snapshot"
    catalog_version: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions had committed, as PostgreSQL writes it: `xmin:xmax:running,...`."""

    limit: int
    running: frozenset[int]

    @classmethod
    def read(cls, text: str) -> "Snapshot":
        _, limit, running = text.split(":")
        return cls(int(limit), frozenset(int(xid) for xid in running.split(",") if xid))

    def shows(self, xid: int) -> bool:
        return xid < self.limit and xid not in self.running


_VERSION = "(select catalog_version from hubblewave.tenants where id = hubblewave.current_tenant())"


def select_now() -> Statement[Now]:
    text = f"select pg_current_snapshot()::text, {_VERSION}"

    def row(found: tuple[Any, ...]) -> Now:
        xmin = int(found[0].split(":")[0])
        return Now(before(xmin), Snapshot.read(found[0]), int(found[1]))

    return statement(text, (), row)


def select_horizon() -> Statement[int]:
    """All transactions before this one have ended. Costs no table a look."""
    return statement(
        "select pg_snapshot_xmin(pg_current_snapshot())::text", (), lambda row: int(row[0])
    )


def select_events(entity: Entity, since: Place, limit: int) -> Statement[EventPage]:
    """One page in one row, in one snapshot. Readers who have not reached `removed` miss some of it."""
    size = int(limit)
    table, history = qualified(entity), history_table(entity)
    place = (str(since.xid), since.id)
    was = "(record->>'updated_at')::timestamptz"
    page = f"order by 1, 2 limit {size + 1}"
    window = "< (select xmin from horizon) and ({}, id) > (%s::xid8, %s::uuid)"
    sql = Sql(["with horizon as materialized (select pg_snapshot_xmin(pg_current_snapshot()) as"])
    sql.add(" xmin), told as (select * from (")
    sql.add("(select xid, id, version, null::bigint as n, false as gone,")
    sql.add(" updated_at as at, to_jsonb(t) as record")
    sql.add(f" from {table} t where xid {window.format('xid')} {page})", *place)
    # What the same transaction replaced again, nobody could see.
    sql.add(f" union all (select written, id, version, n, false, {was}, record")
    sql.add(f" from {history}")
    sql.add(f" where written {window.format('written')} and xid > written {page})", *place)
    sql.add(" union all (select xid, id, version + 1, n, true, deleted_at, record")
    sql.add(f" from {history} gone")
    sql.add(f" where deleted_at is not null and xid {window.format('xid')}", *place)
    sql.add(f" and not exists (select from {table} back where back.id = gone.id")
    sql.add(f" and back.xid = gone.xid) and not exists (select from {history} back")
    sql.add(f" where back.id = gone.id and back.n > gone.n and back.written = gone.xid) {page})")
    sql.add(f") change order by xid, id limit {size + 1})")
    sql.add(f" select (select xmin::text from horizon), {_VERSION}, coalesce(json_agg(")
    sql.add("json_build_array(xid::text, id, version, case when gone then before else n end, gone,")
    sql.add(
        " before is not null, case when not gone then (select array_agg(key) from jsonb_each(record) as of(key, value)"
    )
    sql.add(" where value is distinct from coalesce(state->key, 'null'::jsonb)) end)")
    sql.add(" order by xid, id), '[]')::text, coalesce(extract(epoch from clock_timestamp()")
    sql.add(" - min(at)), 0),")
    sql.add(f" {VERSIONS_GONE}", entity.id)
    sql.add(" from told left join lateral (select h.xid as until, h.n as before,")
    # The state that the transaction found: the last that it did not write itself.
    sql.add(f" h.record as state from {history} h where h.id = told.id and (told.n is null")
    sql.add(" or h.n < told.n or told.gone and h.n = told.n)")
    sql.add(" and h.written < told.xid order by h.n desc limit 1) found")
    sql.add(" on found.until >= told.xid")
    return statement(sql.text, sql.params, lambda row: _page(row, since, size))


def _page(row: tuple[Any, ...], since: Place, size: int) -> EventPage:
    horizon, version, text, lag, lost = row
    found = json.loads(text)
    more = len(found) > size
    events = []
    for xid, record_id, number, kept, gone, was_there, changed in found[:size]:
        place = Place(int(xid), UUID(record_id))
        if gone:
            kind = Kind.DELETED
            if not was_there:  # made and deleted by one transaction
                continue
        else:
            kind = Kind.UPDATED if was_there else Kind.CREATED
        differing = tuple(changed or ()) if kind is Kind.UPDATED else ()
        events.append(RecordEvent(kind, place, number, kept, differing))
    if more:
        last = found[size - 1]
        following = Place(int(last[0]), UUID(last[1]))
    else:
        following = max(before(int(horizon)), since, key=lambda p: (p.xid, p.id))
    removed = removed_until(lost)
    return EventPage(tuple(events), following, more, int(version), float(lag), removed)


def select_shown(
    entity: Entity, events: Sequence[RecordEvent], members: Sequence[Member], wanted: Filter
) -> Statement[Shown]:
    """The records of those events that pass the filter.

    A record is shown, and judged by the filter, as the event left it (a deleted one as it was last),
    its related records as they are now. A version that was removed since the page was read is not
    shown, which `removed` tells.
    """
    table, history = qualified(entity), history_table(entity)
    kept = f"lateral jsonb_populate_record(null::{table}, h.record) s"
    sql = Sql(["with event as materialized (select * from unnest(%s::int[], %s::uuid[],"])
    sql.add(
        " %s::bigint[], %s::bigint[]) as event(k, id, version, n)), shown as (",
        list(range(len(events))),
        [event.place.id for event in events],
        [event.version for event in events],
        [event.kept for event in events],
    )
    sql.add(f"select k as _k, t.* from event join {table} t using (id, version) where n is null")
    sql.add(f" union all select k, s.* from event join {history} h using (id, n), {kept}")
    # It was the present version when the page was read, and has been replaced in between.
    sql.add(f" union all select k, s.* from event join {history} h using (id, version), {kept}")
    sql.add(f" where event.n is null and not exists (select from {table} t")
    sql.add(" where t.id = event.id and t.version = event.version)")
    sql.add(") select coalesce(json_agg(json_build_array(_k, node::text)), '[]')::text,")
    sql.add(f" {VERSIONS_GONE}", entity.id)
    sql.add(" from (select _k, ").append(shown(members, 0))
    sql.add(" as node from shown a0").append(where(wanted)).add(") found")
    return statement(
        sql.text, sql.params, lambda row: Shown(dict(json.loads(row[0])), removed_until(row[1]))
    )

"""`Query` -> one SELECT that returns one row: the items as JSON text, and the facts of the page.

Physical names come from the catalog and are checked by `identifier`; everything that a person
wrote, names of fields included, is a parameter.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.query import (
    PRESENT,
    Count,
    Filter,
    Page,
    Query,
    Selection,
    View,
)
from hubblewave_pipelines.core.shapes import Member
from hubblewave_pipelines.storage.conditions import alias, where
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.lookups import looked_up
from hubblewave_pipelines.storage.order import Order
from hubblewave_pipelines.storage.past import rows
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.shown import needed, record_object, shown
from hubblewave_pipelines.storage.sql import Sql

_EXACT_UP_TO = 10_000  # an estimated count is exact this far; beyond, the planner's guess will do
_ROW = alias(0)


def _total(query: Query) -> Sql:
    match query.count:
        case Count.NONE:
            return Sql(["null::bigint"])
        case Count.EXACT:
            found = Sql(["(select count(*) from "]).append(rows(query.entity, query.view))
            return found.add(f" {_ROW}").append(where(query.filter)).add(")")
        case Count.ESTIMATED:
            found = Sql(["(select count(*) from (select from "])
            found.append(rows(query.entity, query.view)).add(f" {_ROW}").append(where(query.filter))
            return found.add(f" limit {_EXACT_UP_TO + 1}) counted)")


def select_page(query: Query) -> Statement[Page]:
    """One page in one row. An estimated total above 10,000 still needs `select_estimate`."""
    position = query.position
    backward = position is not None and position.backward
    order = Order([key.reversed if backward else key for key in query.sort])
    columns = {name: f"{_ROW}.{name}" for name in needed(query.fields, query.related)}
    columns.update(order.selected)
    selected = ", ".join(f"{expression} as {name}" for name, expression in columns.items())
    size = int(query.page_size)
    places = ", ".join(f"{name}::text" for name in order.outputs)
    nearest, furthest = "_n = 1", f"_n = least(_c, {size})"
    if backward:
        nearest, furthest = furthest, nearest

    record = record_object(query.fields, query.related, 0)
    sql = Sql(["select coalesce(json_agg("]).append(record)
    sql.add(f" order by _n{' desc' if backward else ''}) filter (where _n <= {size}), '[]')::text")
    sql.add(", coalesce(max(_c), 0)")
    for place in (nearest, furthest):
        sql.add(f", max(json_build_array({places})::text) filter (where {place})")
    sql.add(", ").append(_total(query))
    sql.add(f" from (select *, row_number() over (order by {order.by(outputs=True)}) as _n,")
    sql.add(f" count(*) over () as _c from (select {selected} from ")  # noqa: S608 - names pass `identifier`
    sql.append(rows(query.entity, query.view)).add(f" {_ROW}{order.joins}")
    more = [] if position is None else [order.beyond(position.values)]
    if query.view == PRESENT:
        more += looked_up(query.entity, query.filter)
    sql.append(where(query.filter, *more)).add(f" order by {order.by()} limit {size + 1}")
    if query.offset:
        sql.add(" offset %s", query.offset)
    sql.add(f") page) {_ROW}")
    return statement(sql.text, sql.params, lambda row: _page(row, size))


def _page(row: tuple[Any, ...], size: int) -> Page:
    items, found, first, last, total = row
    return Page(
        items=items,
        shown=min(found, size),
        more=found > size,
        first=None if first is None else tuple(json.loads(first)),
        last=None if last is None else tuple(json.loads(last)),
        total=total,
    )


def needs_estimate(query: Query, page: Page) -> bool:
    """Whether the total was counted only as far as an estimated count goes."""
    return query.count is Count.ESTIMATED and (page.total or 0) > _EXACT_UP_TO


def expected_rows(entity: Entity, found: Filter, view: View = PRESENT) -> Statement[int]:
    """How many records the planner expects the filter to let through."""
    sql = Sql(["explain (format json) select from "]).append(rows(entity, view))
    sql.add(f" {_ROW}").append(where(found))
    return statement(sql.text, sql.params, lambda row: int(row[0][0]["Plan"]["Plan Rows"]))


def select_estimate(query: Query) -> Statement[int]:
    """As `expected_rows`, for a list that is known to be longer than what is counted exactly."""
    expected = expected_rows(query.entity, query.filter, query.view)
    return replace(expected, row=lambda row: max(_EXACT_UP_TO + 1, expected.row(row)))


def select_record(
    entity: Entity, selection: Selection, found: Filter, view: View = PRESENT
) -> Statement[tuple[int, str]]:
    """(version, JSON text) of the one record that the filter lets through, or no row."""
    sql = Sql([f"select {_ROW}.version, "])
    sql.append(record_object(selection.fields, selection.related, 0))
    sql.add("::text from ").append(rows(entity, view)).add(f" {_ROW}").append(where(found))
    return statement(sql.text, sql.params, lambda row: (row[0], row[1]))


def select_shape(members: Sequence[Member]) -> Statement[str]:
    """The JSON text of one object with these members, each of which reads what it shows."""
    sql = Sql(["select "]).append(shown(members, -1)).add("::text")
    return statement(sql.text, sql.params, lambda row: row[0])


def select_shaped(
    entity: Entity, members: Sequence[Member], found: Filter
) -> Statement[tuple[UUID, str]]:
    """(id, JSON text) of every record that the filter lets through, in no order."""
    sql = Sql([f"select {_ROW}.id, "]).append(shown(members, 0))
    sql.add(f"::text from {qualified(entity)} {_ROW}").append(where(found))
    return statement(sql.text, sql.params, lambda row: (row[0], row[1]))

"""`Query` -> one SELECT that returns one row: the items as JSON text, and the facts of the page.

Physical names come from the catalog and are checked by `identifier`; everything that a person
wrote, names of fields included, is a parameter.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity, FieldKind
from hubblewave_pipelines.core.query import (
    All,
    Column,
    Comparison,
    Count,
    Filter,
    Not,
    Operator,
    Page,
    Position,
    Query,
    SortKey,
)
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.physical import SQL_TYPES, identifier, qualified

_EXACT_UP_TO = 10_000  # an estimated count is exact this far; beyond, the planner's guess will do
_PAIRS = 50  # a function takes at most 100 arguments
_ISO = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""  # the session's time zone is UTC

_SYMBOLS = {
    Operator.EQ: "=",
    Operator.NE: "is distinct from",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
}


@dataclass(slots=True)
class Sql:
    """SQL text being written, with its parameters in order of appearance."""

    parts: list[str] = field(default_factory=list)
    params: list[object] = field(default_factory=list)

    def add(self, text: str, *params: object) -> "Sql":
        self.parts.append(text)
        self.params.extend(params)
        return self

    def append(self, other: "Sql") -> "Sql":
        return self.add(other.text, *other.params)

    @property
    def text(self) -> str:
        return "".join(self.parts)


def _shown(column: Column) -> str:
    """The value as JSON shows it: decimals and times as text that loses nothing."""
    name = identifier(column.physical)
    if column.kind is FieldKind.DECIMAL:
        return f"{name}::text"
    if column.kind is FieldKind.DATETIME:
        return f"to_char({name}, {_ISO})"
    return name


def _pairs(columns: Sequence[Column]) -> Sql:
    pairs = ", ".join(f"%s::text, {_shown(column)}" for column in columns)
    return Sql([f"json_build_object({pairs})"], [column.name for column in columns])


def record_object(columns: Sequence[Column]) -> Sql:
    """An SQL expression of type json: a record as callers see it, names as parameters."""
    if len(columns) <= _PAIRS:
        return _pairs(columns)
    found = Sql(["("])
    for start in range(0, len(columns), _PAIRS):
        chunk = _pairs(columns[start : start + _PAIRS])
        opening = "'{'" if start == 0 else " || ','"
        found.add(f"{opening} || substr(left((").append(chunk).add(")::text, -1), 2)")
    return found.add(" || '}')::json")


def _pattern(operator: Operator, text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%" if operator is Operator.STARTS_WITH else f"%{escaped}%"


def _comparison(found: Comparison) -> Sql:
    name = identifier(found.column.physical)
    kind = SQL_TYPES[found.column.kind]
    match found.operator:
        case Operator.IS_NULL:
            return Sql([f"{name} is {'null' if found.value else 'not null'}"])
        case Operator.IN:
            return Sql([f"{name} = any(%s::{kind}[])"], [list(_items(found.value))])
        case Operator.NIN:
            return Sql([f"({name} = any(%s::{kind}[])) is not true"], [list(_items(found.value))])
        case Operator.CONTAINS | Operator.STARTS_WITH:
            return Sql([f"{name} like %s"], [_pattern(found.operator, str(found.value))])
        case Operator.ICONTAINS:
            return Sql([f"{name} ilike %s"], [_pattern(found.operator, str(found.value))])
        case _:
            return Sql([f"{name} {_SYMBOLS[found.operator]} %s::{kind}"], [found.value])


def _items(value: object) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise TypeError(f"a list operator holds a tuple, not {type(value).__name__}")
    return value


def condition(found: Filter) -> Sql:
    """A filter as a boolean expression."""
    if isinstance(found, Comparison):
        return _comparison(found)
    if isinstance(found, Not):
        return Sql(["("]).append(condition(found.part)).add(") is not true")
    word, empty = (" and ", "true") if isinstance(found, All) else (" or ", "false")
    if not found.parts:
        return Sql([empty])
    joined = Sql(["("])
    for index, part in enumerate(found.parts):
        joined.add(word if index else "").append(condition(part))
    return joined.add(")")


def _order(keys: Sequence[SortKey]) -> str:
    return ", ".join(_order_of(key) for key in keys)


def _order_of(key: SortKey) -> str:
    text = f"{identifier(key.column.physical)} {'desc' if key.descending else 'asc'}"
    if key.column.nullable:  # naming the place of nulls that cannot be would hide indexes
        text += f" nulls {'first' if key.nulls_first else 'last'}"
    return text


def _beyond(keys: Sequence[SortKey], values: Sequence[str | None]) -> Sql:
    """True for records that come after the place with these sort values, in the order of `keys`."""
    aligned = len({key.descending for key in keys}) == 1
    if aligned and not any(key.column.nullable for key in keys):
        names = ", ".join(identifier(key.column.physical) for key in keys)
        slots = ", ".join(f"%s::{SQL_TYPES[key.column.kind]}" for key in keys)
        sign = "<" if keys[0].descending else ">"
        return Sql([f"({names}) {sign} ({slots})"], list(values))
    key, value = keys[0], values[0]
    after = _after(key, value)
    if len(keys) == 1:
        return after
    rest = Sql(["("]).append(_tied(key, value)).add(" and ")
    rest.append(_beyond(keys[1:], values[1:])).add(")")
    either = Sql(["("]).append(after).add(" or ").append(rest).add(")")
    if key.column.nullable or value is None:
        return either
    # The leading bound is implied by the rest, and is what an index can start from.
    name, kind = identifier(key.column.physical), SQL_TYPES[key.column.kind]
    sign = "<=" if key.descending else ">="
    return Sql([f"({name} {sign} %s::{kind} and "], [value]).append(either).add(")")


def _after(key: SortKey, value: str | None) -> Sql:
    name, kind = identifier(key.column.physical), SQL_TYPES[key.column.kind]
    if value is None:
        return Sql([f"{name} is not null" if key.nulls_first else "false"])
    text = f"{name} {'<' if key.descending else '>'} %s::{kind}"
    if key.column.nullable and not key.nulls_first:
        text = f"({text} or {name} is null)"
    return Sql([text], [value])


def _tied(key: SortKey, value: str | None) -> Sql:
    name = identifier(key.column.physical)
    if value is None:
        return Sql([f"{name} is null"])
    return Sql([f"{name} = %s::{SQL_TYPES[key.column.kind]}"], [value])


def _where(query: Query, keys: Sequence[SortKey], position: Position | None) -> Sql:
    conditions = [condition(part) for part in _conjuncts(query.filter)]
    if position is not None:
        conditions.append(_beyond(keys, position.values))
    found = Sql()
    for index, part in enumerate(conditions):
        found.add(" and " if index else " where ").append(part)
    return found


def _conjuncts(found: Filter) -> tuple[Filter, ...]:
    return found.parts if isinstance(found, All) else (found,)


def _total(query: Query) -> Sql:
    table = qualified(query.entity)
    filtered = _where(query, (), None)
    match query.count:
        case Count.NONE:
            return Sql(["null::bigint"])
        case Count.EXACT:
            return Sql([f"(select count(*) from {table}"]).append(filtered).add(")")  # noqa: S608 - names pass `identifier`
        case Count.ESTIMATED:
            found = Sql([f"(select count(*) from (select from {table}"]).append(filtered)  # noqa: S608 - names pass `identifier`
            return found.add(f" limit {_EXACT_UP_TO + 1}) counted)")


def select_page(query: Query) -> Statement[Page]:
    """One page in one row. An estimated total above 10,000 still needs `select_estimate`."""
    backward = query.position is not None and query.position.backward
    keys = [key.reversed if backward else key for key in query.sort]
    physical = {column.physical: None for column in query.fields}
    physical.update((key.column.physical, None) for key in keys)
    names = ", ".join(identifier(name) for name in physical)
    size = int(query.page_size)
    places = ", ".join(f"{identifier(key.column.physical)}::text" for key in query.sort)
    nearest, furthest = "_n = 1", f"_n = least(_c, {size})"
    if backward:
        nearest, furthest = furthest, nearest

    sql = Sql(["select coalesce(json_agg("]).append(record_object(query.fields))
    sql.add(f" order by _n{' desc' if backward else ''}) filter (where _n <= {size}), '[]')::text")
    sql.add(", coalesce(max(_c), 0)")
    for place in (nearest, furthest):
        sql.add(f", max(json_build_array({places})::text) filter (where {place})")
    sql.add(", ").append(_total(query))
    sql.add(f" from (select *, row_number() over (order by {_order(keys)}) as _n,")
    sql.add(f" count(*) over () as _c from (select {names} from {qualified(query.entity)}")  # noqa: S608 - names pass `identifier`
    sql.append(_where(query, keys, query.position))
    sql.add(f" order by {_order(keys)} limit {size + 1}")
    if query.offset:
        sql.add(" offset %s", query.offset)
    sql.add(") page) numbered")
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


def select_estimate(query: Query) -> Statement[int]:
    """How many records the planner expects the filter to let through."""
    sql = Sql([f"explain (format json) select from {qualified(query.entity)}"])
    sql.append(_where(query, (), None))
    return statement(
        sql.text, sql.params, lambda row: max(_EXACT_UP_TO + 1, int(row[0][0]["Plan"]["Plan Rows"]))
    )


def select_record(
    entity: Entity, columns: Sequence[Column], record_id: UUID
) -> Statement[tuple[int, str]]:
    """(version, JSON text) of one record, or no row."""
    sql = Sql(["select version, "]).append(record_object(columns))
    sql.add(f"::text from {qualified(entity)} where id = %s", record_id)
    return statement(sql.text, sql.params, lambda row: (row[0], row[1]))

"""A record as JSON: its values, and related records by correlated subqueries of one statement."""

from collections.abc import Sequence

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.query import Column, Expansion
from hubblewave_pipelines.storage.conditions import alias, reached, where
from hubblewave_pipelines.storage.order import Order
from hubblewave_pipelines.storage.physical import identifier
from hubblewave_pipelines.storage.sql import Sql, joined

_PAIRS = 50  # a function takes at most 100 arguments
_ISO = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""  # the session's time zone is UTC


def as_json(kind: FieldKind, expression: str) -> str:
    """A value of a kind as JSON shows it: decimals and times as text that loses nothing."""
    if kind is FieldKind.DECIMAL:
        return f"{expression}::text"
    if kind is FieldKind.DATETIME:
        return f"to_char({expression}, {_ISO})"
    return expression


def json_object(members: Sequence[tuple[str, Sql]]) -> Sql:
    """An SQL expression of type json: an object of any number of members, names as parameters."""
    if len(members) <= _PAIRS:
        pairs = (Sql(["%s::text, "], [name]).append(value) for name, value in members)
        return Sql(["json_build_object("]).append(joined(", ", pairs)).add(")")
    found = Sql(["("])
    for start in range(0, len(members), _PAIRS):
        chunk = json_object(members[start : start + _PAIRS])
        opening = "'{'" if start == 0 else " || ','"
        found.add(f"{opening} || substr(left((").append(chunk).add(")::text, -1), 2)")
    return found.add(" || '}')::json")


def record_object(
    columns: Sequence[Column], related: Sequence[Expansion] = (), at: int = -1
) -> Sql:
    """An SQL expression of type json: a record as callers see it, names as parameters.

    The columns are those of alias `at`, or unqualified, as RETURNING wants them, without it.
    """
    of = "" if at < 0 else f"{alias(at)}."
    members = [(c.name, Sql([as_json(c.kind, f"{of}{identifier(c.physical)}")])) for c in columns]
    members += [(expansion.name, _related(expansion, at)) for expansion in related]
    return json_object(members)


def needed(columns: Sequence[Column], related: Sequence[Expansion]) -> dict[str, str]:
    """Physical columns that `record_object` reads, as keys, in order and each once."""
    names = {column.physical: "" for column in columns}
    for expansion in related:
        names["id" if expansion.hop.many else expansion.hop.column] = ""
    return {identifier(name): "" for name in names}


def _related(found: Expansion, at: int) -> Sql:
    """The related record or null; the page of related records with what it says of itself."""
    table, link = reached(found.hop, at)
    name = alias(at + 1)
    shown = record_object(found.fields, found.related, at + 1)
    if not found.hop.many:
        return Sql(["(select "]).append(shown).add(f" from {table} where {link})")
    order, size = Order(found.sort, at + 1), int(found.page_size)
    columns = {column: f"{name}.{column}" for column in needed(found.fields, found.related)}
    columns.update(order.selected)
    sql = Sql(["(select json_build_object('items', coalesce(json_agg("]).append(shown)
    sql.add(f" order by _n) filter (where _n <= {size}), '[]'::json), 'pageInfo', ")
    sql.add(
        f"json_build_object('pageSize', {size}, 'hasNextPage', count(*) > {size})) from (select "
    )
    sql.add(", ".join(f"{expression} as {output}" for output, expression in columns.items()))
    sql.add(f", row_number() over (order by {order.by()}) as _n from {table}{order.joins}")
    sql.append(where(found.filter, Sql([link]), at=at + 1))
    return sql.add(f" order by {order.by()} limit {size + 1}) {name})")

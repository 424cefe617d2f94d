"""A record as JSON: its values, and related records by correlated subqueries of one statement.

A cursor is written as the sort values it stands for: sealing it takes a secret, which SQL never
sees (`api.graphql.sealing`).
"""

from collections.abc import Sequence

from hubblewave_pipelines.core.query import Column, Expansion, Query
from hubblewave_pipelines.core.shapes import (
    COUNTS,
    Constant,
    Edges,
    Fact,
    Groups,
    Info,
    Items,
    Lasting,
    Listing,
    Member,
    Node,
    One,
    Part,
    Place,
    Told,
    records_of,
)
from hubblewave_pipelines.storage.aggregates import grouped, listed
from hubblewave_pipelines.storage.conditions import alias, reached, where
from hubblewave_pipelines.storage.json_values import as_json, json_object
from hubblewave_pipelines.storage.lookups import looked_up
from hubblewave_pipelines.storage.order import Order
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.sql import Sql


def record_object(
    columns: Sequence[Column], related: Sequence[Expansion] = (), at: int = -1
) -> Sql:
    """An SQL expression of type json: a record as callers see it, names as parameters.

    The columns are those of alias `at`, or unqualified, as RETURNING wants them, without it.
    """
    return shown([*columns, *map(_as_member, related)], at)


def needed(columns: Sequence[Column], related: Sequence[Expansion]) -> dict[str, str]:
    """Physical columns that `record_object` reads, as keys, in order and each once."""
    return _needed([*columns, *map(_as_member, related)])


_PAGE_INFO = Info(
    "pageInfo", (Told("pageSize", Fact.PAGE_SIZE), Told("hasNextPage", Fact.HAS_NEXT))
)


def _as_member(found: Expansion) -> One | Listing:
    """An expansion as it is written: the related record or null, or the page of them with what it
    says of itself."""
    hop, members = found.hop, (*found.fields, *map(_as_member, found.related))
    if not hop.many:
        return One(found.name, hop.target, members, hop)
    query = Query(hop.target, (), found.filter, found.sort, page_size=found.page_size)
    return Listing(found.name, query, (Items("items", members), _PAGE_INFO), hop)


def _needed(members: Sequence[Member]) -> dict[str, str]:
    names: dict[str, str] = {}
    for member in members:
        if isinstance(member, Column):
            names[member.physical] = ""
        elif isinstance(member, One | Listing) and member.hop is not None:
            names["id" if member.hop.many else member.hop.column] = ""
    return {identifier(name): "" for name in names}


def shown(members: Sequence[Member], at: int) -> Sql:
    """An SQL expression of type json: an object with these members of the record of alias `at`.

    At -1 columns are unqualified, and listings have no record around them.
    """
    if not isinstance(members, Lasting):
        return json_object([(member.name, _value(member, at)) for member in members])
    found = members.written.get(at)
    if found is None:
        written = json_object([(member.name, _value(member, at)) for member in members])
        # One text, which nobody adds to: what is written around it appends it to its own.
        found = members.written[at] = Sql([written.text], written.params)
    assert isinstance(found, Sql)
    return Sql(found.parts.copy(), found.params.copy())


def _value(member: Member, at: int) -> Sql:
    match member:
        case Column():
            of = "" if at < 0 else f"{alias(at)}."
            return Sql([as_json(member.kind, f"{of}{identifier(member.physical)}")])
        case Constant():
            return _text(member)
        case One():
            return _one(member, at)
        case Listing():
            return _page(member, at)


def _text(found: Constant) -> Sql:
    return Sql(["%s::text"], [found.text])


def _source(found: One | Listing, at: int) -> tuple[str, list[Sql]]:
    """FROM of the records, as alias `at` + 1, and what links them to the record around them."""
    if found.hop is not None:
        table, link = reached(found.hop, at)
        return table, [Sql([link])]
    entity = found.entity if isinstance(found, One) else found.query.entity
    return f"{qualified(entity)} {alias(at + 1)}", []


def _one(found: One, at: int) -> Sql:
    table, link = _source(found, at)
    sql = Sql(["(select "]).append(shown(found.members, at + 1)).add(f" from {table}")
    return sql.append(where(found.filter, *link, at=at + 1)).add(")")


def _page(found: Listing, at: int) -> Sql:
    """One page by one subquery: its rows in order, then the parts made of them.

    The rows are numbered where something is said of their places or of what is beyond them.
    """
    query, name = found.query, alias(at + 1)
    table, link = _source(found, at)
    backward = query.position is not None and query.position.backward
    order = Order([key.reversed if backward else key for key in query.sort], at + 1)
    columns = {
        column: f"{name}.{column}" for members in records_of(found) for column in _needed(members)
    }
    columns.update(order.selected)
    size = int(query.page_size)
    beyond = [] if query.position is None else [order.beyond(query.position.values)]
    places = f"json_build_array({', '.join(f'{output}::text' for output in order.outputs)})"

    numbered = backward or not all(
        isinstance(part, Items) for part in found.parts if _reads_rows(part)
    )
    parts = _Parts(found, at, table, link, size, places, backward=backward, numbered=numbered)
    inside = [(part.name, parts.part(part)) for part in found.parts]
    sql = Sql(["(select "]).append(inside[0][1] if found.bare else json_object(inside))
    if not any(map(_reads_rows, found.parts)):
        return sql.add(")")
    if numbered:
        sql.add(f" from (select *, row_number() over (order by {order.by(outputs=True)}) as _n")
    selected = ", ".join(f"{expression} as {output}" for output, expression in columns.items())
    sql.add(f" from (select {selected} from {table}{order.joins}")  # noqa: S608 - names pass `identifier`
    beyond += looked_up(query.entity, query.filter, at + 1)
    sql.append(where(query.filter, *link, *beyond, at=at + 1))
    sql.add(f" order by {order.by()} limit {size + 1 if numbered else size}")
    if query.offset:
        sql.add(" offset %s", query.offset)
    if not numbered:  # an aggregate takes the rows of a sorted subquery as they come
        return sql.add(f") {name})")
    # One row also where nothing is made of the rows, as of a page that only tells its size.
    return sql.add(f") {name}) {name} having true)")


def _reads_rows(part: Part) -> bool:
    """Whether a part is made of the rows of its page, not of all that the filter lets through."""
    match part:
        case Groups() | Constant():
            return False
        case Told():
            return part.fact not in COUNTS
        case Info():
            return any(isinstance(fact, Told) and fact.fact not in COUNTS for fact in part.facts)
    return True


class _Parts:
    """What a page shows, as expressions over its numbered rows."""

    def __init__(
        self,
        listing: Listing,
        at: int,
        table: str,
        link: list[Sql],
        size: int,
        places: str,
        *,
        backward: bool,
        numbered: bool,
    ) -> None:
        self._query, self._at, self._size, self._places = listing.query, at, size, places
        self._table, self._link = table, link
        self._backward, self._numbered = backward, numbered

    def part(self, part: Part) -> Sql:
        match part:
            case Items():
                return self._listed(shown(part.members, self._at + 1))
            case Edges():
                return self._listed(json_object([(p.name, self._edge(p)) for p in part.parts]))
            case Info():
                return json_object([(fact.name, self._told(fact)) for fact in part.facts])
            case Groups():
                return self._grouped(part)
        return self._told(part)

    def _edge(self, part: Place | Node | Constant) -> Sql:
        match part:
            case Place():
                return Sql([self._places])
            case Node():
                return shown(part.members, self._at + 1)
        return _text(part)

    def _listed(self, record: Sql) -> Sql:
        sql = Sql(["coalesce(json_agg("]).append(record)
        if not self._numbered:
            return sql.add("), '[]'::json)")
        sql.add(f" order by _n{' desc' if self._backward else ''})")
        return sql.add(f" filter (where _n <= {self._size}), '[]'::json)")

    def _told(self, told: Told | Constant) -> Sql:
        if isinstance(told, Constant):
            return _text(told)
        more = Sql([f"count(*) > {self._size}"])
        positioned = self._query.position is not None
        match told.fact:
            case Fact.PAGE_SIZE:
                return Sql([str(self._size)])
            case Fact.CURRENT_PAGE:
                return Sql(["null::int" if positioned else str(int(self._query.page))])
            case Fact.HAS_NEXT:
                return Sql(["true"]) if self._backward else more
            case Fact.HAS_PREVIOUS:
                earlier = positioned or self._query.page > 1
                return more if self._backward else Sql(["true" if earlier else "false"])
            case Fact.TOTAL_ITEMS:
                return self._total()
            case Fact.TOTAL_PAGES:
                round_up = f" + {self._size - 1}) / {self._size})"
                return Sql(["(("]).append(self._total()).add(round_up)
            case Fact.START_CURSOR:
                return self._place(last=self._backward)
            case Fact.END_CURSOR:
                return self._place(last=not self._backward)

    def _total(self) -> Sql:
        sql = Sql([f"(select count(*) from {self._table}"])  # noqa: S608 - names pass `identifier`
        return sql.append(where(self._query.filter, *self._link, at=self._at + 1)).add(")")

    def _grouped(self, part: Groups) -> Sql:
        sql = Sql(["(select "]).append(listed(part.asked, part.members))
        conditions = where(self._query.filter, *self._link, at=self._at + 1)
        return sql.append(grouped(part.asked, self._table, conditions, self._at + 1)).add(")")

    def _place(self, *, last: bool) -> Sql:
        number = f"least(count(*), {self._size})::int" if last else "1"
        return Sql([f"(array_agg({self._places} order by _n))[{number}]"])

"""Laws of lists: pages concatenated equal the whole, in order, each record once, whatever the sort
and whatever is written meanwhile; a filter lets through exactly what it says."""

import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.cursor import Seal
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.filters import Conditions
from hubblewave_pipelines.core.parameters import parse_query
from hubblewave_pipelines.core.query import (
    All,
    AnyOf,
    Comparison,
    Filter,
    Not,
    Operator,
    Position,
    Query,
    SortKey,
    column_of,
)
from hubblewave_pipelines.storage.compiler import select_page
from hubblewave_pipelines.storage.database import Database, Transaction, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.shown import record_object
from hubblewave_pipelines.storage.tenants import Tenant

SECRET = b"test"
SAMPLE = {
    "name": "Sample",
    "pluralName": "Samples",
    "fields": [
        {"name": "word", "type": "text"},
        {"name": "whole", "type": "integer"},
        {"name": "exact", "type": "decimal"},
        {"name": "rough", "type": "number"},
        {"name": "flag", "type": "boolean"},
        {"name": "day", "type": "date"},
        {"name": "rank", "type": "integer", "required": True},
    ],
}
NAMES = [str(field["name"]) for field in SAMPLE["fields"]]  # type: ignore[index]

# Few values, so that ties and nulls are common.
words = st.none() | st.text("abC", max_size=2)
rows = st.fixed_dictionaries(
    {
        "word": words,
        "whole": st.none() | st.integers(-2, 2),
        "exact": st.none() | st.sampled_from([Decimal("0.10"), Decimal("0.1"), Decimal("-7")]),
        "rough": st.none() | st.sampled_from([0.1, 1e300, -5e-324]),
        "flag": st.none() | st.booleans(),
        "day": st.none() | st.dates(date(2026, 1, 1), date(2026, 1, 3)),
        "rank": st.integers(0, 2),
    }
)
Row = dict[str, Any]


@st.composite
def sorts(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from([*NAMES, "updatedAt"]), max_size=3, unique=True))
    place = st.sampled_from(["", ".nullsFirst", ".nullsLast"])
    minus = st.sampled_from(["", "-"])
    return ",".join(f"{draw(minus)}{name}{draw(place)}" for name in names)


@dataclass
class Table:
    """The entity's table, seen through one connection."""

    tx: Transaction
    catalog: Catalog

    @property
    def entity(self) -> Entity:
        found = self.catalog.named("Sample")
        assert found is not None
        return found

    def fill(self, wanted: list[Row]) -> None:
        columns = ", ".join(self.entity.columns[name] for name in NAMES)
        slots = ", ".join(["%s"] * len(NAMES))
        text = f"insert into {self.entity.schema}.{self.entity.table} ({columns}) values ({slots})"
        for row in wanted:
            self.tx.run(statement(text, [row[name] for name in NAMES]))

    def touch(self, number: int) -> None:
        """Write a record again without changing what it is sorted by."""
        table = f"{self.entity.schema}.{self.entity.table}"
        some = f"select id from {table} order by xid::text, id offset %s limit 1"
        self.tx.run(
            statement(f"update {table} set version = version + 1 where id = ({some})", (number,))
        )

    def page(self, query: Query) -> tuple[list[Row], Any]:
        page = self.tx.one(select_page(query))
        assert page is not None
        return json.loads(page.items), page


@pytest.fixture
def table(owner_database: Database, tenant: Tenant) -> Iterator[Table]:
    catalog = define(owner_database, tenant, SAMPLE)
    with owner_database.connect() as connection:
        yield Table(Transaction(connection), catalog)


def law(function: Callable[..., None]) -> Callable[..., None]:
    """A property of a table that every example finds empty."""
    kept = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    return kept(function)


def compare(keys: tuple[SortKey, ...], a: Row, b: Row) -> int:
    """The order of two records as the sort keys mean it, spelt out independently of SQL."""
    for key in keys:
        x, y = (row[key.column.name] for row in (a, b))
        if key.column.name == "exact":
            x, y = (None if v is None else Decimal(v) for v in (x, y))
        if x == y:
            continue
        if x is None or y is None:
            return -1 if (x is None) == key.nulls_first else 1
        return -1 if (x < y) != key.descending else 1
    return 0


def query_of(table: Table, size: int, sort: str, **more: str) -> Query:
    given = {"pageSize": str(size), **({"sort": sort} if sort else {}), **more}
    return parse_query(table.entity, given.items(), secret=SECRET, catalog=table.catalog)


def walk(
    table: Table, query: Query, *, backward: bool = False, between: Callable[[], None] | None = None
) -> list[Row]:
    """All records, page by page, by cursors as a client carries them."""
    seal = Seal(SECRET, query)
    found: list[Row] = []
    while True:
        items, page = table.page(query)
        found = [*items, *found] if backward else [*found, *items]
        place = page.first if backward else page.last
        if place is None or not page.more:
            return found
        position = seal.position(seal.cursor(place), backward=backward)
        query = replace(query, position=position)
        if between is not None:
            between()


@law
@given(wanted=st.lists(rows, max_size=14), sort=sorts(), size=st.integers(1, 6))
def test_pages_concatenated_equal_the_whole(
    table: Table, wanted: list[Row], sort: str, size: int
) -> None:
    with table.tx.connection.transaction(force_rollback=True):
        table.fill(wanted)
        query = query_of(table, size, sort)
        whole, _ = table.page(replace(query, page_size=1000))
        assert len(whole) == len(wanted)
        assert whole == sorted(whole, key=cmp_to_key(lambda a, b: compare(query.sort, a, b)))
        assert walk(table, query) == whole


@law
@given(wanted=st.lists(rows, min_size=1, max_size=14), sort=sorts(), size=st.integers(1, 6))
def test_pages_read_backward_equal_the_whole(
    table: Table, wanted: list[Row], sort: str, size: int
) -> None:
    with table.tx.connection.transaction(force_rollback=True):
        table.fill(wanted)
        query = query_of(table, size, sort)
        whole, page = table.page(replace(query, page_size=1000))
        before_last = replace(query, position=Position(page.last, backward=True))
        assert [*walk(table, before_last, backward=True), whole[-1]] == whole


@law
@given(wanted=st.lists(rows, max_size=14), sort=sorts(), size=st.integers(1, 6))
def test_numbered_pages_equal_the_pages_by_cursor(
    table: Table, wanted: list[Row], sort: str, size: int
) -> None:
    with table.tx.connection.transaction(force_rollback=True):
        table.fill(wanted)
        query = query_of(table, size, sort, count="exact")
        numbered: list[Row] = []
        for number in range(1, len(wanted) // size + 2):
            items, page = table.page(replace(query, page=number))
            assert page.total == len(wanted)
            assert page.more == (number * size < len(wanted))
            numbered += items
        assert numbered == walk(table, query)


@law
@given(
    wanted=st.lists(rows, min_size=1, max_size=14),
    sort=sorts().filter(lambda sort: "updatedAt" not in sort),
    size=st.integers(1, 4),
    touched=st.lists(st.integers(0, 13), min_size=1, max_size=4),
)
def test_records_written_during_a_walk_are_seen_once(
    table: Table, wanted: list[Row], sort: str, size: int, touched: list[int]
) -> None:
    with table.tx.connection.transaction(force_rollback=True):
        table.fill(wanted)
        query = query_of(table, size, sort)
        whole, _ = table.page(replace(query, page_size=1000))

        def between() -> None:
            for number in touched:
                table.touch(number)

        seen = walk(table, query, between=between)
        assert [row["id"] for row in seen] == [row["id"] for row in whole]


def literals(name: str) -> st.SearchStrategy[Any]:
    return {
        "word": st.text("abc%_", max_size=2),
        "whole": st.integers(-2, 2),
        "exact": st.sampled_from(["0.1", "-7.00", "3"]),
        "rough": st.sampled_from([0.1, 1e300, 0]),
        "flag": st.booleans(),
        "day": st.dates(date(2026, 1, 1), date(2026, 1, 3)).map(str),
        "rank": st.integers(0, 2),
    }[name]


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(NAMES))
    offered = ["eq", "ne", "isNull"]
    if name != "flag":
        offered += ["in", "nin", "lt", "lte", "gt", "gte", "between"]
    if name == "word":
        offered += ["contains", "icontains", "startsWith", "istartsWith", "endsWith", "iendsWith"]
    word = draw(st.sampled_from(offered))
    if word == "isNull":
        return {name: {word: draw(st.booleans())}}
    if word in ("in", "nin", "between"):
        least, most = (2, 2) if word == "between" else (1, 3)
        return {name: {word: draw(st.lists(literals(name), min_size=least, max_size=most))}}
    return {name: {word: draw(literals(name))}}


trees = st.recursive(
    comparisons(),
    lambda inner: (
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"not": inner})
    ),
    max_leaves=5,
)

_ORDERS = {
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
}


def holds(found: Filter, row: Row) -> bool:
    """What a filter means, spelt out independently of SQL."""
    match found:
        case All(parts):
            return all(holds(part, row) for part in parts)
        case AnyOf(parts):
            return any(holds(part, row) for part in parts)
        case Not(part):
            return not holds(part, row)
    assert isinstance(found, Comparison)
    value, literal, word = row[found.column.name], found.value, found.operator
    match word:
        case Operator.IS_NULL:
            return (value is None) == literal
        case Operator.NE:
            return bool(value != literal)
        case Operator.NIN:
            assert isinstance(literal, tuple)
            return value not in literal
    if value is None:
        return False
    match word:
        case Operator.EQ:
            return bool(value == literal)
        case Operator.IN:
            assert isinstance(literal, tuple)
            return value in literal
        case Operator.BETWEEN:
            assert isinstance(literal, tuple)
            return bool(literal[0] <= value <= literal[1])
        case Operator.CONTAINS:
            return str(literal) in value
        case Operator.ICONTAINS:
            return str(literal).lower() in value.lower()
        case Operator.STARTS_WITH:
            return bool(value.startswith(literal))
        case Operator.ISTARTS_WITH:
            return bool(value.lower().startswith(str(literal).lower()))
        case Operator.ENDS_WITH:
            return bool(value.endswith(literal))
        case Operator.IENDS_WITH:
            return bool(value.lower().endswith(str(literal).lower()))
    return _ORDERS[word](value, literal)


@law
@given(wanted=st.lists(rows, max_size=10), where=trees)
def test_a_filter_lets_through_exactly_what_it_says(
    table: Table, wanted: list[Row], where: dict[str, Any]
) -> None:
    # `rank` is unique here, so that it names the rows.
    numbered = [{**row, "rank": number} for number, row in enumerate(wanted)]
    with table.tx.connection.transaction(force_rollback=True):
        table.fill(numbered)
        text = json.dumps(where)
        query = query_of(table, 1000, "rank", where=text, count="exact")
        items, page = table.page(query)
        tree = Conditions(table.catalog).text(table.entity, text)
        expected = [row["rank"] for row in numbered if holds(tree, row)]
        assert [item["rank"] for item in items] == expected
        assert page.total == len(expected)


def test_the_first_page_and_a_deep_page_have_the_same_plan(table: Table) -> None:
    entity = table.entity
    fill = f"insert into {entity.schema}.{entity.table} ({entity.columns['rank']}) "
    table.tx.run(statement(f"{fill} select i from generate_series(1, 20000) i"))
    table.tx.run(statement(f"analyze {entity.schema}.{entity.table}"))
    query = query_of(table, 100, "-updatedAt")
    _, page = table.page(replace(query, page=100))
    deep = replace(query, position=Position(page.last))
    for found in (query, deep):
        built = select_page(found)
        plan = table.tx.all(statement(f"explain {built.text}", built.params))
        text = "\n".join(line for (line,) in plan)
        assert f"i_{entity.id}" in text, text
        assert "Seq Scan" not in text, text


def test_a_record_of_many_fields_is_one_object(table: Table) -> None:
    column = column_of(table.entity, "rank")
    assert column is not None
    columns = [replace(column, name=f"rank{number}") for number in range(120)]
    table.fill([dict.fromkeys(NAMES, None) | {"rank": 7}])
    built = record_object(columns)
    text = f"select {built.text} from {table.entity.schema}.{table.entity.table}"
    assert table.tx.one(statement(text, built.params)) == ({c.name: 7 for c in columns},)


def test_comparisons_never_reach_sql_as_text(table: Table) -> None:
    table.fill([dict.fromkeys(NAMES, None) | {"rank": 1, "word": "x'; drop table t --"}])
    query = query_of(table, 10, "", **{"filter[word]": "x'; drop table t --"})
    assert isinstance(query.filter, All)
    assert isinstance(query.filter.parts[0], Comparison)
    assert "drop" not in select_page(query).text
    assert len(table.page(query)[0]) == 1

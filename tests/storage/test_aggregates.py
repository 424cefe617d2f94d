"""Counts, sums and groups equal what a walk over the records in memory computes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.aggregation import parse_aggregation
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import MalformedRequest
from hubblewave_pipelines.storage.aggregates import select_groups
from hubblewave_pipelines.storage.database import Database, Transaction, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant

SHOP = {"name": "Shop", "pluralName": "Shops", "fields": [{"name": "town", "type": "text"}]}
SALE = {
    "name": "Sale",
    "pluralName": "Sales",
    "fields": [
        {"name": "status", "type": "text"},
        {"name": "amount", "type": "decimal"},
        {"name": "pieces", "type": "integer"},
        {"name": "weight", "type": "number"},
        {"name": "day", "type": "date"},
        {"name": "at", "type": "datetime"},
        {"name": "notes", "type": "json"},
    ],
    "relationships": [{"name": "shop", "type": "manyToOne", "targetEntity": "Shop"}],
}
TOWNS = ["Bonn", "Köln", None]
Row = dict[str, Any]
rows = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["paid", "open", None]),
        "amount": st.none() | st.sampled_from([Decimal("0.10"), Decimal("-2.5"), Decimal("7")]),
        "pieces": st.none() | st.integers(-(2**62), 2**62),
        "weight": st.none() | st.integers(-3, 3).map(float),
        "day": st.none() | st.dates(date(2025, 11, 1), date(2026, 3, 1)),
        "at": st.none()
        | st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 3)).map(  # noqa: DTZ001 - bounds
            lambda at: at.replace(tzinfo=UTC)
        ),
        "shop": st.sampled_from([0, 1, 2, None]),
    }
)


@dataclass
class Store:
    tx: Transaction
    catalog: Catalog

    def fill(self, wanted: list[Row]) -> None:
        for name, values in [
            *(("Shop", {"id": UUID(int=n), "town": town}) for n, town in enumerate(TOWNS)),
            *(("Sale", sale(row)) for row in wanted),
        ]:
            entity = self.catalog.named(name)
            assert entity is not None
            columns = ", ".join(entity.columns[key] for key in values)
            table, slots = f"{entity.schema}.{entity.table}", ", ".join(["%s"] * len(values))
            text = f"insert into {table} ({columns}) values ({slots})"
            self.tx.run(statement(text, list(values.values())))

    def groups(self, *given: tuple[str, str]) -> tuple[list[Row], bool]:
        entity = self.catalog.named("Sale")
        assert entity is not None
        asked = parse_aggregation(entity, given, catalog=self.catalog)
        found = self.tx.one(select_groups(asked))
        assert found is not None
        return json.loads(found.items), found.more


def sale(row: Row) -> Row:
    values = {name: value for name, value in row.items() if name != "shop"}
    return values | {"shopId": None if row["shop"] is None else UUID(int=row["shop"])}


@pytest.fixture
def store(owner_database: Database, tenant: Tenant) -> Iterator[Store]:
    catalog = define(owner_database, tenant, SHOP, SALE)
    with owner_database.connect() as connection:
        yield Store(Transaction(connection), catalog)


def key_of(row: Row, group: str) -> Any:
    """What a group shows for the row."""
    if group == "shop.town":
        return None if row["shop"] is None else TOWNS[row["shop"]]
    name, _, part = group.partition(".")
    value = row[name]
    if value is None or not part:
        return value
    if part == "month":
        return f"{value:%Y-%m}-01"
    if part == "day":
        return f"{value:%Y-%m-%d}"
    return f"{value:%Y-%m-%dT%H}:00:00.000000Z"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.lists(rows, max_size=12),
    groups=st.lists(
        st.sampled_from(["status", "shop.town", "day.month", "at.day", "at.hour"]),
        max_size=2,
        unique=True,
    ),
    open_only=st.booleans(),
)
def test_groups_hold_what_their_records_hold(
    store: Store, wanted: list[Row], groups: list[str], open_only: bool
) -> None:
    with store.tx.connection.transaction(force_rollback=True):
        store.fill(wanted)
        items, more = store.groups(
            ("aggregate[count]", "*,amount"),
            ("aggregate[countDistinct]", "status"),
            ("aggregate[sum]", "amount,pieces"),
            ("aggregate[avg]", "weight"),
            ("aggregate[min]", "day"),
            ("aggregate[max]", "amount"),
            ("pageSize", "1000"),
            *([("groupBy", ",".join(groups))] if groups else []),
            *([("filter[status]", "open")] if open_only else []),
        )
    chosen = [row for row in wanted if not open_only or row["status"] == "open"]
    expected: dict[tuple[Any, ...], list[Row]] = {} if groups else {(): []}
    for row in chosen:
        expected.setdefault(tuple(key_of(row, group) for group in groups), []).append(row)
    assert not more
    assert len(items) == len(expected)
    for item in items:
        members = expected[tuple(item.get("group", {}).get(group) for group in groups)]

        def values(name: str, members: list[Row] = members) -> list[Any]:
            return [row[name] for row in members if row[name] is not None]

        weights, amounts, pieces = values("weight"), values("amount"), values("pieces")
        assert item["count"] == {"*": len(members), "amount": len(amounts)}
        assert item["countDistinct"] == {"status": len(set(values("status")))}
        assert item["sum"]["pieces"] == (sum(pieces) if pieces else None)
        found = item["sum"]["amount"]
        assert (found and Decimal(found)) == (sum(amounts) if amounts else None)
        highest = item["max"]["amount"]
        assert (highest and Decimal(highest)) == (max(amounts) if amounts else None)
        days = values("day")
        assert item["min"]["day"] == (str(min(days)) if days else None)
        average = sum(weights) / len(weights) if weights else None
        assert item["avg"]["weight"] == pytest.approx(average)


def test_groups_are_sorted_and_paged(store: Store) -> None:
    empty = dict.fromkeys(["amount", "pieces", "weight", "day", "at", "shop"])
    store.fill([{**empty, "status": status} for status in "aabbbc"])
    count = ("aggregate[count]", "*")
    asked = (count, ("groupBy", "status"), ("pageSize", "2"), ("sort", "-count.*"))
    items, more = store.groups(*asked)
    assert items == [
        {"group": {"status": "b"}, "count": {"*": 3}},
        {"group": {"status": "a"}, "count": {"*": 2}},
    ]
    assert more
    items, more = store.groups(*asked, ("page", "2"))
    assert (items, more) == ([{"group": {"status": "c"}, "count": {"*": 1}}], False)
    assert store.groups(count) == ([{"count": {"*": 6}}], False)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "groupBy=status",
        "aggregate[sum]=status",
        "aggregate[sum]=*",
        "aggregate[max]=notes",
        "aggregate[median]=amount",
        "aggregate[sum][x]=amount",
        "aggregate[]=amount",
        "aggregate[count]=nme",
        "aggregate[count]=*&groupBy=notes",
        "aggregate[count]=*&groupBy=",
        "aggregate[count]=*&groupBy=status,status",
        "aggregate[count]=*&groupBy=day.hour",
        "aggregate[count]=*&groupBy=status.month",
        "aggregate[count]=*&groupBy=shop",
        "aggregate[count]=*&groupBy=shop.name",
        "aggregate[count]=*&groupBy=id,status,amount,pieces,weight,day",
        "aggregate[count]=*&sort=status",
        "aggregate[count]=*&fields=status",
        "aggregate[count]=*&pageSize=1001",
        "aggregate[count]=*&filter[nme]=1",
    ],
)
def test_what_cannot_be_computed_is_refused(store: Store, given: str) -> None:
    pairs = [tuple(part.split("=", 1)) for part in given.split("&") if part]
    with pytest.raises(MalformedRequest) as refused:
        store.groups(*pairs)  # type: ignore[arg-type]
    assert refused.value.faults

"""The SAP connector reads what the system holds: every stream, window, page and key, and nothing else."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import UnknownStream
from hubblewave_pipelines.core.stream import DeleteStrategy, Window
from tests.plugins.sandboxes import START
from tests.plugins.sap_system import (
    ADDRESSES,
    ITEMS,
    ITEMS_V4,
    ORDERS,
    ORDERS_V4,
    PARTNERS,
    PRODUCTS,
    Serve,
    System,
    cells,
    connected,
)

TABLES = {
    ORDERS: "orders",
    ITEMS: "items",
    ORDERS_V4: "orders",
    ITEMS_V4: "items",
    PARTNERS: "partners",
    ADDRESSES: "addresses",
    PRODUCTS: "products",
}


def _text(value: Any, scale: int | None, *, milliseconds: bool) -> str | None:
    """What a value of the sandbox's tables must arrive as."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:.{scale}f}"
        case float():
            return format(Decimal(repr(value)), "f")
        case datetime():
            if milliseconds:
                value = value.replace(microsecond=value.microsecond // 1000 * 1000)
            text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
            return (text.rstrip("0") if "." in text else text) + "Z"
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


@pytest.fixture
def system(serve: Serve) -> System:
    return connected(serve("sap", records=240, extra={"page": 100, "plus": "refuse"}), pageSize=110)


def test_every_stream_arrives_whole_and_exact(system: System, serve: Serve) -> None:
    cap = connected(serve("sap", records=240, extra={"page": 100, "decimals": "strings"}))
    for at in (system, cap):
        for name, table in TABLES.items():
            before = at.session.requests
            stream, pages = at.stream(name), at.pages(name)
            rows = at.rows(table)
            shown = cells(pages, stream.key)
            assert len(shown) == len(set(shown)) == len(rows), name
            for field in stream.fields:
                if field.name.startswith("_"):
                    continue
                expected = {
                    key: _text(row[field.name], field.scale, milliseconds=".A_" in name)
                    for key, row in rows.items()
                }
                quoted = {
                    key.replace("%20", " ").replace("%2F", "/"): v for key, v in expected.items()
                }
                found = dict(zip(shown, cells(pages, field.name), strict=True))
                assert found == (expected if "/" in next(iter(rows)) else quoted), (
                    name,
                    field.name,
                )
            asked = at.session.requests - before
            fewest = sum(page.min_requests for page in pages)
            assert asked <= fewest + 1, name  # the metadata


def test_streams_say_what_they_are(system: System) -> None:
    streams = {stream.name: stream for stream in system.connector.discover()}
    assert set(streams) == set(TABLES)
    partners, items = streams[PARTNERS], streams[ITEMS]
    assert (partners.key, partners.cursor, partners.cursor_granularity) == (
        "BusinessPartner",
        "_changed",
        timedelta(days=1),
    )
    assert (items.key, items.cursor, items.deletes) == ("_key", None, DeleteStrategy.SNAPSHOT)
    kinds = {field.name: field.kind for field in streams[PRODUCTS].fields}
    assert kinds["GrossWeight"] is FieldKind.DECIMAL
    assert kinds["StockInBaseUnit"] is FieldKind.INTEGER
    assert kinds["Fineness"] is FieldKind.NUMBER
    assert kinds["LastChangeDateTime"] is FieldKind.DATETIME
    assert kinds["CrossPlantStatusValidityDate"] is FieldKind.DATE
    assert any("delta" in note for note in streams[ORDERS_V4].notes)
    assert streams[ORDERS_V4].field("TotalNetAmount").label == "Net Value"  # type: ignore[union-attr]
    for unknown in ("API_SALES_ORDER_SRV.Nope", "NO_SUCH_SRV.Nope", "rfc.KNA1"):
        with pytest.raises(UnknownStream):
            system.connector.describe(unknown)


@pytest.mark.parametrize("name", [ORDERS, ORDERS_V4, PRODUCTS])
def test_a_window_holds_what_changed_in_it_and_counts_the_same(system: System, name: str) -> None:
    rows = system.rows(TABLES[name])
    stamps = sorted(row["LastChangeDateTime"] for row in rows.values())
    low, high = stamps[20].replace(microsecond=0), stamps[-20].replace(microsecond=0)
    window = Window(low, high)
    pages = system.pages(name, window)
    wanted = {k for k, row in rows.items() if low <= row["LastChangeDateTime"] < high}
    assert len(cells(pages, system.stream(name).key)) == len(wanted)
    assert system.connector.count(system.stream(name), window) == len(wanted)
    narrowed = system.pages(name, window, filter=_over(name))
    assert 0 < sum(page.rows for page in narrowed) < len(wanted)


def _over(name: str) -> str:
    if name == PRODUCTS:
        return "ProductType eq 'ROH' or ProductType eq 'HAWA'"
    return "TransactionCurrency eq 'EUR' or TransactionCurrency eq 'JPY'"


def test_days_are_those_of_the_system_and_new_partners_are_not_forgotten(serve: Serve) -> None:
    zone = "Pacific/Auckland"
    system = connected(serve("sap", records=400, extra={"zone": zone}), timeZone=zone)
    sandbox = system.sandbox
    rows = system.rows("partners")
    at = START - timedelta(hours=1)
    key = sandbox.vendor.create("partners", {"BusinessPartner": "777777", "LastName": "Neu"}, at)
    changed = next(iter(rows))
    sandbox.vendor.edit("partners", changed, {"LastName": "Anders"}, at)
    assert rows[key]["LastChangeDate"] is None
    assert rows[changed]["LastChangeDate"] == at.astimezone(ZoneInfo(zone)).date() != at.date()
    window = Window(at, at + timedelta(minutes=5))
    pages = system.pages(PARTNERS, window)
    assert {key, changed} <= set(cells(pages, "BusinessPartner"))
    day = at.astimezone(ZoneInfo(zone)).date().isoformat()
    assert set(cells(pages, "_changed")) == {day}
    days = Window(at - timedelta(days=200), at - timedelta(days=20))
    begun = [cell for cell in cells(system.pages(PARTNERS, days), "_changed") if cell is not None]
    low, high = days.low, days.high
    assert low is not None
    assert high is not None
    inside = [cell for cell in begun if low.isoformat() <= f"{cell}T00:00:00" < high.isoformat()]
    assert 0 < len(inside) < len(begun)  # the days at the edges are read, and count elsewhere
    assert system.connector.count(system.stream(PARTNERS), days) == len(inside)
    first = system.pages(PARTNERS, Window(None, at + timedelta(days=2)))
    assert sum(page.rows for page in first) == len(rows)
    mark = system.connector.safe_mark(system.stream(PARTNERS))
    assert mark.overlap == timedelta(days=1)
    assert abs(sandbox.clock.now() - mark.at - timedelta(seconds=120)) < timedelta(seconds=30)


@pytest.mark.parametrize("name", [ORDERS, ITEMS, ORDERS_V4, PARTNERS])
def test_reading_goes_on_from_every_position(system: System, name: str) -> None:
    stream = system.stream(name)
    plan = system.connector.plan(stream, [], Window())
    pages = list(system.connector.read(plan, plan.slices[0], None))
    keys = cells(pages, stream.key)
    done = 0
    for page in pages:
        done += page.rows
        if page.position is not None:
            again = connected(system.run, pageSize=110)  # another process
            plan = again.connector.plan(stream, [], Window())
            rest = list(again.connector.read(plan, plan.slices[0], page.position))
            assert cells(rest, stream.key) == keys[done:]
    assert done == len(keys)


def test_a_record_that_changes_while_it_is_read_comes_once_or_later(system: System) -> None:
    stream = system.stream(ORDERS)
    now = system.sandbox.clock.now()
    window = Window(None, now)
    plan = system.connector.plan(stream, [], window)
    seen: list[str | None] = []
    edited: set[str] = set()
    for number, page in enumerate(system.connector.read(plan, plan.slices[0], None)):
        seen += page.columns["SalesOrder"]
        for key in (f"{9_500 + number}", f"{9_739 - number}"):
            system.sandbox.vendor.edit(
                "orders", key, {"PurchaseOrderByCustomer": f"e{number}"}, now
            )
            edited.add(key)
        system.sandbox.vendor.delete("orders", f"{9_600 + number}", now)
        edited.add(f"{9_600 + number}")
    assert len(seen) == len(set(seen))
    assert {f"{9_500 + n}" for n in range(240)} - edited <= set(seen)
    later = system.pages(ORDERS, Window(now, None))
    assert set(cells(later, "SalesOrder")) == edited & set(system.rows("orders"))


def test_keys_are_listed_in_their_order_and_records_fetched_by_them(system: System) -> None:
    for name in (PRODUCTS, ITEMS, ADDRESSES, ITEMS_V4):
        stream = system.stream(name)
        pages = list(system.connector.keys(stream, None))
        keys = [key for page in pages for key in page.keys]
        assert len(keys) == len(set(keys)) == len(system.rows(TABLES[name]))
        if pages[0].position is not None:
            again = system.connector.keys(stream, pages[0].position)
            assert [key for page in again for key in page.keys] == keys[len(pages[0].keys) :]
        wanted = [*keys[::3], "there/is none" if "/" in keys[0] else "there is none"]
        before = system.session.requests
        page = system.connector.fetch(stream, [], wanted)
        assert sorted(page.columns[stream.key]) == sorted(wanted[:-1])  # type: ignore[type-var]
        assert system.session.requests - before == page.min_requests


def test_a_delta_tells_changes_and_deletes_and_outlives_its_link(system: System) -> None:
    for name, table in ((PRODUCTS, "products"), (ORDERS_V4, "orders")):
        first = system.pages(name, Window(None, None, {}))
        rows = system.rows(table)
        token = first[-1].token
        assert sum(page.rows for page in first) == len(rows)
        assert token is not None
        assert all(page.token is None for page in first[:-1])
        gone, kept = list(rows)[5], list(rows)[7]
        field = "ProductDescription" if table == "products" else "PurchaseOrderByCustomer"
        system.sandbox.vendor.delete(table, gone, START)
        system.sandbox.vendor.edit(table, kept, {field: "ändert' sich"}, START)
        pages = system.pages(name, Window(START, None, token))
        plain = gone.replace("%20", " ").replace("%2F", "/")
        assert [one.key for page in pages for one in page.deleted] == [plain]
        assert cells(pages, field) == ["ändert' sich"]
        assert pages[-1].token not in (None, token)
        stale = {"delta": str(token["delta"]).replace("deltatoken=", "deltatoken=x")}
        fallen_back = system.pages(name, Window(START, None, stale))
        assert sum(page.rows for page in fallen_back) == len(rows)
        assert fallen_back[-1].token is not None

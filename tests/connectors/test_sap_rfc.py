"""SAP by RFC: tables through RFC_READ_TABLE with its traps closed, and BAPIs as units of work."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.connectors.sap import connect
from hubblewave_pipelines.connectors.sap.connector import SapConnector
from hubblewave_pipelines.connectors.sap.rfc_cells import LINE, Column, option_lines
from hubblewave_pipelines.connectors.sap.rfc_engine import resolve
from hubblewave_pipelines.core.errors import (
    InDoubt,
    PlatformError,
    Unauthorized,
    UnknownStream,
    VendorRefused,
    VendorUnavailable,
)
from hubblewave_pipelines.core.stream import Level, Page, Window
from tests.plugins import fake_pyrfc
from tests.plugins.fake_pyrfc import Col, FakeSystem, installed
from tests.plugins.sessions import plain_session

WIDE = [Col(f"TEXT{n:02}", "C", 60) for n in range(16)]  # 960 characters: three groups
KNA1 = [
    Col("MANDT", "C", 3, "CLNT", key=True),
    Col("KUNNR", "C", 10, key=True),
    Col("NAME1", "C", 35),
    Col("ZLSCH", "N", 4, "NUMC"),
    Col("UMSA1", "P", 17, "CURR", decimals=2),
    Col("AEDAT", "D", 8, "DATS"),
    Col("UZEIT", "T", 6, "TIMS"),
    Col("STAMP", "P", 16, "DEC", domain="TZNTSTMPS"),
    Col("COUNT", "I", 11, "INT4"),
    Col("NOTES", "g", 0, "STRG"),
    *WIDE,
]
VBAP = [
    Col("MANDT", "C", 3, "CLNT", key=True),
    Col("VBELN", "C", 10, key=True),
    Col("POSNR", "N", 6, "NUMC", key=True),
    Col("ARKTX", "C", 40),
]


def _customer(n: int) -> dict[str, Any]:
    return {
        "MANDT": "100",
        "KUNNR": f"{n:010}" if n % 7 else f"EXT'{n}",
        "NAME1": f"O'Brien; |,{n}" if n % 3 else "",
        "ZLSCH": f"{n % 90:04}",
        "UMSA1": f"{(-1) ** n * n}.50",
        "AEDAT": f"202601{1 + n % 28:02}" if n % 5 else "00000000",
        "UZEIT": f"{n % 24:02}1500",
        "STAMP": f"202601{1 + n % 28:02}{n % 24:02}3000",
        "COUNT": -n if n % 2 else n,
        "NOTES": "of no fixed length",
        **{column.name: f"{column.name}|{n}" for column in WIDE},
    }


@pytest.fixture
def system() -> Iterator[FakeSystem]:
    made = FakeSystem(
        {
            "KNA1": (KNA1, [_customer(n) for n in range(1, 301)]),
            "VBAP": (VBAP, [{"MANDT": "100", "VBELN": f"{n // 4:010}", "POSNR": f"{n % 4 * 10:06}", "ARKTX": f"x{n}"} for n in range(120)]),
        }
    )  # fmt: skip
    with installed(made):
        yield made


def _connector(**config: Any) -> SapConnector:
    session = plain_session(
        "http://127.0.0.1:9",
        {"kind": "basic", "username": "RFC", "password": config.pop("password", "Welcome1")},
    )
    tables = [{"name": "KNA1", "cursor": "STAMP"}, {"name": "VBAP"}]
    usual = {"client": "100", "rfc": {"ashost": "sap", "sysnr": "00"}, "tables": tables}
    return connect({"baseUrl": "http://127.0.0.1:9", **usual, **config}, session)


def _pages(
    connector: SapConnector, name: str, window: Window | None = None, position: Any = None
) -> list[Page]:
    stream = connector.describe(name)
    plan = connector.plan(stream, [field.name for field in stream.fields], window or Window())
    return list(connector.read(plan, plan.slices[0], position))


def _columns(pages: list[Page]) -> dict[str, list[str | None]]:
    return {
        name: [cell for page in pages for cell in page.columns[name]] for name in pages[0].columns
    }


def test_a_table_wider_than_the_work_area_arrives_whole_and_in_order(system: FakeSystem) -> None:
    connector = _connector(pageSize=80)
    pages = _pages(connector, "rfc.KNA1")
    found = _columns(pages)
    assert found["KUNNR"] == sorted(row["KUNNR"] for row in system.tables["KNA1"][1])
    for at, key in enumerate(found["KUNNR"]):
        row = next(row for row in system.tables["KNA1"][1] if row["KUNNR"] == key)
        assert found["NAME1"][at] == row["NAME1"]  # with the delimiters that others split at
        assert found["TEXT15"][at] == row["TEXT15"]
        assert found["ZLSCH"][at] == row["ZLSCH"]
        assert found["UMSA1"][at] == row["UMSA1"]  # the minus behind the number
        assert found["COUNT"][at] == str(row["COUNT"])
        day = row["AEDAT"]
        assert found["AEDAT"][at] == (
            None if day == "00000000" else f"{day[:4]}-{day[4:6]}-{day[6:]}"
        )
        assert found["UZEIT"][at] == f"{row['UZEIT'][:2]}:15:00"
        stamp = datetime.fromisoformat(f"{row['STAMP'][:8]}T{row['STAMP'][8:]}")
        assert found["STAMP"][at] == f"{stamp.isoformat()}Z"
    assert {"MANDT", "NOTES"}.isdisjoint(found)
    reads = [call for call in system.calls if call[0] == "RFC_READ_TABLE"]
    assert len(reads) == 1 + 4 * 3  # the keys, then four pages in three groups
    rest = _pages(_connector(pageSize=80), "rfc.KNA1", position=pages[1].position)
    assert _columns(rest)["KUNNR"] == found["KUNNR"][160:]


def test_a_table_shows_the_columns_that_are_named(system: FakeSystem) -> None:
    connector = _connector(tables=[{"name": "KNA1", "cursor": "STAMP", "fields": ["NAME1"]}])
    found = _columns(_pages(connector, "rfc.KNA1"))
    assert set(found) == {"KUNNR", "STAMP", "NAME1"}
    assert len([call for call in system.calls if call[0] == "RFC_READ_TABLE"]) == 2


def test_composite_keys_and_fetching_by_them(system: FakeSystem) -> None:
    connector = _connector(pageSize=50)
    stream = connector.describe("rfc.VBAP")
    assert (stream.key, stream.cursor) == ("_key", None)
    found = _columns(_pages(connector, "rfc.VBAP"))
    assert found["_key"] == [f"{n // 4:010}/{n % 4 * 10:06}" for n in range(120)]
    listed = [key for page in connector.keys(stream, None) for key in page.keys]
    assert listed == found["_key"]
    page = connector.fetch(stream, ["ARKTX"], ["0000000003/000010", "0000000003/999999"])
    assert (page.columns["_key"], page.columns["ARKTX"]) == (["0000000003/000010"], ["x13"])


def test_windows_of_stamps_and_days(system: FakeSystem) -> None:
    rows = system.tables["KNA1"][1]
    low, high = datetime(2026, 1, 5, 6, tzinfo=UTC), datetime(2026, 1, 9, tzinfo=UTC)
    window = Window(low, high)
    wanted = {row["KUNNR"] for row in rows if "20260105060000" <= row["STAMP"] < "20260109000000"}
    assert set(_columns(_pages(_connector(), "rfc.KNA1", window))["KUNNR"]) == wanted
    by_day = _connector(tables=[{"name": "KNA1", "cursor": "AEDAT"}])
    assert by_day.describe("rfc.KNA1").cursor_granularity == timedelta(days=1)
    days = set(_columns(_pages(by_day, "rfc.KNA1", window))["AEDAT"])
    assert days == {f"2026-01-0{n}" for n in range(5, 9)}
    mark = _connector(timeZone="Europe/Berlin").safe_mark(by_day.describe("rfc.KNA1"))
    assert mark.at == datetime(2026, 1, 15, 11, 58, tzinfo=UTC)


def test_rows_that_change_or_go_between_two_groups_are_read_again(system: FakeSystem) -> None:
    rows, reads = system.tables["KNA1"][1], 0

    def meddle(name: str) -> None:
        nonlocal reads
        reads += name == "RFC_READ_TABLE"
        if name == "RFC_READ_TABLE" and reads == 3:  # after the keys and the first group
            victim = next(row for row in rows if row["KUNNR"] == "0000000008")
            victim.update({"STAMP": "20260131000000", "TEXT00": "new", "TEXT15": "new"})
            rows.remove(next(row for row in rows if row["KUNNR"] == "0000000009"))

    system.after = meddle
    found = _columns(_pages(_connector(), "rfc.KNA1"))
    at = found["KUNNR"].index("0000000008")
    assert (found["TEXT00"][at], found["TEXT15"][at], found["STAMP"][at]) == (
        "new",
        "new",
        "2026-01-31T00:00:00Z",
    )
    assert "0000000009" not in found["KUNNR"]
    assert len(found["KUNNR"]) == 299


def test_a_database_that_sorts_otherwise_than_we_do_loses_no_row(system: FakeSystem) -> None:
    system.collation = lambda text: text[::-1]
    found = _columns(_pages(_connector(pageSize=30), "rfc.KNA1"))
    assert found["KUNNR"] == sorted(row["KUNNR"] for row in system.tables["KNA1"][1])


def test_a_lost_connection_is_never_used_again(system: FakeSystem) -> None:
    lost = iter([fake_pyrfc.CommunicationError("gone", 1, "RFC_COMMUNICATION_FAILURE")])
    system.fail = lambda name, when: next(lost, None) if name == "RFC_READ_TABLE" else None
    assert len(_columns(_pages(_connector(), "rfc.KNA1"))["KUNNR"]) == 300
    assert system.made == 2
    system.fail = lambda name, when: fake_pyrfc.CommunicationError(
        "gone", 1, "RFC_COMMUNICATION_FAILURE"
    )
    with pytest.raises(VendorUnavailable):
        _pages(_connector(), "rfc.KNA1")
    system.fail = lambda name, when: None
    with pytest.raises(Unauthorized):
        _pages(_connector(password="wrong"), "rfc.KNA1")
    with pytest.raises(UnknownStream):
        _connector(tables=[{"name": "NOPE"}]).describe("rfc.NOPE")


def _names(system: FakeSystem) -> set[str]:
    return {row["NAME1"] for row in system.tables["KNA1"][1]}


def test_a_unit_of_bapis_is_committed_whole_or_not_at_all(system: FakeSystem) -> None:
    rfc = _connector().tables.rfc
    create = "Z_CUSTOMER_CREATE"
    rfc.call(create, KUNNR="Z", NAME1="of nobody's unit")
    results = rfc.unit(
        [(create, {"KUNNR": "A", "NAME1": "one"}), (create, {"KUNNR": "B", "NAME1": "two"})]
    )
    assert [result["CUSTOMER"] for result in results] == ["A", "B"]
    assert {"one", "two"} <= _names(system)
    assert "of nobody's unit" not in _names(system)
    assert system.calls[-1] == ("BAPI_TRANSACTION_COMMIT", {"WAIT": "X"})
    with pytest.raises(VendorRefused, match="Name is not valid") as refused:
        rfc.unit(
            [(create, {"KUNNR": "C", "NAME1": "three"}), (create, {"KUNNR": "D", "NAME1": "?"})]
        )
    assert "careful" not in str(refused.value)
    assert system.calls[-1][0] == "BAPI_TRANSACTION_ROLLBACK"
    rfc.unit([(create, {"KUNNR": "E", "NAME1": "five"})])
    assert "three" not in _names(system)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", ["first", "second", "commit", "rollback"])
def test_a_unit_that_loses_its_connection_says_what_may_have_happened(
    system: FakeSystem, place: str, when: str
) -> None:
    create, calls = "Z_CUSTOMER_CREATE", 0

    def fail(name: str, at: str) -> Exception | None:
        nonlocal calls
        calls += name == create and at == "before"
        here = {"first": name == create and calls == 1, "second": name == create and calls == 2}
        hit = here.get(place, name == f"BAPI_TRANSACTION_{place.upper()}")
        return fake_pyrfc.CommunicationError("gone", 1, "X") if hit and at == when else None

    system.fail = fail
    before = len(system.tables["KNA1"][1])
    second = "?" if place == "rollback" else "two"
    wanted: dict[str, type[PlatformError]] = {"commit": InDoubt, "rollback": VendorRefused}
    with pytest.raises(wanted.get(place, VendorUnavailable)):
        _connector().tables.rfc.unit(
            [(create, {"KUNNR": "A", "NAME1": "one"}), (create, {"KUNNR": "B", "NAME1": second})]
        )
    asked = [name for name, _ in system.calls]
    assert ("BAPI_TRANSACTION_COMMIT" in asked) == (place == "commit")  # never on a new connection
    written = len(system.tables["KNA1"][1]) - before
    assert written == (2 if (place, when) == ("commit", "after") else 0)


def test_the_check_says_which_engine_is_active_and_why(system: FakeSystem) -> None:
    def engine(**config: Any) -> Any:
        found = _connector(**config).tables.check()
        return next(one for one in found if one.what == "engine")

    assert engine().level is Level.OK
    assert "RFC by pyrfc" in engine().detail
    assert "OData only" in engine(rfc={}).detail
    assert engine(password="wrong").level is Level.ERROR
    with installed(system, "pyrfcx"):
        assert resolve().name == "pyrfcx"
    system.tables.pop("VBAP")
    tables = [one for one in _connector().tables.check() if one.what == "tables"]
    assert [one.level for one in tables] == [Level.OK, Level.ERROR]


def test_without_an_engine_the_rest_still_works() -> None:
    found = resolve()
    assert (found.module, found.name) == (None, "none")
    check = _connector().tables.check()
    assert (check[0].level, "until an engine" in check[0].detail) == (Level.ERROR, True)
    assert _connector().tables.discover() == []
    with pytest.raises(VendorRefused, match="pyrfcx"):
        _connector().describe("rfc.KNA1")


WORDS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=50)


@given(st.lists(WORDS, min_size=1, max_size=8))
def test_conditions_are_cut_outside_of_quotes_only(values: list[str]) -> None:
    column = Column("NAME1", "C", 35)
    text = " OR ".join(f"NAME1 = {column.literal(value)}" for value in values)
    if any(len(column.literal(value)) > LINE for value in values):
        return
    lines = option_lines(text)
    assert all(len(line) <= LINE and line.count("'") % 2 == 0 for line in lines)
    assert " ".join(lines) == text

"""The Salesforce connector against its sandbox: both ways of reading, every fault at every request, deletes."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from hubblewave_pipelines.connectors.registry import manners
from hubblewave_pipelines.connectors.salesforce import connect
from hubblewave_pipelines.connectors.salesforce.connector import SalesforceConnector
from hubblewave_pipelines.core.entity import FieldKind, Json
from hubblewave_pipelines.core.errors import (
    PartialAnswer,
    QuotaSpent,
    Recovery,
    Unauthorized,
    UnknownStream,
    VendorError,
    VendorRefused,
)
from hubblewave_pipelines.core.stream import DeleteStrategy, Level, Page, Stream, Window
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.salesforce.stand_in import SalesforceSandbox
from hubblewave_pipelines.sandboxes.serving import Running
from tests.plugins.sandboxes import START
from tests.plugins.sessions import plain_session

Serve = Callable[..., Running]
Connect = Callable[..., tuple[SalesforceConnector, HttpSession]]
FIELDS = (
    "Name",
    "Industry",
    "AnnualRevenue",
    "NumberOfEmployees",
    "Description",
    "Active__c",
    "Founded__c",
    "LastAudit__c",
    "Score__c",
    "BillingStreet",
)


@pytest.fixture
def connected(serve: Serve) -> Iterator[Connect]:
    """A connector of a sandbox, and its session; waits pass by moving the sandbox's clock."""
    sessions: list[HttpSession] = []

    def made(running: Running, **config: Any) -> tuple[SalesforceConnector, HttpSession]:
        given = running.sandbox.vendor.connector(running.url)
        session = plain_session(
            running.url,
            config.pop("credentials", given["credentials"]),
            manners=manners("salesforce"),
            sleep=lambda seconds: running.sandbox.clock.advance(timedelta(seconds=seconds)),
        )
        sessions.append(session)
        return connect({**given["config"], **config}, session), session

    yield made
    for session in sessions:
        session.close()


def _vendor(running: Running) -> SalesforceSandbox:
    vendor = running.sandbox.vendor
    assert isinstance(vendor, SalesforceSandbox)
    return vendor


def _expected(running: Running, table: str = "Account") -> dict[str, dict[str, str | None]]:
    """What the records hold, in canonical form, without going through any of the code under test."""
    found = {}
    for key, row in running.sandbox.stage.tables[table].rows.items():
        if row.get("IsDeleted"):
            continue
        cells: dict[str, str | None] = {}
        for name in ("Id", "SystemModstamp", *(FIELDS if table == "Account" else ())):
            value = row[name]
            if isinstance(value, bool):
                value = "true" if value else "false"
            elif isinstance(value, datetime):
                value = f"{value:%Y-%m-%dT%H:%M:%S}Z"
            elif isinstance(value, Decimal):
                value = f"{value:f}".rstrip("0").rstrip(".") if value % 1 else f"{int(value)}"
            elif value == "":
                value = None
            cells[name] = None if value is None else str(value)
        found[key] = cells
    return found


def _rows(pages: list[Page]) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for page in pages:
        assert all(len(cells) == page.rows for cells in page.columns.values())
        for cells in zip(*page.columns.values(), strict=True):
            row = dict(zip(page.columns, cells, strict=True))
            assert row["Id"] is not None
            found[row["Id"]] = row
    return found


def _read(
    connector: SalesforceConnector, stream: Stream, window: Window, position: Json = None
) -> list[Page]:
    plan = connector.plan(stream, FIELDS, window)
    return list(connector.read(plan, plan.slices[0], position))


@pytest.mark.parametrize(
    ("records", "bulk_above", "least"), [(4_100, 10_000, 3), (6_000, 3_000, 5)]
)
def test_records_come_whole_and_at_the_least_cost(
    serve: Serve, connected: Connect, records: int, bulk_above: int, least: int
) -> None:
    running = serve("salesforce", records=records)
    connector, session = connected(running, bulkAbove=bulk_above)
    stream = connector.describe("Account")
    before = session.requests
    pages = _read(connector, stream, Window(high=connector.safe_mark(stream).at))
    assert _rows(pages) == _expected(running)
    assert sum(page.rows for page in pages) == records
    spent = session.requests - before - 1  # the mark
    assert (spent, sum(page.min_requests for page in pages)) == (least, least)
    assert _vendor(running).jobs.open == 0
    assert connector.count(stream, Window()) == records
    listed = [key for page in connector.keys(stream, None) for key in page.keys]
    assert sorted(listed) == sorted(_expected(running))


def test_both_ways_of_reading_give_the_same_text(serve: Serve, connected: Connect) -> None:
    """Awkward texts, exponents, nulls and stamps; and what is fetched by id is the same again."""
    running = serve("salesforce", records=3_000)
    rest, _ = connected(running)
    bulk, _ = connected(running, bulkAbove=0)
    stream = rest.describe("Account")
    window = Window(START - timedelta(days=7), START)
    by_rest, by_bulk = (_rows(_read(each, stream, window)) for each in (rest, bulk))
    inside = {
        key: row
        for key, row in _expected(running).items()
        if f"{window.low:%Y-%m-%dT%H:%M:%S}Z" <= str(row["SystemModstamp"]) < "2026-01-15T12:00:00Z"
    }
    assert by_rest == inside
    assert len(inside) > 500
    everything = _rows(_read(bulk, stream, Window()))
    assert everything == _expected(running) == _rows(_read(rest, stream, Window()))
    some = list(inside)[:5]
    fetched = rest.fetch(stream, FIELDS, [*some, "001000000000000AAA"])
    assert _rows([fetched]) == {key: inside[key] for key in some}
    assert by_bulk == by_rest


def test_a_filter_of_the_job_narrows_and_cannot_reach_out(serve: Serve, connected: Connect) -> None:
    running = serve("salesforce", records=300)
    connector, _ = connected(running)
    stream = connector.describe("Account")
    only = "Industry = 'Energy' OR Name LIKE '%(\\'%'"
    plan = connector.plan(stream, ["Industry"], Window(), filter=only)
    found = _rows(list(connector.read(plan, plan.slices[0], None)))
    assert {row["Industry"] for row in found.values()} == {"Energy"}
    assert connector.count(stream, Window(), filter=only) == len(found)
    for filter in ("Name = 'x') OR (Id != ''", "Name = 'x", "((Name = 'x')"):
        with pytest.raises(VendorRefused, match="closed"):
            connector.count(stream, Window(), filter=filter)
    with pytest.raises(VendorRefused, match=r"INVALID_FIELD.*Nope"):
        connector.count(stream, Window(), filter="Nope = 1")


def test_streams_say_what_can_be_read(serve: Serve, connected: Connect) -> None:
    running = serve("salesforce", records=10)
    connector, _ = connected(running)
    assert {"Account", "Contact", "DailyRate__c"} <= {s.name for s in connector.discover()}
    account = connector.describe("Account")
    kinds = {field.name: field.kind for field in account.fields}
    assert (kinds["AnnualRevenue"], kinds["Founded__c"], kinds["Description"]) == (
        FieldKind.DECIMAL,
        FieldKind.DATE,
        FieldKind.LONGTEXT,
    )
    assert (account.key, account.cursor, account.deletes) == (
        "Id",
        "SystemModstamp",
        DeleteStrategy.FEED,
    )
    band, key = account.field("RevenueBand__c"), account.field("ExternalKey__c")
    assert band is not None
    assert key is not None
    assert (band.computed, band.updatable, key.external_id, key.unique) == (True, False, True, True)
    assert account.field("BillingAddress") is None
    assert any("BillingAddress" in note for note in account.notes)
    assert any("RevenueBand__c" in note for note in account.notes)
    assert connector.describe("Attachment").field("Body") is None
    rate = connector.describe("DailyRate__c")
    assert (rate.cursor, rate.deletes) == (None, DeleteStrategy.SNAPSHOT)
    assert connector.safe_mark(rate).source == "Salesforce's clock"
    pages = list(
        connector.read(plan := connector.plan(rate, ["Rate__c"], Window()), plan.slices[0], None)
    )
    assert pages[0].rows == 10
    for name in ("Nope", "a/../b", "Account' OR"):
        with pytest.raises(UnknownStream):
            connector.describe(name)


def test_nothing_older_than_the_mark_appears_after_it(serve: Serve, connected: Connect) -> None:
    running = serve("salesforce", records=200)
    running.sandbox.clock.run(0)
    running.sandbox.clock.set(START)
    vendor, clock = _vendor(running), running.sandbox.clock
    connector, _ = connected(running)
    stream = connector.describe("Account")
    began = clock.now()
    assert connector.safe_mark(stream).at == began
    key = vendor.org.table("Account").keys()[0]
    vendor.org.edit(
        vendor.sobject("Account"), key, {"Name": "late"}, began, began + timedelta(minutes=9)
    )
    clock.advance(timedelta(minutes=5))
    mark = connector.safe_mark(stream)
    assert (mark.at, mark.source) == (began, "latestDateCovered")
    clock.advance(timedelta(minutes=5))
    later = connector.safe_mark(stream)
    assert later.at == clock.now().replace(microsecond=0)
    rows = _rows(_read(connector, stream, Window(mark.at, later.at)))
    assert [row["Name"] for row in rows.values()] == ["late"]


def test_deletes_come_from_the_feed_while_it_can_speak_for_the_window(
    serve: Serve, connected: Connect
) -> None:
    running = serve("salesforce", records=50)
    running.sandbox.clock.run(0)
    running.sandbox.clock.set(START)
    vendor, clock = _vendor(running), running.sandbox.clock
    connector, session = connected(running)
    stream = connector.describe("Contact")
    keys = vendor.org.table("Contact").keys()
    low = clock.now()
    vendor.delete("Contact", keys[0], low)
    clock.advance(timedelta(seconds=20))
    vendor.delete("Contact", keys[1], clock.now())
    vendor.delete("Contact", keys[2], clock.now())
    vendor.org.undelete(vendor.sobject("Contact"), keys[2], clock.now())
    clock.advance(timedelta(seconds=20))
    high = clock.now()
    vendor.delete("Contact", keys[3], high)
    (page,) = connector.deletes(stream, Window(low, high), None)
    assert page.covered
    assert [(gone.key, gone.at) for gone in page.deleted] == [
        (keys[0], low),
        (keys[1], low + timedelta(seconds=20)),
    ]
    vendor.org.log_starts["Contact"] = high
    (page,) = connector.deletes(stream, Window(low, high), None)
    assert not page.covered
    before = session.requests
    for window in (Window(None, high), Window(low - timedelta(days=16), high)):
        (page,) = connector.deletes(stream, window, None)
        assert (page.covered, page.deleted) == (False, ())
    assert session.requests == before
    listed = [key for page in connector.keys(stream, None) for key in page.keys]
    assert listed == [key for key in keys if key not in (keys[0], keys[1], keys[3])]


@pytest.mark.parametrize("bulk_above", [10_000, 0])
def test_reading_goes_on_from_any_place_in_another_process(
    serve: Serve, connected: Connect, bulk_above: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubblewave_pipelines.connectors.salesforce.bulk.RESULT_ROWS", 250)
    monkeypatch.setattr("hubblewave_pipelines.connectors.salesforce.bulk.PAGE_ROWS", 100)
    monkeypatch.setattr("hubblewave_pipelines.connectors.salesforce.reading.REST_ROWS", 200)
    running = serve("salesforce", records=710)
    connector, _ = connected(running, bulkAbove=bulk_above)
    stream = connector.describe("Account")
    whole = _read(connector, stream, Window())
    assert len(whole) == (4 if bulk_above else 8)
    for number in range(len(whole) - 1):
        plan = connector.plan(stream, FIELDS, Window())
        begun, place = [], None
        for page in connector.read(plan, plan.slices[0], None):
            begun.append(page)
            place = page.position
            if len(begun) == number + 1:
                break
        another, _ = connected(running, bulkAbove=bulk_above)
        rest = _read(another, stream, Window(), place)
        assert sum(page.rows for page in [*begun, *rest]) == 710
        assert _rows([*begun, *rest]) == _expected(running)
    # A job that is gone is made again: what comes twice changes nothing.
    position: Json = {
        "after": None,
        "job": "750nothing",
        "locator": None,
        "skip": 0,
        "seen": 9,
        "total": 9,
    }
    assert _rows(_read(connector, stream, Window(), position)) == _expected(running)


TRIED_AGAIN = (
    FaultKind.REFUSE,
    FaultKind.RESET_BEFORE,
    FaultKind.RESET_AFTER,
    FaultKind.TRUNCATE,
    FaultKind.UNAUTHORIZED,
    FaultKind.QUOTA,
    FaultKind.THROTTLE_SECONDS,
    FaultKind.ERROR_500,
    FaultKind.ERROR_503,
    FaultKind.EDGE_PAGE,
    FaultKind.REPEATED_TOKEN,
    FaultKind.EMPTY_PAGE_WITH_TOKEN,
    FaultKind.SHORT_PAGE,
    FaultKind.DUPLICATE_ROW,
)


def test_one_fault_at_any_request_loses_nothing(
    serve: Serve, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways of reading, and the deletes: what is not mended within is an error, never a loss."""
    monkeypatch.setattr("hubblewave_pipelines.connectors.salesforce.bulk.RESULT_ROWS", 100)
    monkeypatch.setattr("hubblewave_pipelines.connectors.salesforce.reading.REST_ROWS", 200)
    running = serve("salesforce", records=450)
    expected = _expected(running)
    cases, raised = 0, []
    for above in (10_000, 0):
        connector, session = connected(running, bulkAbove=above)
        stream = connector.describe("Account")
        window = Window(None, connector.safe_mark(stream).at)
        before = session.requests
        _read(connector, stream, window)
        requests = session.requests - before
        for kind in TRIED_AGAIN:
            for number in range(1, requests + 1):
                running.sandbox.faults.set(Fault(kind, request=number))
                pages, errors = _read_on(connector, stream, window)
                assert _rows(pages) == expected, (kind, number)
                raised += errors
                cases += 1
    assert cases == len(TRIED_AGAIN) * (3 + 7)
    assert {error.recovery for error in raised} <= {Recovery.RETRY}


def _read_on(
    connector: SalesforceConnector, stream: Stream, window: Window
) -> tuple[list[Page], list[VendorError]]:
    """Runs that end with an error are begun again where they stopped, as the engine does."""
    pages: list[Page] = []
    errors: list[VendorError] = []
    plan = connector.plan(stream, FIELDS, window)
    while len(errors) < 5:
        try:
            position = pages[-1].position if pages else None
            for page in connector.read(plan, plan.slices[0], position):
                pages.append(page)  # noqa: PERF402 - what came before an error counts
        except VendorError as error:
            errors.append(error)
        else:
            break
    return pages, errors


def test_what_cannot_be_mended_is_said(serve: Serve, connected: Connect) -> None:
    running = serve("salesforce", records=30)
    wrong = {"kind": "client_credentials", "clientId": "x", "clientSecret": "y"}
    with pytest.raises((Unauthorized, VendorError)):
        connected(running, credentials=wrong)[0].describe("Account")
    connector, _ = connected(running)
    stream = connector.describe("Account")
    running.sandbox.faults.set(Fault(FaultKind.QUOTA, rate=1.0))
    with pytest.raises(QuotaSpent):
        connector.count(stream, Window())
    running.sandbox.faults.set(Fault(FaultKind.EMPTY_PAGE_WITH_TOKEN, rate=1.0))
    with pytest.raises(PartialAnswer):
        _read(connector, stream, Window())
    running.sandbox.faults.set()


def test_a_session_that_ends_midway_and_every_kind_of_credentials(
    serve: Serve, connected: Connect
) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from hubblewave_pipelines.sandboxes.salesforce import oauth

    running = serve("salesforce", records=10, start=None)
    sessions = _vendor(running).sessions
    key = generate_private_key(65537, 2048)
    sessions.keys.append(key.public_key())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    client = {"clientId": oauth.CLIENT_ID, "clientSecret": oauth.CLIENT_SECRET}
    user = {"username": oauth.USERNAME, "password": oauth.PASSWORD}
    for given in (
        {"kind": "client_credentials", **client},
        {"kind": "refresh_token", **client, "refreshToken": oauth.REFRESH_TOKEN},
        {"kind": "password", **client, **user},
        {
            "kind": "jwt_bearer",
            "clientId": oauth.CLIENT_ID,
            "subject": oauth.USERNAME,
            "privateKey": pem,
        },
    ):
        connector, _ = connected(running, credentials=given)
        for _ in range(3):
            assert connector.describe("Account").name == "Account"
            sessions.end_all()
    assert sessions.refreshed == 3


def test_check_says_what_an_admin_can_mend(serve: Serve, connected: Connect) -> None:
    running = serve("salesforce", records=10, start=None)
    connector, _ = connected(running)
    report = connector.check()
    assert report.level is Level.OK, report
    assert {f.what for f in report.findings} == {
        "reachable", "version", "identity", "quota", "permissions", "clock",
    }  # fmt: skip
    assert report.time_zone == "America/Los_Angeles"
    running.sandbox.clock.advance(timedelta(minutes=7))
    vendor = _vendor(running)
    vendor.daily, vendor.used = 1_000, 950
    found = {f.what: f for f in connected(running, apiVersion="99.0")[0].check().findings}
    assert (found["version"].level, found["clock"].level) == (Level.ERROR, Level.ERROR)
    found = {}
    for finding in connected(running)[0].check().findings:
        found.setdefault(finding.what, finding)
    assert found["quota"].level is not Level.OK
    wrong = {"kind": "client_credentials", "clientId": "x", "clientSecret": "y"}
    report = connected(running, credentials=wrong)[0].check()
    assert report.level is Level.ERROR

"""The connector to ServiceNow against its sandbox: nothing lost, nothing twice, every trap of the vendor closed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hubblewave_pipelines.connectors.servicenow import MANNERS, connect
from hubblewave_pipelines.connectors.servicenow.connector import ServiceNowConnector
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import FilterIgnored, UnknownStream, VendorUnavailable
from hubblewave_pipelines.core.stream import DeleteStrategy, Level, Window
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.servicenow.signing import ACCOUNT, CLIENT
from hubblewave_pipelines.sandboxes.serving import Running
from tests.connectors.reading import read, read_in_pieces
from tests.plugins.sandboxes import START
from tests.plugins.sessions import plain_session

Serve = Callable[..., Running]
Open = Callable[..., tuple[ServiceNowConnector, HttpSession]]
FIELDS = ("number", "short_description", "state", "caller_id", "due_date")
PAST = Window(None, START)


def _incidents(running: Running) -> dict[str, dict[str, Any]]:
    return running.sandbox.stage.tables["incident"].rows


def test_every_record_comes_once_for_as_few_requests_as_there_are_pages(
    serve: Serve, opened: Open
) -> None:
    running = serve("servicenow", records=1_250)
    connector, session = opened(running, pageSize=500)
    stream = connector.describe("incident")
    assert session.requests == 2
    connector.safe_mark(stream)
    assert session.requests == 3
    found = read(connector, stream, PAST)
    assert session.requests == 3 + 3
    rows = _incidents(running)
    assert set(found) == set(rows)
    assert any(not key.islower() for key in rows)  # some sort elsewhere here than there
    for key, record in found.items():
        row = rows[key]
        assert record["short_description"] == (row["short_description"] or None)
        assert (
            record["sys_updated_on"]
            == f"{row['sys_updated_on'][:10]}T{row['sys_updated_on'][11:]}Z"
        )
        assert record["active"] in ("true", "false")
        assert record["calendar_duration"] == ("187506" if row["calendar_duration"] else None)
    low, high = START - timedelta(days=300), START - timedelta(days=150)
    some = read(connector, stream, Window(low, high), fields=FIELDS)
    inside = {k for k, r in rows.items() if str(low)[:19] <= r["sys_updated_on"] < str(high)[:19]}
    assert set(some) == inside
    assert connector.count(stream, Window(low, high)) == len(inside) > 125  # the mass update too
    exact, _ = opened(running, pageSize=625)
    assert len(read(exact, stream, PAST, fields=FIELDS)) == 1_250
    pieces = read_in_pieces(lambda: opened(running, pageSize=300)[0], stream, PAST, FIELDS)
    assert pieces.keys() == rows.keys()
    assert [key for page in connector.keys(stream, None) for key in page.keys] == [
        *running.sandbox.stage.tables["incident"].keys()
    ]


def test_rows_that_acls_hide_end_nothing_early(serve: Serve, opened: Open) -> None:
    running = serve("servicenow", records=280)
    vendor: Any = running.sandbox.vendor
    keys = running.sandbox.stage.tables["incident"].keys()
    connector, session = opened(running, pageSize=40)
    stream = connector.describe("incident")
    shapes = {
        "the first two pages and a half": keys[:100],
        "pages in the middle": keys[36:170],
        "the end": keys[230:],
        "every second": keys[::2],
        "all but the last": keys[:-1],
        "all": keys,
    }
    for name, hidden in shapes.items():
        vendor.hidden = set(hidden)
        for quiet in (False, True):
            vendor.no_total = quiet
            found = read(connector, stream, PAST, fields=("number",))
            assert set(found) == set(keys) - vendor.hidden, name
            assert connector.count(stream, PAST) == 280
    assert session.retries == 0


FAULTS = [
    kind
    for kind in FaultKind
    if kind
    not in (
        FaultKind.SLOW,
        FaultKind.WRONG_ZONE,
        FaultKind.EDGE_PAGE,
        FaultKind.UNAUTHORIZED,
        FaultKind.REPEATED_TOKEN,
        FaultKind.EMPTY_PAGE_WITH_TOKEN,
        FaultKind.UNSERVICED,
        FaultKind.CSRF_EXPIRED,
        FaultKind.PRECONDITION,
    )
]


def test_no_fault_at_any_request_loses_or_doubles_a_record(serve: Serve, opened: Open) -> None:
    running = serve("servicenow", records=330)
    connector, session = opened(running, pageSize=100)
    stream = connector.describe("incident")
    cases = 0
    for kind in FAULTS:
        for request in range(1, 5):
            running.sandbox.faults.set(Fault(kind, request=request, seconds=0.01))
            assert set(read(connector, stream, PAST, fields=FIELDS)) == set(_incidents(running))
            cases += running.sandbox.faults.applied.get(kind, 0)
            running.sandbox.faults.applied.clear()
    assert cases >= 4 * len(FAULTS) - 1  # on the first page no row comes before
    running.sandbox.faults.set(Fault(FaultKind.ROWS_AND_ERROR, rate=1, path="table/incident"))
    with pytest.raises(Exception, match="gave up in the middle"):
        read(connector, stream, PAST, fields=FIELDS)
    small, _ = opened(running, pageSize=40)
    mass = Window(None, START - timedelta(days=200))  # a tenth of all was changed at its end
    for request in range(1, 4):
        running.sandbox.faults.set(Fault(FaultKind.WRONG_ZONE, request=request))
        with pytest.raises(FilterIgnored, match="another time zone"):
            read(small, stream, mass, fields=FIELDS)
        running.sandbox.faults.set(Fault(FaultKind.EDGE_PAGE, request=request))
        with pytest.raises(VendorUnavailable, match="hibernating"):
            read(small, stream, mass, fields=FIELDS)
    running.sandbox.faults.set(Fault(FaultKind.WRONG_ZONE, rate=1))
    with pytest.raises(FilterIgnored, match="time zone of the connector's account to GMT"):
        connector.safe_mark(stream)
    assert session.retries > 0


def test_records_that_change_while_they_are_read_leave_the_window(
    serve: Serve, opened: Open
) -> None:
    running = serve("servicenow", records=600)
    connector, _ = opened(running, pageSize=50)
    stream = connector.describe("incident")
    keys = running.sandbox.stage.tables["incident"].keys()
    edited: set[str] = set()

    def edit() -> None:
        for key in keys[len(edited) :: 37][:9]:
            text = {"short_description": f"edited {len(edited)}"}
            running.sandbox.vendor.edit("incident", key, text, START + timedelta(minutes=1))
            edited.add(key)

    found = read(connector, stream, PAST, fields=FIELDS, between=edit)
    assert set(keys) - edited <= set(found)
    assert len(edited) > 50
    running.sandbox.clock.run(0)
    running.sandbox.clock.set(START + timedelta(minutes=10))
    mark = connector.safe_mark(stream)
    assert mark.at == START + timedelta(minutes=9)
    assert mark.overlap == timedelta(minutes=5)
    later = read(connector, stream, Window(START, mark.at), fields=FIELDS)
    assert set(later) == edited
    assert set(found) | set(later) == set(keys)


def test_tables_are_described_with_their_parents(serve: Serve, opened: Open) -> None:
    running = serve("servicenow", records=3)
    connector, _ = opened(running)
    assert {"incident", "task", "sys_user"} <= {stream.name for stream in connector.discover()}
    stream = connector.describe("incident")
    assert (stream.key, stream.cursor, stream.deletes) == (
        "sys_id",
        "sys_updated_on",
        DeleteStrategy.FEED,
    )
    kinds = {field.name: field.kind for field in stream.fields}
    assert kinds["short_description"] is FieldKind.TEXT  # of task
    assert kinds["state"] is kinds["category"] is FieldKind.ENUM
    assert kinds["active"] is FieldKind.BOOLEAN
    assert kinds["calendar_duration"] is FieldKind.INTEGER
    caller, state = stream.field("caller_id"), stream.field("state")
    assert caller is not None
    assert (caller.refers_to, caller.nullable) == (("sys_user",), False)
    assert state is not None
    assert state.choices == ("1", "2", "3", "6", "7")
    company = {field.name: field.kind for field in connector.describe("core_company").fields}
    assert company["revenue"] is FieldKind.DECIMAL
    assert company["founded"] is FieldKind.DATE
    assert company["website"] is FieldKind.URL
    with pytest.raises(UnknownStream, match="no table nonsense"):
        connector.describe("nonsense")
    running.sandbox.faults.set(Fault(FaultKind.UNSERVICED, request=2))
    assert connector.describe("incident") == stream
    assert running.sandbox.faults.applied["unserviced"] == 1
    running.sandbox.vendor.no_audit = True  # type: ignore[attr-defined]
    assert connector.describe("incident").deletes is DeleteStrategy.SNAPSHOT


def test_deletes_come_from_the_audits_and_what_was_restored_is_left_out(
    serve: Serve, opened: Open
) -> None:
    running = serve("servicenow", records=30)
    connector, session = opened(running)
    keys = running.sandbox.stage.tables["incident"].keys()
    problem = running.sandbox.stage.tables["problem"].keys()[0]
    user = running.sandbox.stage.tables["sys_user"].keys()[0]
    at = START + timedelta(minutes=2)
    restored = dict(_incidents(running)[keys[4]])
    for key in keys[:5]:
        running.sandbox.vendor.delete("incident", key, at)
    running.sandbox.vendor.delete("problem", problem, at)
    running.sandbox.vendor.delete("sys_user", user, at)
    running.sandbox.stage.put("incident", restored, at=at)

    def deleted(table: str, window: Window) -> dict[str, datetime | None]:
        stream = connector.describe(table)
        before = session.requests
        found = [page for page in connector.deletes(stream, window, None)]
        assert session.requests - before == sum(page.min_requests for page in found)
        assert all(page.covered is (window.low is not None) for page in found)
        return {one.key: one.at for page in found for one in page.deleted}

    window = Window(START, START + timedelta(minutes=5))
    assert deleted("incident", window) == dict.fromkeys(keys[:4], at)
    assert set(deleted("task", window)) == {*keys[:4], problem}
    assert set(deleted("sys_user", Window(None, window.high))) == {user}
    assert deleted("incident", Window(window.high, START + timedelta(hours=1))) == {}


def test_filters_hold_in_all_their_alternatives_and_unknown_ones_are_refused(
    serve: Serve, opened: Open
) -> None:
    running = serve("servicenow", records=400)
    connector, _ = opened(running, pageSize=40)
    stream = connector.describe("incident")
    low = START - timedelta(days=100)
    window = Window(low, START)
    found = read(connector, stream, window, fields=FIELDS, filter="state=1^priority=1^NQstate=7")
    wanted = {
        key
        for key, row in _incidents(running).items()
        if row["sys_updated_on"] >= str(low)[:19]
        and ((row["state"], row["priority"]) == ("1", "1") or row["state"] == "7")
    }
    assert set(found) == wanted
    assert connector.count(stream, window, filter="state=1^priority=1^NQstate=7") == len(wanted)
    escaped = read(
        connector, stream, PAST, fields=FIELDS, filter="short_descriptionLIKEVPN ^^ drops"
    )
    assert len(escaped) > 10
    for wrong in (
        "stat=1",
        "state=1^NQnonsense=1",
        "state",
        "state=1^ORDERBYstate",
        "caller.name=x",
    ):
        with pytest.raises(FilterIgnored):
            read(connector, stream, PAST, filter=wrong)
    walked = read(connector, stream, PAST, fields=FIELDS, filter="caller_id.nameLIKEAbel")
    assert 0 < len(walked) < 400


def test_named_records_are_read_as_they_are_now(serve: Serve, opened: Open) -> None:
    running = serve("servicenow", records=450)
    connector, session = opened(running)
    stream = connector.describe("incident")
    keys = running.sandbox.stage.tables["incident"].keys()
    running.sandbox.vendor.delete("incident", keys[3], START)
    before = session.requests
    page = connector.fetch(stream, FIELDS, [*keys, "0" * 32])
    assert (page.rows, session.requests - before, page.min_requests) == (449, 3, 3)
    assert connector.fetch(stream, FIELDS, []).rows == 0


def test_the_check_says_what_an_admin_can_mend(serve: Serve, opened: Open) -> None:
    running = serve("servicenow", records=20, start=datetime.now(UTC))
    connector, _ = opened(running)
    assert {f.what: f.level for f in connector.check().findings} == dict.fromkeys(
        ("reachable", "identity", "clock", "permissions", "deletes", "time_zone", "acl"), Level.OK
    )
    wrong, _ = opened(running, password="wrong")
    found = {f.what: f for f in wrong.check().findings}
    assert found["identity"].level is Level.ERROR
    vendor: Any = running.sandbox.vendor
    vendor.no_audit = True
    vendor.hidden = set(running.sandbox.stage.tables["sys_user"].keys()[:2])
    running.sandbox.clock.advance(timedelta(hours=2))
    running.sandbox.faults.set(Fault(FaultKind.WRONG_ZONE, rate=1, path="stats"))
    report = connector.check()
    found = {f.what: f for f in report.findings}
    assert found["deletes"].level is found["acl"].level is found["clock"].level is Level.WARNING
    assert found["time_zone"].level is report.level is Level.ERROR
    assert report.clock_skew is not None
    assert abs(report.clock_skew - timedelta(hours=2)) < timedelta(minutes=1)
    running.sandbox.faults.set(Fault(FaultKind.EDGE_PAGE, rate=1))
    [asleep] = connector.check().findings
    assert "hibernating" in asleep.detail


def test_tokens_of_the_instance_are_renewed(serve: Serve) -> None:
    running = serve("servicenow", records=5)
    given = {
        "kind": "password",
        "clientId": CLIENT[0],
        "clientSecret": CLIENT[1],
        "username": ACCOUNT[0],
        "password": ACCOUNT[1],
    }
    with plain_session(running.url, given, manners=MANNERS) as session:
        connector = connect({"baseUrl": running.url}, session)
        stream = connector.describe("incident")
        running.sandbox.vendor.grants.clear()  # type: ignore[attr-defined]
        assert len(read(connector, stream, PAST, fields=FIELDS)) == 5

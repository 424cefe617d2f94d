"""The connector to Jira, Cloud and Data Center, against its sandbox: nothing lost, nothing twice, no stranger believed."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from hubblewave_pipelines.connectors.jira import MANNERS, connect
from hubblewave_pipelines.connectors.jira.connector import JiraConnector
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import (
    FilterIgnored,
    PartialAnswer,
    Unauthorized,
    UnknownStream,
    VendorError,
    VendorRefused,
)
from hubblewave_pipelines.core.stream import DeleteStrategy, Level, Window
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.sandboxes.faults import ANSWERS, CONNECTION, Fault, FaultKind
from hubblewave_pipelines.sandboxes.jira.catalog import CLIENT, CLOUD_ID
from hubblewave_pipelines.sandboxes.jira.shapes import milliseconds
from hubblewave_pipelines.sandboxes.serving import Running
from tests.connectors.reading import read, read_in_pieces
from tests.plugins.sandboxes import START
from tests.plugins.sessions import plain_session

Serve = Callable[..., Running]
Open = Callable[..., tuple[JiraConnector, HttpSession]]
FIELDS = ("key", "summary", "status")
PAST = Window(None, START)
CENTER = {"deployment": "datacenter"}


def _issues(running: Running) -> dict[str, dict[str, Any]]:
    return running.sandbox.stage.tables["issue"].rows


def test_every_issue_comes_once_for_as_few_requests_as_there_are_pages(
    serve: Serve, opened: Open
) -> None:
    running = serve("jira", records=430, extra={"index_delay": 0})
    running.sandbox.clock.set(START)
    running.sandbox.clock.run(0)
    connector, session = opened(running)
    stream = connector.describe("issues")
    mark = connector.safe_mark(stream)
    assert (mark.at, mark.overlap) == (START - timedelta(minutes=1), timedelta(minutes=10))
    found = read(connector, stream, Window(None, mark.at))
    assert session.requests == 2 + 5
    rows = _issues(running)
    assert set(found) == set(rows)
    for key, record in found.items():
        row = rows[key]
        assert record["key"] == f"{row['project']}-{row['number']}"
        assert record["description"] == row["description"]
        assert record["assignee"] == row["assignee"]
        assert record["status"] == row["status"]
        assert record["customfield_10011"] == row["customfield_10011"]
        assert json.loads(record["labels"] or "") == row["labels"]
        points = row["customfield_10010"]
        assert record["customfield_10010"] == (
            None if points is None else f"{Decimal(str(points)):f}"
        )
        assert record["updated"] is not None
        at = datetime.fromisoformat(record["updated"])
        assert (milliseconds(at), record["updated"][-1]) == (row["updated"], "Z")
    assert connector.count(stream, Window(None, mark.at)) == 430
    low, high = START - timedelta(days=200), START - timedelta(days=100)
    inside = {k for k, r in rows.items() if milliseconds(low) <= r["updated"] < milliseconds(high)}
    assert set(read(connector, stream, Window(low, high), fields=FIELDS)) == inside
    before = session.requests
    listed = [key for page in connector.keys(stream, None) for key in page.keys]
    assert sorted(listed) == sorted(rows)
    assert session.requests - before == 1  # five thousand ids a page
    assert (
        read_in_pieces(lambda: opened(running, pageSize=60)[0], stream, PAST).keys() == rows.keys()
    )
    adf, _ = opened(running, richText="adf")
    documents = read(adf, adf.describe("issues"), PAST, fields=("description",))
    assert {r["description"][:13] for r in documents.values() if r["description"]} == {
        '{"type":"doc"'
    }


def test_data_center_is_read_past_the_reach_of_start_at(serve: Serve, opened: Open) -> None:
    running = serve("jira", records=700, extra={**CENTER, "index_delay": 0, "window": 250})
    connector, session = opened(running, pageSize=60, window=250)
    stream = connector.describe("issues")
    found = read(connector, stream, PAST, fields=FIELDS)
    rows = _issues(running)
    assert found.keys() == rows.keys()
    assert session.requests < 30  # 12 pages of 60, each repeating one issue, and the cutting up
    assert connector.count(stream, PAST) == 700
    low = START - timedelta(days=30)
    some = read(connector, stream, Window(low, START), fields=FIELDS)
    assert set(some) == {k for k, r in rows.items() if r["updated"] >= milliseconds(low)}
    pieces = read_in_pieces(
        lambda: opened(running, pageSize=60, window=250)[0], stream, PAST, FIELDS
    )
    assert pieces.keys() == rows.keys()
    listed = [key for page in connector.keys(stream, None) for key in page.keys]
    assert sorted(listed) == sorted(rows)
    people = {r["reporter"] for r in read(connector, stream, Window(low, START)).values()}
    assert people <= {f"u{number:03d}" for number in range(7)}  # user names, as there are no ids
    page = connector.fetch(stream, FIELDS, [*list(rows)[:3], "99999999"])
    assert list(page.columns["id"]) == list(rows)[:3]


@pytest.mark.parametrize("extra", [{}, CENTER], ids=["cloud", "center"])
def test_issues_that_change_while_they_are_read_leave_the_window(
    serve: Serve, opened: Open, extra: dict[str, str]
) -> None:
    running = serve("jira", records=300, extra={**extra, "index_delay": 20})
    running.sandbox.clock.run(0)
    site = running.sandbox.vendor
    connector, _ = opened(running, pageSize=25)
    stream = connector.describe("issues")
    ids = running.sandbox.stage.tables["issue"].keys()
    edited: set[str] = set()
    gone: set[str] = set()

    def change() -> None:
        """Moves, edits and deletes, mostly of issues that were read already: places shift."""
        running.sandbox.clock.advance(timedelta(seconds=15))
        now = running.sandbox.clock.now()
        for number in ids[len(edited) :: 41]:
            site.edit("issue", number, {"summary": "edited", "project": "PAY"}, now)
            edited.add(number)
        number = ids[5 + len(gone)]
        site.delete("issue", number, now)
        gone.add(number)

    found = read(connector, stream, PAST, fields=FIELDS, between=change)
    assert set(ids) - edited - gone <= set(found)
    running.sandbox.clock.advance(timedelta(minutes=15))
    mark = connector.safe_mark(stream)
    later = read(connector, stream, Window(START, mark.at), fields=FIELDS)
    assert set(later) == edited - gone
    assert {record["key"][:4] for record in later.values() if record["key"]} == {"PAY-"}
    listed = {key for page in connector.keys(stream, None) for key in page.keys}
    assert listed == set(ids) - gone


def test_an_index_that_lags_is_made_up_for_by_the_overlap(serve: Serve, opened: Open) -> None:
    running = serve("jira", records=40, extra={"index_delay": 240})
    running.sandbox.clock.run(0)
    connector, _ = opened(running)
    stream = connector.describe("issues")
    written, found = set(), set(read(connector, stream, PAST, fields=FIELDS))
    high = START
    for _ in range(12):
        running.sandbox.clock.advance(timedelta(seconds=100))
        now = running.sandbox.clock.now()
        written.add(running.sandbox.vendor.create("issue", {"summary": "new"}, now))
        mark = connector.safe_mark(stream)
        found |= set(read(connector, stream, Window(high - mark.overlap, mark.at), fields=FIELDS))
        high = mark.at
    running.sandbox.clock.advance(timedelta(minutes=5))
    mark = connector.safe_mark(stream)
    found |= set(read(connector, stream, Window(high - mark.overlap, mark.at), fields=FIELDS))
    assert written <= found


@pytest.mark.parametrize("quiet", [False, True], ids=["named", "silent"])
def test_no_rows_of_a_bad_login_are_taken_for_truth(
    serve: Serve, opened: Open, quiet: bool
) -> None:
    running = serve("jira", records=250, extra={"index_delay": 0, "quiet": quiet})
    stream = opened(running)[0].describe("issues")
    wrong, _ = opened(running, "wrong")
    for attempt in (
        lambda: read(wrong, stream, PAST, fields=FIELDS),
        lambda: list(wrong.keys(stream, None)),
        lambda: wrong.safe_mark(stream),
    ):
        with pytest.raises(Unauthorized):
            attempt()
    running.sandbox.faults.set()
    connector, session = opened(running)
    revoked = Fault(FaultKind.UNAUTHORIZED, rate=1)
    with pytest.raises(Unauthorized):
        read(connector, stream, PAST, between=lambda: running.sandbox.faults.set(revoked))
    with pytest.raises(Unauthorized):
        connector.count(stream, PAST)
    running.sandbox.faults.set()
    calm, session = opened(running)
    assert len(read(calm, stream, PAST, fields=FIELDS)) == 250
    assert (
        session.requests == 4 + quiet + 1
    )  # /myself, pages, and where nothing says who, once more; /field


TAKEN = [
    *sorted((CONNECTION | ANSWERS) - {FaultKind.UNAUTHORIZED}),
    FaultKind.ROWS_AND_ERROR,
    FaultKind.REPEATED_TOKEN,
    FaultKind.EMPTY_PAGE_WITH_TOKEN,
    FaultKind.SHORT_PAGE,
    FaultKind.DUPLICATE_ROW,
]


@pytest.mark.parametrize("extra", [{}, CENTER], ids=["cloud", "center"])
def test_no_fault_at_any_request_loses_or_doubles_an_issue(
    serve: Serve, opened: Open, extra: dict[str, str]
) -> None:
    running = serve("jira", records=140, extra={**extra, "index_delay": 0})
    connector, _ = opened(running, pageSize=40)
    stream = connector.describe("issues")
    ids = set(_issues(running))
    applied = set()
    for kind in TAKEN:
        for request in range(1, 6):
            running.sandbox.faults.set(Fault(kind, request=request, seconds=0.01))
            assert set(read(connector, stream, PAST, fields=FIELDS)) == ids, (kind, request)
            applied |= set(running.sandbox.faults.applied)
    missing = set(TAKEN) - applied
    assert missing == (
        {FaultKind.REPEATED_TOKEN, FaultKind.EMPTY_PAGE_WITH_TOKEN} if extra else set()
    )
    mass = Window(None, START - timedelta(days=244))
    for request in (1, 2):
        running.sandbox.faults.set(Fault(FaultKind.WRONG_ZONE, request=request))
        inside = {
            k
            for k, r in _issues(running).items()
            if r["updated"] < milliseconds(mass.high or START)
        }
        try:
            assert set(read(connector, stream, mass, fields=FIELDS)) == inside
        except VendorError as error:
            assert isinstance(error, FilterIgnored)  # noqa: PT017 - either is right, silence is not
    for kind in (FaultKind.ROWS_AND_ERROR, FaultKind.REPEATED_TOKEN):
        if kind in applied:
            running.sandbox.faults.set(Fault(kind, rate=1))
            with pytest.raises(PartialAnswer):
                read(connector, stream, PAST, fields=FIELDS)


def test_a_stored_token_that_has_expired_starts_the_reading_anew(
    serve: Serve, opened: Open
) -> None:
    running = serve("jira", records=250, extra={"index_delay": 0})
    connector, _ = opened(running)
    stream = connector.describe("issues")
    plan = connector.plan(stream, FIELDS, PAST)
    first = next(iter(connector.read(plan, plan.slices[0], None)))
    running.sandbox.clock.advance(timedelta(days=8))
    rest = connector.read(plan, plan.slices[0], json.loads(json.dumps(first.position)))
    assert {key for page in rest for key in page.columns["id"]} == set(_issues(running))


def test_fields_are_described_by_their_schema(serve: Serve, opened: Open) -> None:
    running = serve("jira", records=1)
    connector, session = opened(running)
    [listed] = connector.discover()
    assert (listed.name, session.requests) == ("issues", 0)
    stream = connector.describe("issues")
    assert (stream.key, stream.cursor, stream.deletes) == ("id", "updated", DeleteStrategy.SNAPSHOT)
    kinds = {field.name: field.kind for field in stream.fields}
    assert {
        name: kinds[name].value for name in sorted(kinds) if name.startswith("customfield")
    } == {
        "customfield_10010": "number",
        "customfield_10011": "text",
        "customfield_10012": "date",
        "customfield_10013": "datetime",
        "customfield_10014": "text",
        "customfield_10015": "json",
        "customfield_10016": "text",
        "customfield_10017": "text",
        "customfield_10018": "longtext",
        "customfield_10019": "json",
        "customfield_10020": "json",
    }
    assert "thumbnail" not in kinds
    status = stream.field("status")
    assert status is not None
    assert (status.computed, status.updatable) == (True, False)
    adf, _ = opened(running, richText="adf")
    described = {field.name: field.kind for field in adf.describe("issues").fields}
    assert described["description"] is described["customfield_10018"] is FieldKind.JSON
    with pytest.raises(UnknownStream):
        connector.describe("boards")


def test_filters_stay_in_their_brackets_and_refusals_are_in_jira_s_words(
    serve: Serve, opened: Open
) -> None:
    running = serve("jira", records=200, extra={"index_delay": 0})
    connector, _ = opened(running)
    stream = connector.describe("issues")
    window = Window(START - timedelta(days=300), START)
    filter = "project = PAY OR project = OPS"
    found = read(connector, stream, window, fields=FIELDS, filter=filter)
    assert set(found) == {
        k
        for k, r in _issues(running).items()
        if r["project"] in ("PAY", "OPS")
        and r["updated"] >= milliseconds(START - timedelta(days=300))
    }
    quoted = 'summary ~ "order by" OR project = "PAY"'
    assert connector.count(stream, window, filter=quoted) == sum(
        k["key"][:3] == "PAY" for k in found.values() if k["key"]
    )
    for wrong in (
        "project = PAY) OR (project = OPS",
        'project = "PAY',
        "project = PAY ORDER BY key",
    ):
        with pytest.raises(FilterIgnored):
            read(connector, stream, window, filter=wrong)
    with pytest.raises(VendorRefused, match="'NONE' does not exist for the field 'project'"):
        read(connector, stream, window, filter="project = NONE")


def test_named_issues_are_read_strongly(serve: Serve, opened: Open) -> None:
    running = serve("jira", records=230, extra={"index_delay": 60})
    connector, session = opened(running)
    stream = connector.describe("issues")
    connector.safe_mark(stream)
    number = running.sandbox.vendor.create("issue", {"summary": "late"}, START)
    ids = list(_issues(running))
    running.sandbox.vendor.delete("issue", ids[7], START)
    before = session.requests
    page = connector.fetch(stream, FIELDS, [*ids, "99999999"])
    assert (page.rows, session.requests - before, page.min_requests) == (230, 3, 3)
    assert number in page.columns["id"]


def test_the_check_says_what_an_admin_can_mend(serve: Serve, opened: Open) -> None:
    running = serve("jira", records=20, start=datetime.now(UTC), extra={"zone": "Asia/Kolkata"})
    report = opened(running)[0].check()
    assert {f.what: f.level for f in report.findings} == dict.fromkeys(
        ("reachable", "engine", "identity", "clock", "time_zone", "permissions"), Level.OK
    )
    assert report.time_zone == "Asia/Kolkata"
    wrong = {f.what: f for f in opened(running, "wrong")[0].check().findings}
    assert wrong["identity"].level is Level.ERROR
    mistaken = {f.what: f for f in opened(running, deployment="dataCenter")[0].check().findings}
    assert "set deployment to cloud" in mistaken["engine"].detail
    running.sandbox.clock.advance(timedelta(hours=-3))
    skewed = opened(running)[0].check()
    assert {f.what for f in skewed.findings if f.level is Level.WARNING} == {"clock"}
    running.sandbox.faults.set(Fault(FaultKind.REFUSE, rate=1))
    [down] = opened(running)[0].check().findings
    assert (down.what, down.level) == ("reachable", Level.ERROR)


def test_cloud_by_oauth_uses_the_newest_refresh_token(serve: Serve) -> None:
    running = serve("jira", records=5, extra={"index_delay": 0})
    given = {
        "kind": "refresh_token",
        "clientId": CLIENT[0],
        "clientSecret": CLIENT[1],
        "refreshToken": "sandbox-refresh-token",
        "tokenUrl": f"{running.url}/oauth/token",
    }
    base = f"{running.url}/ex/jira/{CLOUD_ID}"
    with plain_session(base, given, manners=MANNERS) as session:
        connector = connect({"baseUrl": base}, session)
        stream = connector.describe("issues")
        assert len(read(connector, stream, PAST, fields=FIELDS)) == 5
        running.sandbox.vendor.grants.clear()  # type: ignore[attr-defined]
        connector.safe_mark(stream)  # 401, and the token that came with the first one is used
        assert len(running.sandbox.vendor.grants) == 1  # type: ignore[attr-defined]

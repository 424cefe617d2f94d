"""The custom connector against APIs of every pagination style: all records once, none lost on short pages."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.connectors.custom import TYPE, connect
from hubblewave_pipelines.connectors.custom.cells import cell, instant, sent
from hubblewave_pipelines.core import errors
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.json_schema import check_schema
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.stream import DeleteStrategy, Level, Window
from tests.plugins.receiver import Receiver, Request, receiving, reply
from tests.plugins.sessions import plain_session

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(n: int) -> dict[str, Any]:
    moved = (START + timedelta(minutes=n)).isoformat()
    return {"id": f"k{n:04d}", "updatedAt": moved, "n": n, "deep": {"city": f"Zürich {n}"}}


class Api:
    """Records in pages of every style at `/{style}`. Of numbered pages those in `hidden` come out
    shorter than they are, as where the account may not see every record."""

    def __init__(self, count: int, size: int = 10, hidden: Sequence[int] = ()) -> None:
        self.rows = [record(n) for n in range(count)]
        self.size = size
        self.hidden = set(hidden)

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(request.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.startswith("/one/"):
            one = next(row for row in self.rows if row["id"] == url.path[5:])
            await reply(body=json.dumps(one).encode())(request, writer)
            return
        low, high = asked.get("from", ""), asked.get("to", "~")
        rows = [row for row in self.rows if low <= row["updatedAt"].replace("+00:00", "Z") < high]
        style, host = url.path.strip("/"), request.headers["host"]
        headers: dict[str, str] = {}
        body: dict[str, Any] = {"total": len(rows)}
        match style:
            case "page":
                at = (int(asked["p"]) - 1) * self.size
            case "keyset":
                at = sum(row["id"] <= asked.get("after", "") for row in rows)
            case _:
                at = int(asked.get("skip") or asked.get("c") or 0)
        page = [row for row in rows[at : at + self.size] if row["n"] not in self.hidden]
        if at + self.size < len(rows):
            body["meta"] = {"next": str(at + self.size)}
            query = "&".join(f"{n}={v}" for n, v in {**asked, "c": at + self.size}.items())
            link = f"http://{host}/{style}?{query}"
            body["links"] = {"next": link}
            headers["Link"] = f'<{link}>; rel="prev last", <{link}>; title="a, b"; rel="next"'
        body["data"] = {"items": page}
        await reply(body=json.dumps(body).encode(), Content_Type="application/json", **headers)(
            request, writer
        )


STYLES: dict[str, dict[str, Any]] = {
    "cursor": {"cursorPath": "meta.next", "param": "c"},
    "link_header": {},
    "next_url": {"urlPath": "links.next"},
    "page": {"param": "p", "pageSize": 10, "pageSizeParam": "n"},
    "offset": {"param": "skip", "pageSize": 10, "pageSizeParam": "n"},
    "keyset": {"param": "after"},
}


def config(system: Receiver, style: str, **more: Any) -> dict[str, Any]:
    stream = {
        "name": "things",
        "path": f"/{style}",
        "recordsPath": "data.items",
        "key": "id",
        "fields": [{"name": "n", "type": "integer"}, {"name": "city", "path": "deep.city"}],
        "pagination": {"style": style, **STYLES[style]},
        "cursor": {"field": "updatedAt", "startParam": "from", "endParam": "to"},
        "deletes": "snapshot",
        **more,
    }
    found = {"baseUrl": system.url.removesuffix("/hook"), "streams": [stream]}
    reading = Reading()
    check_schema(reading, found, TYPE.config, "#/config")
    assert reading.faults == []
    return found


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_style_reads_everything_once_and_resumes_anywhere(style: str) -> None:
    hidden = [3, *range(20, 30)] if style in ("cursor", "link_header", "next_url") else [3]
    with receiving(Api(47, hidden=hidden)) as system:
        settings_ = config(system, style)
        with plain_session(settings_["baseUrl"]) as session:
            connector = connect(settings_, session)
            stream = connector.describe("things")
            assert stream.deletes is DeleteStrategy.SNAPSHOT
            plan = connector.plan(stream, ["city", "n"], Window())
            pages = list(connector.read(plan, plan.slices[0], None))
            keys = [key for page in pages for key in page.columns["id"]]
            assert keys == [f"k{n:04d}" for n in range(47) if n not in hidden]
            assert pages[0].columns["city"][1] == "Zürich 1"
            assert pages[0].columns["n"][1] == "1"
            assert pages[0].columns["updatedAt"][1] == "2026-01-01T00:01:00Z"
            assert pages[-1].position is None
            resumed = list(connector.read(plan, plan.slices[0], pages[1].position))
            assert [k for page in resumed for k in page.columns["id"]] == [
                key for page in pages[2:] for key in page.columns["id"]
            ]
            listed = [key for page in connector.keys(stream, None) for key in page.keys]
            assert listed == keys
            window = Window(START + timedelta(minutes=5), START + timedelta(minutes=9))
            plan = connector.plan(stream, ["n"], window)
            (page, *rest) = connector.read(plan, plan.slices[0], None)
            assert page.columns["n"] == ["5", "6", "7", "8"]
            assert all(not each.rows for each in rest)


@pytest.mark.parametrize("style", ["page", "offset"])
def test_a_total_saves_the_empty_page_and_counts(style: str) -> None:
    with receiving(Api(40)) as system:
        paging = {"style": style, **STYLES[style], "totalPath": "total"}
        settings_ = config(system, style, pagination=paging)
        with plain_session(settings_["baseUrl"]) as session:
            connector = connect(settings_, session)
            stream = connector.describe("things")
            plan = connector.plan(stream, [], Window())
            assert sum(page.rows for page in connector.read(plan, plan.slices[0], None)) == 40
            assert session.requests == 4
            window = Window(START, START + timedelta(minutes=7))
            assert connector.count(stream, window) == 7


@pytest.mark.parametrize(
    ("style", "body"),
    [
        ("cursor", {"data": {"items": []}, "meta": {"next": "7"}}),
        ("next_url", {"data": {"items": [record(1)]}, "links": {"next": "/next_url?c=1"}}),
        ("keyset", {"data": {"items": [record(1)]}}),
    ],
)
def test_a_page_that_repeats_is_no_endless_walk(style: str, body: Any) -> None:
    same = reply(body=json.dumps(body).encode(), Content_Type="application/json")
    with receiving(same) as system:
        settings_ = config(system, style)
        with plain_session(settings_["baseUrl"]) as session:
            connector = connect(settings_, session)
            plan = connector.plan(connector.describe("things"), [], Window())
            with pytest.raises(errors.PartialAnswer):
                list(connector.read(plan, plan.slices[0], None))
            assert session.requests < 5


def test_a_check_says_what_is_wrong_with_the_description() -> None:
    cases = [
        ({"data": []}, "check recordsPath"),
        ({"data": {"items": [{"ID": 1}]}}, "check `key`"),
        ({"data": {"items": [record(1)]}}, None),
    ]
    for body, words in cases:
        late = "Thu, 01 Jan 2026 00:00:00 GMT"
        answer = reply(body=json.dumps(body).encode(), Content_Type="application/json", Date=late)
        with receiving(answer) as system:
            settings_ = config(system, "cursor")
            with plain_session(settings_["baseUrl"]) as session:
                report = connect(settings_, session).check()
        told = {finding.what: finding for finding in report.findings}
        assert report.clock_skew is not None
        assert report.clock_skew < -timedelta(days=1)
        assert "clock is -" in told["clock"].detail
        assert (words is None) == (told["streams"].level is Level.OK)
        assert (words or "records on the first page") in told["streams"].detail


@given(
    st.integers(0, 4_000_000_000_000_000),
    st.sampled_from(["iso", "iso_seconds", "epoch_seconds", "epoch_milliseconds"]),
)
@settings(max_examples=200)
def test_a_bound_is_never_sent_later_than_it_is(moment: int, form: str) -> None:
    at = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)
    text = sent(at, form)
    read = instant(int(text) if form.startswith("epoch") else text)
    assert read is not None
    assert timedelta(0) <= at - read < timedelta(seconds=1)


def test_cells_are_canonical_text() -> None:
    assert cell(True, FieldKind.TEXT) == "true"
    assert cell(Decimal("1E+3"), FieldKind.DECIMAL) == "1000"
    assert cell(Decimal("0.10"), FieldKind.NUMBER) == "0.10"
    assert cell({"a": [Decimal("1.10"), None, "ü"]}, FieldKind.JSON) == '{"a":[1.10,null,"ü"]}'
    assert cell("x", FieldKind.JSON) == '"x"'
    assert cell(1767225600, FieldKind.DATETIME) == "2026-01-01T00:00:00Z"
    assert cell(1767225600123, FieldKind.DATETIME) == "2026-01-01T00:00:00.123000Z"
    assert cell("2026-01-01T01:00:00+01:00", FieldKind.DATETIME) == "2026-01-01T00:00:00Z"
    assert cell("soon", FieldKind.DATETIME) == "soon"
    assert cell("", FieldKind.TEXT) == ""
    assert cell(None, FieldKind.TEXT) is None

"""The shared part of sandboxes, on a tiny vendor: faults, outages, clock, edits, counters, control."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hubblewave_pipelines.sandboxes.clock import Clock
from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind, FaultPlan
from hubblewave_pipelines.sandboxes.serving import Running
from hubblewave_pipelines.sandboxes.stage import Stage, Table
from hubblewave_pipelines.sandboxes.vendor import Options, Outage, Vendor, befallen
from tests.plugins.sandboxes import START

Serve = Callable[..., Running]
HTTP = httpx.Client(timeout=30)  # one for all: making one costs more than most tests here


class Shop(Vendor):
    """Orders with a number and a text; an edit raises the version."""

    name = "shop"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        table = self.stage.add(Table("orders", "number", order=int))
        table.load(
            {str(n): {"number": str(n), "text": f"t{n}", "v": 1} for n in range(options.records)}
        )

    def routes(self) -> list[Route]:
        return [
            Route("/orders", self.orders, methods=["GET"]),
            Route("/orders", self.order, methods=["POST"]),
        ]

    async def orders(self, request: Request) -> Response:
        rows = list(self.stage.tables["orders"].indexed())
        if befallen(request, FaultKind.SHORT_PAGE):
            rows = rows[:-1]
        return JSONResponse(rows)

    async def order(self, request: Request) -> Response:
        key = self.create("orders", await request.json(), self.clock.now())
        return JSONResponse({"number": key}, status_code=201)

    def refusal(self, fault: Fault, path: str) -> Response:
        return JSONResponse({"kind": fault.kind}, status_code=503)

    def connector(self, url: str) -> dict[str, Any]:
        return {"type": "shop", "config": {"baseUrl": url}, "credentials": {}}

    def create(self, table: str, values: Mapping[str, Any], at: datetime) -> str:
        number = str(len(self.stage.tables[table].rows))
        self.stage.put(table, {"v": 1, **values, "number": number}, at=at)
        return number

    def edit(self, table: str, key: str, values: Mapping[str, Any], at: datetime) -> None:
        row = self.stage.tables[table].rows[key]
        self.stage.put(table, {**row, **values, "v": row["v"] + 1}, at=at)

    def delete(self, table: str, key: str, at: datetime) -> None:
        self.stage.drop(table, key, at=at)

    def touch(self, at: datetime) -> None:
        key = self.random.choice(self.stage.tables["orders"].keys())
        self.edit("orders", key, {"text": str(self.random.random())}, at)


def _shop(serve: Serve, **options: Any) -> Running:
    return serve(Shop(Options(**{"records": 20, "start": START, **options})))


def _orders(running: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = HTTP.get(f"{running.url}/orders").json()
    return found


def _tell(running: Running, what: str, **body: Any) -> dict[str, Any]:
    answer = HTTP.post(f"{running.url}/__sandbox/{what}", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


ENDINGS = {
    "refuse": httpx.TransportError,
    "reset_before": httpx.TransportError,
    "reset_after": httpx.TransportError,
    "truncate": httpx.RemoteProtocolError,
}


def test_each_connection_fault_befalls_exactly_the_chosen_request(serve: Serve) -> None:
    running = _shop(serve)
    for kind, ending in ENDINGS.items():
        before = len(running.sandbox.stage.tables["orders"].rows)
        _tell(running, "faults", faults=[f"{kind}@2"])
        with httpx.Client(base_url=running.url) as client:
            assert client.get("/orders").status_code == 200
            with pytest.raises(ending):
                client.post("/orders", json={"text": kind})
            assert client.get("/orders").status_code == 200
        after = len(running.sandbox.stage.tables["orders"].rows)
        assert after - before == (1 if kind in ("reset_after", "truncate") else 0), kind
        assert running.sandbox.faults.applied[kind] == 1


def test_faults_that_answer_and_faults_that_handlers_apply(serve: Serve) -> None:
    running = _shop(serve)
    _tell(
        running,
        "faults",
        faults=[{"kind": "quota", "request": 1}, "short_page@2", "csrf_expired@3"],
    )
    assert HTTP.get(f"{running.url}/orders").status_code == 503
    assert len(_orders(running)) == 19
    assert len(_orders(running)) == 20
    state = HTTP.get(f"{running.url}/__sandbox").json()
    assert state["faults"]["applied"] == {"quota": 1, "short_page": 1}
    assert state["requests"] == {
        "total": 3,
        "operations": {"orders": 2, "/orders": 1},
        "statuses": {"503": 1, "200": 2},
    }
    log = HTTP.get(f"{running.url}/__sandbox/requests").json()["requests"]
    assert [asked["fault"] for asked in log] == ["quota", "short_page", None]
    _tell(running, "reset")
    assert HTTP.get(f"{running.url}/__sandbox").json()["requests"]["total"] == 0


def test_a_rate_is_kept_and_repeats_with_the_seed() -> None:
    def befallen_of(seed: int) -> list[bool]:
        plan = FaultPlan(seed)
        plan.set(Fault.parse("slow:10%"))
        return [plan.next("/") is not None for _ in range(5_000)]

    assert 400 < sum(befallen_of(1)) < 600
    assert befallen_of(1) == befallen_of(1) != befallen_of(2)


@pytest.mark.parametrize("text", ["slow", "truncate@3", "quota:0.25", "throttle_date:5%:30"])
def test_faults_as_the_command_line_gives_them(text: str) -> None:
    fault = Fault.parse(text)
    assert (fault.kind.value, fault.rate, fault.request, fault.seconds) == {
        "slow": ("slow", 1.0, None, 1.0),
        "truncate@3": ("truncate", 0.0, 3, 1.0),
        "quota:0.25": ("quota", 0.25, None, 1.0),
        "throttle_date:5%:30": ("throttle_date", 0.05, None, 30.0),
    }[text]


@pytest.mark.parametrize("text", ["", "nonsense:1", "slow:2", "slow:x", "slow@", "slow:-1"])
def test_faults_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"KIND|fault|rate"):
        Fault.parse(text)


def test_outages_by_the_sandbox_clock(serve: Serve) -> None:
    running = _shop(serve, outages=(Outage.parse("12:30-14:30", START),))
    assert HTTP.get(f"{running.url}/orders").status_code == 200
    _tell(running, "clock", now=(START + timedelta(seconds=1_900)).isoformat(), rate=0)
    answer = HTTP.get(f"{running.url}/orders")
    assert (answer.status_code, answer.headers["date"]) == (503, "Thu, 15 Jan 2026 12:31:40 GMT")
    _tell(running, "clock", advance=7_200)
    assert HTTP.get(f"{running.url}/orders").status_code == 200
    _tell(running, "outage", seconds=60, kind="refuse")
    with pytest.raises(httpx.TransportError):
        HTTP.get(f"{running.url}/orders")
    _tell(running, "outage", clear=True)
    assert HTTP.get(f"{running.url}/orders").status_code == 200


@pytest.mark.parametrize("text", ["12:00", "14:00-12:00", "+5-x", "yesterday/today"])
def test_outages_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Outage.parse(text, START)


def test_edits_happen_by_the_clock_and_repeat_with_the_seed(serve: Serve) -> None:
    def changed() -> list[tuple[str, datetime]]:
        running = _shop(serve, edits_per_second=2.0)
        running.sandbox.clock.run(0)
        _tell(running, "clock", now=(START + timedelta(seconds=60)).isoformat())
        _orders(running)
        return [(change.key, change.at) for change in running.sandbox.stage.changes]

    first = changed()
    assert 100 < len(first) <= 120  # the clock runs until it is stopped
    assert [key for key, _ in first[:100]] == [key for key, _ in changed()[:100]]
    assert all(START < at <= START + timedelta(seconds=60) for _, at in first)


def test_control_creates_edits_and_deletes(serve: Serve) -> None:
    running = _shop(serve)
    assert _tell(running, "creates", table="orders", values={"text": "new"}) == {"key": "20"}
    _tell(running, "edits", table="orders", key="3", values={"text": "x"})
    _tell(running, "edits", count=5)
    _tell(running, "deletes", table="orders", keys=["4", "5"])
    seen = {row["number"]: row for row in _orders(running)}
    assert (seen["3"]["text"], seen["3"]["v"] >= 2, "4" in seen, len(seen)) == (
        "x",
        True,
        False,
        19,
    )
    changes = HTTP.get(f"{running.url}/__sandbox/changes?since=1").json()["changes"]
    assert [change["what"] for change in changes] == ["updated"] * 6 + ["deleted"] * 2
    for what, body in (
        ("edits", {"table": "orders", "key": "no", "values": {}}),
        ("faults", {"faults": ["no"]}),
        ("clock", {"now": "soon"}),
    ):
        assert HTTP.post(f"{running.url}/__sandbox/{what}", json=body).status_code == 400


def test_late_commits_and_searches_that_lag() -> None:
    clock = Clock(START, rate=0)
    stage = Stage(clock)
    table = stage.add(Table("t", "id"))

    def seen() -> tuple[list[str], list[str]]:
        stage.settle()
        rows = [row["v"] for row in table.rows.values()]
        return rows, [row["v"] for row in table.indexed()]

    soon, later = START + timedelta(seconds=5), START + timedelta(seconds=9)
    stage.put("t", {"id": "a", "v": "one"}, at=START, committed=soon)
    assert seen() == ([], [])
    clock.set(soon)
    assert seen() == (["one"], ["one"])
    stage.put("t", {"id": "a", "v": "two"}, at=soon, indexed=later)
    stage.put("t", {"id": "b", "v": "new"}, at=soon, indexed=later)
    stage.put("t", {"id": "a", "v": "three"}, at=soon, indexed=later + timedelta(seconds=1))
    assert seen() == (["three", "new"], ["one"])
    clock.set(later)
    assert seen() == (["three", "new"], ["two", "new"])
    clock.set(later + timedelta(seconds=1))
    assert seen() == (["three", "new"], ["three", "new"])
    stage.drop("t", "a", at=later, indexed=later + timedelta(seconds=9))
    assert seen() == (["new"], ["three", "new"])
    clock.advance(timedelta(seconds=9))
    assert seen() == (["new"], ["new"])
    assert [change.at for change in stage.changes][:2] == [START, soon]
    assert stage.changes[0].seen == soon
    assert table.keys(after="a") == ["b"]
    assert datetime.fromisoformat("2026-01-15T12:00:05+00:00").astimezone(UTC) == soon


def test_a_slow_answer_outlasts_its_reader_and_the_next_comes_at_once(serve: Serve) -> None:
    running = _shop(serve)
    _tell(running, "faults", faults=["slow@1:20"])
    with pytest.raises(httpx.ReadTimeout):
        HTTP.get(f"{running.url}/orders", timeout=0.2)
    assert HTTP.get(f"{running.url}/orders", timeout=10).status_code == 200

"""The engine with the connectors to Jira and ServiceNow: live data, deletes and faults, and the table equals the vendor's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.connectors.registry import module
from hubblewave_pipelines.core.errors import VendorError
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.serving import Running
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from tests.plugins.sandboxes import START
from tests.plugins.sessions import plain_session
from tests.sync.conftest import Syncing

Serve = Callable[..., Running]
RANDOM = [
    FaultKind.RESET_BEFORE,
    FaultKind.RESET_AFTER,
    FaultKind.TRUNCATE,
    FaultKind.ERROR_503,
    FaultKind.ROWS_AND_ERROR,
    FaultKind.SHORT_PAGE,
    FaultKind.DUPLICATE_ROW,
    FaultKind.REPEATED_TOKEN,
    FaultKind.EMPTY_PAGE_WITH_TOKEN,
]


@dataclass(frozen=True)
class Vendor:
    """`fields` are those of the stream that become code, name and amount."""

    name: str
    stream: str
    table: str
    fields: tuple[str, str, str]
    extra: dict[str, Any]
    page_size: int
    least: int  # requests of the first run beside its pages

    def mapping(self) -> list[dict[str, str]]:
        pairs = zip(self.fields, ("code", "name", "amount"), strict=True)
        return [{"sourceField": source, "targetField": target} for source, target in pairs]

    def rows(self, running: Running) -> dict[str, str | None]:
        held = running.sandbox.stage.tables[self.table].rows
        if self.name == "servicenow":
            return {key: row["number"] for key, row in held.items()}
        return {key: f"{row['project']}-{row['number']}" for key, row in held.items()}


JIRA = ("id", "key", "customfield_10010")
CENTER = {"deployment": "datacenter", "index_delay": 20}
VENDORS = {
    "cloud": Vendor("jira", "issues", "issue", JIRA, {"index_delay": 20}, 60, 2),
    "center": Vendor("jira", "issues", "issue", JIRA, CENTER, 60, 2),
    "servicenow": Vendor(
        "servicenow", "incident", "incident", ("sys_id", "number", "reopen_count"), {}, 60, 3
    ),
}


@dataclass
class Opened:
    connector: Connector
    session: HttpSession

    @property
    def requests(self) -> int:
        return self.session.requests


@pytest.mark.parametrize("name", VENDORS)
def test_the_table_equals_the_vendor_s_whatever_happens_meanwhile(
    syncing: Syncing, serve: Serve, name: str
) -> None:
    vendor = VENDORS[name]
    running = serve(vendor.name, records=300, extra=vendor.extra)
    running.sandbox.clock.run(0)  # moved by hand: a busy machine changes nothing
    job = syncing.job(stream=vendor.stream, mapping=vendor.mapping())

    @contextmanager
    def connect(_: SyncJob) -> Iterator[Opened]:
        given = running.sandbox.vendor.connector(running.url)
        with plain_session(running.url, given["credentials"], sleep=lambda _: None) as session:
            config = {**given["config"], "pageSize": vendor.page_size}
            yield Opened(module(vendor.name).connect(config, session), session)

    def run(window: tuple[datetime, datetime] | None = None) -> SyncRun:
        return syncing.execute(syncing.ask(job, window, allow_deletes=True), connect=connect)

    def settled() -> None:
        running.sandbox.clock.advance(timedelta(minutes=20))

    first = run()
    assert (first.status, first.created, first.failed) == ("success", 300, 0)
    pages = 5 if name != "center" else 6  # each page there repeats an issue
    assert first.requests == vendor.least + pages + 1  # and the count
    assert syncing.state() == vendor.rows(running)
    written = syncing.written()
    settled()
    again = run()
    assert (again.created, again.updated, again.deleted) == (0, 0, 0)
    assert syncing.written() == written

    for number, kind in enumerate([None, *RANDOM]):
        for _ in range(8):
            running.sandbox.clock.advance(timedelta(seconds=5))
            running.sandbox.vendor.touch(running.sandbox.clock.now())
        if kind is not None:
            running.sandbox.faults.set(Fault(kind, rate=0.3, seconds=0.01))
        running.sandbox.faults.seed = number
        for _ in range(2):
            try:
                run()
            except VendorError:  # the next run goes on where this one stopped
                continue
    running.sandbox.faults.set()
    settled()
    assert run().status == "success"
    assert (
        run((START, START + timedelta(minutes=5))).status == "success"
    )  # lists all keys where it must
    assert syncing.state() == vendor.rows(running)
    assert syncing.gaps(job) == ()
    assert syncing.letters(job) == []
    written = syncing.written()
    settled()
    run()
    assert syncing.written() == written

"""Scenarios against the vendors' sandboxes: a first sync, changes there, what is new, a window again;
with one fault at one request or the process killed there, and started again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hubblewave_pipelines.connectors import registry
from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.core.errors import PlatformError, Recovery
from hubblewave_pipelines.core.stream import Window
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.sandboxes.faults import Fault
from hubblewave_pipelines.sandboxes.registry import build
from hubblewave_pipelines.sandboxes.serving import Running, on_thread
from hubblewave_pipelines.sandboxes.vendor import Options
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from tests.plugins.sandboxes import START
from tests.plugins.sessions import plain_session
from tests.sync.conftest import Syncing
from tests.sync.fake_vendor import Killed

ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Rig:
    """What of a vendor is synced, and how one of its records is changed in the sandbox."""

    vendor: str
    stream: str
    table: str
    key: str
    name: str  # the field that becomes the record's name here
    records: int = 30
    extra: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    fresh: dict[str, Any] = field(default_factory=dict)  # what a new record needs beside its name

    @property
    def mapping(self) -> list[dict[str, Any]]:
        return [
            {"sourceField": self.key, "targetField": "code"},
            {"sourceField": self.name, "targetField": "title"},
        ]


RIGS = {
    "salesforce": Rig("salesforce", "Account", "Account", "Id", "Name"),
    "jira": Rig("jira", "issues", "issue", "id", "summary", config={"pageSize": 8}),
    "jira-datacenter": Rig(
        "jira",
        "issues",
        "issue",
        "id",
        "summary",
        extra={"deployment": "datacenter", "window": 20},
        config={"pageSize": 8, "window": 20},
    ),
    "servicenow": Rig(
        "servicenow",
        "incident",
        "incident",
        "sys_id",
        "short_description",
        config={"pageSize": 8},
    ),
    "sap": Rig(
        "sap",
        "API_BUSINESS_PARTNER.A_BusinessPartner",
        "partners",
        "BusinessPartner",
        "OrganizationBPName1",
        fresh={"BusinessPartner": "Z999999"},
    ),
    "sap-pages": Rig(
        "sap",
        "API_SALES_ORDER_SRV.A_SalesOrder",
        "orders",
        "SalesOrder",
        "PurchaseOrderByCustomer",
        extra={"page": 12},
        fresh={"SalesOrder": "999999"},
    ),
}


class _Session(HttpSession):
    """Dies at the k-th request, before it is sent or when its answer is here."""

    dies: tuple[int, str] | None = None
    asked = 0

    def request(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        mine = self.asked
        if self.dies == (mine, "before"):
            raise Killed
        answer = super().request(*args, **kwargs)
        if self.dies == (mine, "after"):
            raise Killed
        return answer


@dataclass
class Opened:
    connector: Connector
    session: HttpSession

    @property
    def requests(self) -> int:
        return self.session.requests


@dataclass
class Scenario:
    """One run through the scenario on a sandbox of its own."""

    rig: Rig
    syncing: Syncing
    running: Running
    job: SyncJob
    dies: tuple[int, str] | None = None
    commits: int = 0  # die at this commit
    failures: list[str] = field(default_factory=list)
    held: int = 0

    @contextmanager
    def connect(self, _job: SyncJob) -> Iterator[Opened]:
        sandbox = self.running.sandbox
        given = sandbox.vendor.connector(self.running.url)
        options: dict[str, Any] = {
            "manners": registry.manners(given["type"]),
            "sleep": lambda seconds: sandbox.clock.advance(timedelta(seconds=seconds)),
        }
        session = plain_session(self.running.url, given["credentials"], **options)
        if self.dies is not None:
            session.__class__ = _Session
            assert isinstance(session, _Session)
            session.dies, self.dies = self.dies, None
        with session:
            made = registry.module(given["type"]).connect(
                {**given["config"], **self.rig.config}, session
            )
            yield Opened(made, session)

    def _still_held(self) -> None:
        self.held += 1
        if self.held == self.commits:
            raise Killed

    def run(self, window: tuple[Any, Any] | None = None) -> SyncRun:
        """A run that is tried again as the platform would, and anew when it failed for good."""
        run_id = self.syncing.ask(self.job, window)
        for _ in range(ATTEMPTS):
            try:
                run = self.syncing.execute(
                    run_id, connect=self.connect, still_held=self._still_held
                )
            except Killed:
                self.failures.append("killed")
            except PlatformError as error:
                self.failures.append(error.code)
                if error.recovery is not Recovery.RETRY:
                    run_id = self.syncing.ask(self.job, window)
                self.running.sandbox.clock.advance(timedelta(minutes=2))
            else:
                return run
        raise AssertionError(f"no end after {ATTEMPTS} attempts: {self.failures}")

    def settle(self) -> None:
        """Past every delay after which a system shows what was written."""
        self.running.sandbox.clock.advance(timedelta(minutes=20))

    def change(self) -> None:
        """Edits, a new record and a delete, as users of the vendor make them."""
        vendor = self.running.sandbox.vendor
        keys = sorted(self.running.sandbox.stage.tables[self.rig.table].rows)
        at = vendor.clock.now()
        for key in keys[:3]:
            vendor.edit(self.rig.table, key, {self.rig.name: f"edited {key[-4:]}"}, at)
        vendor.create(self.rig.table, {**self.rig.fresh, self.rig.name: "made later"}, at)
        vendor.delete(self.rig.table, keys[5], at)

    def play(self) -> list[SyncRun]:
        self.settle()
        runs = [self.run()]
        self.change()
        self.settle()
        runs.append(self.run())
        now = self.running.sandbox.clock.now()
        runs.append(self.run((now - timedelta(hours=1), now - timedelta(minutes=5))))
        return runs

    def remote(self) -> dict[str, str | None]:
        """Every record as a fresh session reads it, once nothing is wrong any more."""
        self.running.sandbox.faults.set()
        with self.connect(self.job) as opened:
            stream = opened.connector.describe(self.rig.stream)
            fields = [stream.key, self.rig.name, *([stream.cursor] if stream.cursor else [])]
            plan = opened.connector.plan(stream, fields, Window(None, None))
            found: dict[str, str | None] = {}
            for part in plan.slices:
                for page in opened.connector.read(plan, part, None):
                    keys, names = page.columns[stream.key], page.columns[self.rig.name]
                    found |= {str(key): name for key, name in zip(keys, names, strict=True)}
        return found

    def check(self) -> None:
        """Both sides are equal, nothing is doubled, coverage is whole, and a further run writes nothing."""
        rows = self.syncing.rows()
        assert len(rows) == len({row["code"] for row in rows})
        assert self.syncing.letters(self.job) == []
        assert {row["code"]: row["title"] for row in rows} == self.remote()
        assert self.syncing.gaps(self.job) == ()
        written = self.syncing.written()
        self.settle()
        again = self.run()
        assert (again.created, again.updated, again.deleted) == (0, 0, 0)
        assert self.syncing.written() == written


@contextmanager
def scenario(rig: Rig, syncing: Syncing, *faults: Fault, **accident: Any) -> Iterator[Scenario]:
    """A scenario on a new sandbox and on tables without a row."""
    table = physical.qualified(syncing.entity)
    with syncing.owner.transaction() as tx:
        tx.run(statement("truncate hubblewave.sync_jobs cascade"))
        tx.run(statement(f"truncate {table} cascade"))
    options = Options(records=rig.records, start=START, extra=rig.extra, faults=faults)
    with on_thread(build(rig.vendor, options)) as running:
        job = syncing.job(stream=rig.stream, mapping=rig.mapping, brake_percent=100.0)
        yield Scenario(rig, syncing, running, job, **accident)


def clean(rig: Rig, syncing: Syncing) -> tuple[int, int, list[SyncRun]]:
    """(requests, commits, runs) of the scenario when nothing goes wrong."""
    with scenario(rig, syncing) as made:
        runs = made.play()
        asked, commits = made.running.sandbox.faults.asked, made.held
        made.check()
        return asked, commits, runs


Check = Callable[[Scenario], None]

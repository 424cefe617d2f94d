"""SAP through the engine: sandbox, connector and PostgreSQL end equal, and an identical run writes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.sandboxes.serving import Running
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from tests.plugins.sap_system import ADDRESSES, ORDERS, ORDERS_V4, PARTNERS, System, connected
from tests.sync.conftest import Syncing


@dataclass(frozen=True, slots=True)
class _Opened:
    system: System

    @property
    def connector(self) -> Connector:
        return self.system.connector

    @property
    def requests(self) -> int:
        return self.system.session.requests


SETS = {  # the table behind each, its key, and what of it is kept
    ORDERS: ("orders", "SalesOrder", "PurchaseOrderByCustomer", "TotalNetAmount"),
    ORDERS_V4: ("orders", "SalesOrder", "PurchaseOrderByCustomer", "TotalNetAmount"),
    PARTNERS: ("partners", "BusinessPartner", "SearchTerm1", "Industry"),
    ADDRESSES: ("addresses", "_key", "HouseNumber", "PostalCode"),
}
_LATER = timedelta(hours=26)  # the keys are compared every day


def test_sets_by_instant_by_day_and_without_either_end_equal_and_stay_quiet(
    syncing: Syncing, serve: Callable[..., Running]
) -> None:
    run = serve("sap", records=300, extra={"page": 100, "plus": "refuse"})
    vendor, clock = run.sandbox.vendor, run.sandbox.clock

    @contextmanager
    def connect(_: SyncJob) -> Iterator[_Opened]:
        system = connected(run)
        with system.session:
            yield _Opened(system)

    def sync(job: SyncJob, table: str, text: str) -> SyncRun:
        made = syncing.execute(syncing.ask(job), connect=connect)
        assert (made.status, made.failed) == ("success", 0), (job.source_entity, made.notes)
        assert made.requests <= 1.1 * made.min_requests, job.source_entity
        rows = run.sandbox.stage.tables[table].rows
        there = {code: found or "" for code, found in syncing.state().items()}
        assert there == {key: row[text] for key, row in rows.items()}, job.source_entity
        return made

    for name, (table, key, text, amount) in SETS.items():
        fields = {key: "code", text: "name", amount: "amount"}
        mapping = [{"sourceField": source, "targetField": to} for source, to in fields.items()]
        job = syncing.job(stream=name, mapping=mapping)
        keys = list(run.sandbox.stage.tables[table].rows)
        assert sync(job, table, text).created == len(keys)
        written = syncing.written()
        clock.advance(_LATER)
        sync(job, table, text)
        assert syncing.written() == written
        for number, changed in enumerate(keys[:40:4]):
            vendor.edit(table, changed, {text: f"T{len(name)}{number}"}, clock.now())
        vendor.delete(table, keys[1], clock.now())
        clock.advance(_LATER)
        with syncing.owner.transaction() as tx:  # the comparison is due by our own clock
            tx.run(
                statement("update hubblewave.sync_jobs set snapshot_at = now() - interval '2 days'")
            )
        third = sync(job, table, text)
        assert (third.updated, third.deleted) == (10, 1), name
        with syncing.owner.transaction() as tx:
            tx.run(statement(f"delete from {physical.qualified(syncing.entity)}"))

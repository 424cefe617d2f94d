"""Syncs without API and Dagster: an external system, an entity, and the engine between them."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.storage import physical, sync_dead_letters, sync_jobs, sync_runs
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.sync_dead_letters import SyncDeadLetter
from hubblewave_pipelines.storage.sync_jobs import NewSyncJob, SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.sync.inbound import run_sync
from hubblewave_pipelines.sync.work import Connect
from tests.sync.fake_vendor import FakeVendor, opened

DEAL = {
    "name": "Deal",
    "pluralName": "Deals",
    "fields": [
        {"name": "code", "type": "text", "unique": True},
        {"name": "name", "type": "text", "maxLength": 20},
        {"name": "title", "type": "longtext"},
        {"name": "amount", "type": "decimal"},
        {"name": "gone", "type": "datetime"},
    ],
}
MAPPING = [
    {"sourceField": "Id", "targetField": "code"},
    {"sourceField": "Name", "targetField": "name"},
    {"sourceField": "Amount", "targetField": "amount"},
]


def unheld() -> None:
    """A lease that nobody takes away."""


@dataclass
class Syncing:
    """One tenant's syncs: `job`, `run`, and what is in the tables afterwards."""

    owner: Database
    worker: Database
    tenant: Tenant
    catalog: Catalog
    vendor: FakeVendor = field(default_factory=FakeVendor)

    @property
    def entity(self) -> Entity:
        found = self.catalog.named("Deal")
        assert found is not None
        return found

    def connector(self) -> uuid.UUID:
        with self.owner.transaction() as tx:
            found = tx.one(
                statement(
                    "insert into hubblewave.connectors (tenant_id, name, type, config)"
                    " values (%s, %s, 'custom', %s) returning id",
                    (self.tenant.id, f"c{uuid.uuid4().hex[:8]}", Jsonb({})),
                    lambda row: row[0],
                )
            )
        assert isinstance(found, uuid.UUID)
        return found

    def job(self, **chosen: Any) -> SyncJob:
        new = NewSyncJob(
            tenant_id=self.tenant.id,
            connector_id=chosen.pop("connector_id", None) or self.connector(),
            name=f"deals {uuid.uuid4().hex[:6]}",
            source_entity=chosen.pop("stream", "Deal"),
            entity_id=self.entity.id,
            entity_name=self.entity.name,
            field_mapping=chosen.pop("mapping", MAPPING),
            **chosen,
        )
        with self.worker.transaction(self.tenant.id) as tx:
            job = tx.one(sync_jobs.insert_job(new))
        assert job is not None
        return job

    def ask(
        self, job: SyncJob, window: tuple[datetime, datetime] | None = None, **asked: Any
    ) -> uuid.UUID:
        with self.worker.transaction(self.tenant.id) as tx:
            run = tx.one(sync_runs.insert_run(self.tenant.id, job.id, window=window, **asked))
        assert run is not None
        return run.id

    def execute(
        self,
        run_id: uuid.UUID,
        *,
        still_held: Callable[[], None] = unheld,
        progress: Callable[[Any], None] = lambda _: None,
        connect: Connect | None = None,
    ) -> SyncRun:
        return run_sync(
            self.worker,
            connect or partial(opened, self.vendor),
            self.tenant.id,
            run_id,
            dagster_run_id="run-1",
            still_held=still_held,
            progress=progress,
        )

    def run(
        self, job: SyncJob, window: tuple[datetime, datetime] | None = None, **asked: Any
    ) -> SyncRun:
        return self.execute(self.ask(job, window, **asked))

    def again(self, job: SyncJob) -> SyncJob:
        """The job as it is now."""
        with self.worker.transaction(self.tenant.id) as tx:
            found = tx.one(sync_jobs.job_by_id(self.tenant.id, job.id))
        assert found is not None
        return found

    def letters(self, job: SyncJob, status: str | None = "open") -> list[SyncDeadLetter]:
        with self.worker.transaction(self.tenant.id) as tx:
            return tx.all(
                sync_dead_letters.dead_letters_of(
                    self.tenant.id, job_id=job.id, status=status, limit=1000
                )
            )

    def gaps(self, job: SyncJob) -> tuple[sync_jobs.Interval, ...]:
        with self.worker.transaction(self.tenant.id) as tx:
            return tx.one(sync_jobs.gaps(self.tenant.id, job.id)) or ()

    def rows(self) -> list[dict[str, Any]]:
        """Every record by public name, with its version."""
        columns = {
            n: c for n, c in self.entity.columns.items() if n not in ("createdAt", "updatedAt")
        }
        query = f"select {', '.join(columns.values())} from {physical.qualified(self.entity)}"
        with self.owner.transaction() as tx:
            found = tx.all(statement(query))
        return [dict(zip(columns, row, strict=True)) for row in found]

    def state(self) -> dict[str, str | None]:
        return {row["code"]: row["name"] for row in self.rows()}

    def written(self) -> int:
        """How many versions of records were ever written: what an identical run must not change."""
        table = physical.qualified(self.entity)
        with self.owner.transaction() as tx:
            return int(tx.one(statement(f"select coalesce(sum(version), 0) from {table}"))[0])  # type: ignore[index]


@pytest.fixture
def syncing(owner_database: Database, worker_database: Database, tenant: Tenant) -> Syncing:
    catalog = define(owner_database, tenant, DEAL)
    return Syncing(owner_database, worker_database, tenant, catalog)

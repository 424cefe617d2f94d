"""What a run of a sync works with, and the row that it answers to."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import SyncFailed
from hubblewave_pipelines.core.mapping import FieldMap
from hubblewave_pipelines.core.stream import Mark, Stream, Window
from hubblewave_pipelines.storage import sync_jobs, sync_runs
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import Counts, SyncRun
from hubblewave_pipelines.sync.planning import fields_to_read


class Opened(Protocol):
    """A connector that is ready to be asked, and how many requests it has made so far."""

    @property
    def connector(self) -> Connector: ...

    @property
    def requests(self) -> int: ...


Connect = Callable[[SyncJob], AbstractContextManager[Opened]]


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """What the last step of a run added. `window` is the one that is being read."""

    window: Window
    counts: Counts


class Cancelled(Exception):
    """Somebody asked for the run to stop."""


@dataclass(frozen=True)
class Work:
    """Everything decided before the first record is read."""

    job: SyncJob
    run: SyncRun
    entity: Entity
    catalog: Catalog
    stream: Stream
    maps: tuple[FieldMap, ...]
    mark: Mark
    digest: str  # of all that progress depends on
    connector: Connector

    @property
    def fields(self) -> tuple[str, ...]:
        return fields_to_read(self.stream, self.maps)


class RunRow:
    """The row of one run: its counts, what a person should know, and whether it is to stop."""

    def __init__(
        self,
        database: Database,
        tenant_id: UUID,
        run_id: UUID,
        opened: Opened | None,
        still_held: Callable[[], None],
    ) -> None:
        self.database = database
        self.tenant_id = tenant_id
        self.run_id = run_id
        self.still_held = still_held
        self._opened = opened
        self._counted = 0  # requests that the row tells of

    @property
    def requests(self) -> int:
        return 0 if self._opened is None else self._opened.requests

    def hold(self, tx: Transaction, job: SyncJob) -> None:
        """Other runs of the job wait with what they write for the end of `tx`."""
        if tx.one(sync_jobs.hold_job(self.tenant_id, job.id)) is None:
            raise SyncFailed("The sync job was removed while it ran.")

    def job(self, job_id: UUID) -> SyncJob:
        with self.database.transaction(self.tenant_id) as tx:
            job = tx.one(sync_jobs.job_by_id(self.tenant_id, job_id))
        if job is None:
            raise SyncFailed("The sync job was removed while it ran.")
        return job

    def enter(self, tx: Transaction, counts: Counts) -> bool:
        """Add to the counts, and the requests made since; whether the run is to stop."""
        made = self.requests - self._counted
        stop = tx.one(
            sync_runs.count_step(self.tenant_id, self.run_id, replace(counts, requests=made))
        )
        if stop is None:
            raise Cancelled  # settled meanwhile
        self._counted += made
        return stop

    def count(self, counts: Counts) -> None:
        with self.database.transaction(self.tenant_id) as tx:
            self.enter(tx, counts)

    def count_requests(self) -> None:
        """What was asked after the last step, also when that failed."""
        made = self.requests - self._counted
        if made:
            with self.database.transaction(self.tenant_id) as tx:
                tx.one(sync_runs.count_step(self.tenant_id, self.run_id, Counts(requests=made)))
            self._counted += made

    def note(self, code: str, detail: str) -> None:
        with self.database.transaction(self.tenant_id) as tx:
            tx.run(sync_runs.note(self.tenant_id, self.run_id, code, detail))

    def stop_if(self, asked: bool) -> None:
        if asked:
            raise Cancelled

    def end(self, status: str, error: Json = None) -> None:
        with self.database.transaction(self.tenant_id) as tx:
            for step in sync_runs.end_run(self.tenant_id, self.run_id, status, error):
                tx.run(step)
            self.still_held()

    def settled(self) -> SyncRun:
        """The run as it is."""
        with self.database.transaction(self.tenant_id) as tx:
            run = tx.one(sync_runs.run_by_id(self.tenant_id, self.run_id))
        if run is None:
            raise SyncFailed("There is no such run.")
        return run


def total(a: Counts, b: Counts) -> Counts:
    return Counts(*(getattr(a, name) + getattr(b, name) for name in Counts.__dataclass_fields__))

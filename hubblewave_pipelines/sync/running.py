"""Runs of syncs with the connectors that tenants configured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from hubblewave_pipelines.sync.connecting import connected
from hubblewave_pipelines.sync.inbound import run_sync
from hubblewave_pipelines.sync.work import Connect, Opened, SyncProgress


@dataclass(frozen=True, slots=True)
class _Counted:
    connector: Connector
    session: HttpSession

    @property
    def requests(self) -> int:
        return self.session.requests


def connect_with(database: Database, settings: Settings, still: Callable[[], None]) -> Connect:
    """Opens the connector of a job. `still` is asked while waiting, and raises to end the run."""

    @contextmanager
    def opened(job: SyncJob) -> Iterator[Opened]:
        with connected(database, settings, job.tenant_id, job.connector_id, still=still) as found:
            yield _Counted(found.connector, found.session)

    return opened


def run_configured_sync(
    database: Database,
    settings: Settings,
    tenant_id: UUID,
    run_id: UUID,
    *,
    dagster_run_id: str,
    still_held: Callable[[], None],
    progress: Callable[[SyncProgress], None],
) -> SyncRun:
    """As `run_sync`; raises JobFailed too when the connector is gone or inactive."""
    return run_sync(
        database,
        connect_with(database, settings, still_held),
        tenant_id,
        run_id,
        dagster_run_id=dagster_run_id,
        still_held=still_held,
        progress=progress,
    )

"""What a run needs of the platform: its database as the worker, and the work itself."""

from collections.abc import Callable
from functools import cached_property
from uuid import UUID

import dagster as dg

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.connector_asks import Ask
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.reverts import Revert
from hubblewave_pipelines.storage.sync_runs import SyncRun
from hubblewave_pipelines.sync.asking import run_ask
from hubblewave_pipelines.sync.running import run_configured_sync
from hubblewave_pipelines.sync.work import SyncProgress
from hubblewave_pipelines.transfer.exports import ExportOutcome, ExportProgress, run_export
from hubblewave_pipelines.transfer.imports import ImportOutcome, ImportProgress, run_import
from hubblewave_pipelines.transfer.reverts import run_revert


class Platform(dg.ConfigurableResource[None]):
    """Settings are read when a run first asks for them, so definitions load without any."""

    @cached_property
    def settings(self) -> Settings:
        return Settings()

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.require_database_url(), Role.WORKER)

    def run_import(
        self,
        tenant_id: UUID,
        import_id: UUID,
        *,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[ImportProgress], None],
    ) -> ImportOutcome:
        """One import, from wherever its ledger says to its outcome."""
        return run_import(
            self.database,
            self.settings,
            tenant_id,
            import_id,
            run_id=run_id,
            still_held=still_held,
            progress=progress,
        )

    def run_export(
        self,
        tenant_id: UUID,
        export_id: UUID,
        *,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[ExportProgress], None],
    ) -> ExportOutcome:
        """One export, from its query to its file."""
        return run_export(
            self.database,
            self.settings,
            tenant_id,
            export_id,
            run_id=run_id,
            still_held=still_held,
            progress=progress,
        )

    def run_sync(
        self,
        tenant_id: UUID,
        sync_run_id: UUID,
        *,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[SyncProgress], None],
    ) -> SyncRun:
        """One run of a sync job, from its last committed page to its outcome."""
        return run_configured_sync(
            self.database,
            self.settings,
            tenant_id,
            sync_run_id,
            dagster_run_id=run_id,
            still_held=still_held,
            progress=progress,
        )

    def run_revert(
        self,
        tenant_id: UUID,
        revert_id: UUID,
        *,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[Revert], None],
    ) -> Revert:
        """Take one import back, from wherever it stands to its outcome."""
        return run_revert(
            self.database,
            tenant_id,
            revert_id,
            run_id=run_id,
            still_held=still_held,
            progress=progress,
        )

    def run_ask(
        self, tenant_id: UUID, ask_id: UUID, *, run_id: str, still_held: Callable[[], None]
    ) -> Ask:
        """Check a connector, or discover what its system has."""
        return run_ask(
            self.database, self.settings, tenant_id, ask_id, run_id=run_id, still_held=still_held
        )
